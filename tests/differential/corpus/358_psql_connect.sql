CREATE TABLE a (x integer);
  \connect postgres
CREATE TABLE b (x integer);
