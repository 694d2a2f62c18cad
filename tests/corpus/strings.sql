SELECT 'plain';
-- ===
SELECT 'semicolon; inside';
-- ===
SELECT 'it''s; doubled';
-- ===
SELECT '';
-- ===
SELECT '''';
-- ===
SELECT '''''', ';';
-- ===
SELECT 'back\slash; at the end\';
-- ===
SELECT '-- no comment; here';
-- ===
SELECT '/* no comment; here';
-- ===
SELECT '$$ no dollar; quote';
-- ===
SELECT '" no name; quote';
-- ===
SELECT 'over
two; lines';
-- ===
SELECT 'one'
  ' and; two';
-- ===
SELECT 'one' -- between; the pieces, isn't it
  ' and; two\';
-- ===
SELECT E'it\'s; escaped';
-- ===
SELECT e'it\'s; lower case';
-- ===
SELECT E'it''s; doubled';
-- ===
SELECT E'\\';
-- ===
SELECT E'\\\'; still open';
-- ===
SELECT E'tab\t; newline\n; unicode \u00e9; octal \101; hex \x41';
-- ===
SELECT E'line\
; continued';
-- ===
SELECT E'', E'\'', ';';
-- ===
SELECT E'a\'b' AS e, 'c\' AS d;
-- ===
SELECT ARRAY[E'\';', ';\', E';'];
-- ===
SELECT U&'d\0061t\+000061; and a \\';
-- ===
SELECT U&'d!0061ta;' UESCAPE '!';
-- ===
SELECT u&'\0441\043b\043e\043d; ';
-- ===
SELECT B'1010', b'', X'1FF', x'ab';
-- ===
SELECT N'national; string\';
-- ===
SELECT n'lower'';\';
-- ===
SELECT date'2024-01-01', time '12:00;'::text IS NULL;
-- ===
SELECT date 'today' AS e, interval'1 day;';
-- ===
SELECT type'x\';
-- ===
SELECT some_type'a\', ';b';
-- ===
SELECT schema.typee'a\', ';b';
-- ===
SELECT e1'a\', ';b';
-- ===
SELECT _e'a\', ';b';
-- ===
SELECT größe'a\', ';b';
-- ===
SELECT a$e'a\', ';b';
-- ===
SELECT 1 WHERE'a;'='a;'AND'b\'='b\';
-- ===
SELECT CASE'a;'WHEN'b\'THEN'c;'ELSE'd\'END;
-- ===
SELECT 'é; ü', '日本; 語', '😀;';
-- ===
SELECT 'a' || E'\'' || ';' || $$;$$ || U&'\0061;' ;
-- ===
SELECT '%', '%s; %%', ':name;', '?', '$1;';
-- ===
SELECT interval '1' year, timestamp with time zone '2024-01-01 00:00;';
-- ===
SELECT '{"a;": "b"}'::jsonb -> 'a;' #>> '{b,;}';
-- ===
SELECT 'a;' LIKE '%;' ESCAPE '\';
-- ===
SELECT E'a;' LIKE E'%;' ESCAPE E'\\';
