CREATE TABLE t (a integer PRIMARY KEY, b text);
DO $$
BEGIN
  INSERT INTO t VALUES (1, 'kept');
  BEGIN
    INSERT INTO t VALUES (2, 'undone');
    INSERT INTO t VALUES (1, 'twice');
  EXCEPTION WHEN unique_violation THEN
    INSERT INTO t VALUES (3, 'instead; of it');
  END;
END
$$;
