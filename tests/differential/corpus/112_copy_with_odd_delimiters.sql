CREATE TABLE t (id integer, body text);
COPY t FROM STDIN (DELIMITER ';', NULL '');
1;a b
2;
3;\;
\.
COPY t FROM STDIN WITH CSV DELIMITER '|' QUOTE '''' ESCAPE '\' NULL 'x';
4|'a|b\'c'
5|x
\.
COPY t FROM STDIN WITH DELIMITER AS E'\x01' NULL AS '-';
6-
7x
\.
