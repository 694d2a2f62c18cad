-- migrate: no-transaction
CREATE TABLE t (a text);
SET work_mem = '9MB';
RESET ALL;
INSERT INTO t SELECT current_setting('work_mem');
SET LOCAL work_mem = '10MB';
INSERT INTO t SELECT current_setting('work_mem');
