-- migrate: no-transaction
CREATE SCHEMA s;
SET search_path = s;
CREATE TABLE t (a text);
CREATE TEMP TABLE x AS SELECT 'from temp;' AS a;
INSERT INTO t SELECT a FROM x;
SET standard_conforming_strings = off;
SET escape_string_warning = off;
INSERT INTO t VALUES ('it\'s;');
PREPARE p AS INSERT INTO t VALUES ('prepared;');
EXECUTE p;
SET ROLE app_owner;
RESET ROLE;
INSERT INTO t SELECT session_user;
