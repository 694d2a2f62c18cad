CREATE FUNCTION nested() RETURNS text LANGUAGE plpgsql AS $outer$
DECLARE
  statement text := $inner$SELECT 'a;b' || $$;$$$inner$;
  found text;
  "odd; name" integer := 3;
BEGIN
  EXECUTE statement INTO found;
  FOR i IN 1 .. "odd; name" LOOP
    CONTINUE WHEN i = 2; /* a comment; 'unbalanced */
    found := found || i; -- it's; unbalanced too
  END LOOP;
  BEGIN
    PERFORM 1 / 0;
  EXCEPTION WHEN division_by_zero OR others THEN
    found := found || E'\n\t;\'';
  END;
  RETURN found || $q$ $x$ $q$;
END;
$outer$;
CREATE FUNCTION in_quotes() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS '
BEGIN
  RETURN ''doubled; '' || $tag$ and $ plain; $tag$;
END;
';
CREATE OR REPLACE FUNCTION dollars(numeric, text) RETURNS text LANGUAGE plpgsql LEAKPROOF AS $größe$ BEGIN RETURN $1 || $2 || '$$;$1'; END $größe$;
CREATE TABLE said AS SELECT nested(), in_quotes(), dollars(1.5, 'x');
