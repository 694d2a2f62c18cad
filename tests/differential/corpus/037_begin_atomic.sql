CREATE TABLE visit (id integer, at text, "end" integer);
CREATE FUNCTION visits() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM visit; END;
CREATE OR REPLACE PROCEDURE add_visit(number integer) LANGUAGE sql
BEGIN ATOMIC
  INSERT INTO visit VALUES (number, CASE WHEN number > 1 THEN 'many; ' ELSE 'one' END, number);
  UPDATE visit SET at = at || ';' WHERE id = number;
  DELETE FROM visit WHERE visit."end" < 0;
END;
CREATE FUNCTION empty_body() RETURNS void LANGUAGE sql BEGIN ATOMIC END;
CREATE FUNCTION short(a integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN a + 1;
INSERT INTO visit VALUES (short(8), visits()::text);
