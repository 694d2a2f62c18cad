SELECT $$dollar; quote$$;
-- ===
SELECT $$$$;
-- ===
SELECT $tag$ semi; colon $tag$;
-- ===
SELECT $tag$ $$;$$ $other$;$other$ $tag$;
-- ===
SELECT $a$ $A$ ; $a$;
-- ===
SELECT $a$ $ab$ ; $a $a$;
-- ===
SELECT $größe$ it's; $größe$;
-- ===
SELECT $日本$;$日本$, $_$;$_$, $a1$;$a1$;
-- ===
SELECT $$'$$, ';', $$"$$;
-- ===
SELECT $$ -- ; $$, $$ /* ; $$;
-- ===
SELECT $$\$$, ';';
-- ===
SELECT $$a$$, 'b\', $$c;$$;
-- ===
SELECT ($$;$$), ARRAY[$$;$$]::text FROM t;
-- ===
SELECT f($$;$$,$x$;$x$)+$$1$$||$$2;$$;
-- ===
SELECT $1||$$;$$||$2;
-- ===
SELECT 1+$$;$$;
-- ===
DO $$ BEGIN PERFORM 1; IF true THEN NULL; END IF; END $$;
-- ===
DO LANGUAGE plpgsql $do$
DECLARE
  line text := $q$it's; here$q$; -- don't
BEGIN
  EXECUTE $sql$ SELECT ';' $sql$;
END
$do$;
-- ===
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END;
$function$;
-- ===
CREATE OR REPLACE FUNCTION g(text) RETURNS text AS $_$ SELECT $1 || ';'; $_$ LANGUAGE sql IMMUTABLE;
-- ===
CREATE FUNCTION h() RETURNS text AS E'SELECT \'a;\';' LANGUAGE sql;
-- ===
CREATE FUNCTION i() RETURNS text AS 'SELECT ''a;'';' LANGUAGE sql;
-- ===
COMMENT ON TABLE t IS $$a; comment's text$$;
-- ===
INSERT INTO t VALUES ($$a;$$, $x$b;$x$), ('c;', "d;");
