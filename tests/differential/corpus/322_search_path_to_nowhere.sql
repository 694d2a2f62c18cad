CREATE TABLE t (a integer);
SELECT set_config('search_path', 'nowhere', false);
INSERT INTO t VALUES (1);
