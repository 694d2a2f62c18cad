-- atlas:txmode none
CREATE TABLE a (x integer);
