CREATE TABLE a (x integer);
/* a comment /* nested */ ;
SELECT 1;
