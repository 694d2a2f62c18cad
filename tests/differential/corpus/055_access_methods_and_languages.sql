CREATE ACCESS METHOD heap_again TYPE TABLE HANDLER heap_tableam_handler;
CREATE TABLE on_it (a integer) USING heap_again;
INSERT INTO on_it VALUES (1);
CREATE TRUSTED LANGUAGE own_plpgsql HANDLER plpgsql_call_handler INLINE plpgsql_inline_handler VALIDATOR plpgsql_validator;
CREATE FUNCTION in_own() RETURNS integer LANGUAGE own_plpgsql AS 'BEGIN RETURN 1; END;';
DO LANGUAGE own_plpgsql 'BEGIN INSERT INTO on_it VALUES (in_own() + 1); END;';
CREATE CONVERSION own_latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
