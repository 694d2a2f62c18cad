CREATE TABLE a (x integer);
DO $$
BEGIN
  INSERT INTO a VALUES (1);
  RAISE EXCEPTION 'not today; %', 1 USING HINT = 'try; tomorrow', ERRCODE = 'P0042';
END;
$$;
