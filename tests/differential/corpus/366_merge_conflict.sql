<<<<<<< HEAD
CREATE TABLE a (x integer);
=======
CREATE TABLE a (x bigint);
>>>>>>> feature
