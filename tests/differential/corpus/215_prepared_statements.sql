CREATE TABLE t (a integer, b text);
PREPARE add (integer, text) AS INSERT INTO t VALUES ($1, $2 || ';');
EXECUTE add (1, 'a');
EXECUTE add (2, $$b$$);
PREPARE ask AS SELECT * FROM t;
EXECUTE ask;
DEALLOCATE PREPARE add;
PREPARE add AS INSERT INTO t VALUES (3, 'another; one');
EXECUTE add;
