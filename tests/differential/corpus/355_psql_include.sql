CREATE TABLE a (x integer);
\i other.sql
