CREATE TABLE done (n integer);
CREATE PROCEDURE fill(count integer) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. count LOOP
    INSERT INTO done VALUES (i);
  END LOOP;
END;
$$;
CREATE PROCEDURE fill(label text) LANGUAGE sql AS $$ INSERT INTO done SELECT length(label); $$;
CALL fill(3);
CALL fill('four; letters'::text);
ALTER PROCEDURE fill(integer) SET search_path = public;
ALTER ROUTINE fill(text) RENAME TO fill_text;
