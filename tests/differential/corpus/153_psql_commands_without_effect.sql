\set ON_ERROR_STOP on
\timing off
\pset pager off
CREATE TABLE a (x integer);
  \echo 'the rows' of a
INSERT INTO a VALUES (1); \echo done
\unset ON_ERROR_STOP
