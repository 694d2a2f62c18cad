CREATE TABLE a (x integer); \restrict abc
