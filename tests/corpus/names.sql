SELECT "semi;colon";
-- ===
SELECT "it's; a name";
-- ===
SELECT "say ""hi; there""" FROM "a;b"."c""d;";
-- ===
SELECT "-- no comment;", "/* none;";
-- ===
SELECT "$$;", ";$$";
-- ===
SELECT "back\", ";slash\";
-- ===
SELECT "over
two; lines";
-- ===
SELECT U&"d\0061t;" , u&"x!0061;" UESCAPE '!';
-- ===
SELECT größe, 名前, имя, ñ FROM tür;
-- ===
SELECT a$b, a$b$c, $1, _$, a$$ FROM x$1;
-- ===
SELECT a$b$c;
-- ===
SELECT a$$b, ';', c$$;
-- ===
SELECT é$$, ';' , b$$;
-- ===
SELECT 1 AS "end", 2 AS "begin", 3 AS "case;";
-- ===
SELECT 1 AS end, 2 AS begin, 3 AS case, 4 AS select;
-- ===
SELECT 1 end;
-- ===
SELECT t.end, t.begin, t.case FROM t;
-- ===
SELECT begin, atomic FROM function;
-- ===
SELECT begin() , commit.x FROM commit;
-- ===
SELECT copy, stdin FROM stdin;
-- ===
CREATE TABLE begin (atomic int, commit text, rollback text);
-- ===
CREATE TABLE function (begin atomic, a text DEFAULT ';');
-- ===
CREATE VIEW function AS SELECT begin.atomic FROM begin;
-- ===
CREATE VIEW procedure AS SELECT 1 AS begin, 2 AS atomic;
-- ===
CREATE FUNCTION "begin atomic;"() RETURNS int LANGUAGE sql AS $$SELECT 1;$$;
-- ===
CREATE FUNCTION f(begin atomic) RETURNS int LANGUAGE sql AS 'SELECT 1';
-- ===
CREATE PROCEDURE atomic(INOUT begin int DEFAULT 1) LANGUAGE plpgsql AS $begin$ BEGIN NULL; END; $begin$;
-- ===
INSERT INTO e VALUES (1, 'a\');
-- ===
SELECT x.e, 'a\' FROM e AS x;
-- ===
SELECT 1.5e10, .5, 1., 1e-5, 0x1F, 0b101, 0o17, 1_000_000;
-- ===
SELECT 1.E5+1, 5 AS e, '\';
-- ===
SELECT a[1:2], a[:], b::text FROM f(x => 1, y := 2);
-- ===
SELECT $1, $2::int, $10;
-- ===
SELECT $1-$2, $1/$2, $1%$2;
