CREATE TABLE t (a integer);
DO $$ BEGIN FOR i IN 1 .. 3 LOOP INSERT INTO t VALUES (i); END LOOP; END $$;
DO LANGUAGE plpgsql 'BEGIN INSERT INTO t VALUES (10); END;';
DO $$ DECLARE r record; BEGIN
  FOR r IN SELECT a FROM t ORDER BY a LOOP
    EXECUTE format('CREATE TABLE %I (b text DEFAULT %L)', 't;' || r.a, 'it''s ' || r.a);
  END LOOP;
  BEGIN
    INSERT INTO nothing VALUES (1);
  EXCEPTION WHEN undefined_table THEN
    RAISE WARNING 'not there; %', SQLERRM;
  END;
END; $$ LANGUAGE plpgsql;
