SELECT 'CREATE TABLE a (x integer)' \gexec
