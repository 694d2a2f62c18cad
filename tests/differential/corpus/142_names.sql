CREATE TABLE "semi;colon" ("it's" integer, "a""b" integer, "$$" integer, "--" integer, "/*" integer, "\" integer);
CREATE TABLE größe (ä$1 integer, b$$c integer, _x$ integer, "SELECT" integer, U&"d\0061t\+000061" integer);
INSERT INTO "semi;colon" VALUES (1, 2, 3, 4, 5, 6);
CREATE TABLE 日本 (語 text DEFAULT '𝄞;');
INSERT INTO 日本 DEFAULT VALUES;
SELECT "it's" AS "end;", "--" FROM "semi;colon";
CREATE TABLE begin (commit integer, rollback integer, copy text, "end" integer);
INSERT INTO begin (commit, rollback, copy, "end") VALUES (1, 2, 'from stdin;', 3);
