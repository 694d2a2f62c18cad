CREATE TABLE a (x integer);
CREATE TABLE b (
  x integer,
  y text NOT NIL
);
CREATE TABLE never (x integer);
