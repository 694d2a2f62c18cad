CREATE TABLE a (x integer);
VACUUM a;
