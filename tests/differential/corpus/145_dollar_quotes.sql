CREATE TABLE t (a text);
INSERT INTO t VALUES ($$a$b$c$$), ($_$ $$;$$ $_$), ($a1$ $a$ ; $a1$), ($$$$), ($x$'$x$), ($X$ $x$;$x$ $X$);
DO $do$ BEGIN INSERT INTO t VALUES ($in$;$in$), ('$do'), ('$'); EXECUTE $ex$ INSERT INTO t VALUES ($$deep;$$) $ex$; END $do$;
INSERT INTO t VALUES ('1'||$$;$$||'2');
