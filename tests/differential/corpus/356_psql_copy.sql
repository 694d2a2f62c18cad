CREATE TABLE a (x integer);
\copy a from 'a.csv'
