CREATE TABLE a (x integer);
CREATE DATABASE differential_never;
