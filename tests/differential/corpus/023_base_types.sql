CREATE TYPE seashell;
CREATE FUNCTION seashell_in(cstring) RETURNS seashell LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION seashell_out(seashell) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE seashell (INPUT = seashell_in, OUTPUT = seashell_out, LIKE = text, DEFAULT = 'empty; seashell');
CREATE TABLE beach (found seashell, id integer);
INSERT INTO beach (id) VALUES (1);
INSERT INTO beach VALUES ('a seashell; found', 2);
