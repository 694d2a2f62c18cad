\if true
CREATE TABLE a (x integer);
\endif
