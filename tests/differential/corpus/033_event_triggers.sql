CREATE TABLE made (tag text, what text);
CREATE FUNCTION remember() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.made SELECT command_tag, object_identity FROM pg_event_trigger_ddl_commands();
END
$$;
CREATE EVENT TRIGGER remember ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE VIEW') EXECUTE FUNCTION remember();
CREATE TABLE one (a integer);
CREATE VIEW two AS SELECT ';' AS b FROM one;
ALTER EVENT TRIGGER remember DISABLE;
CREATE TABLE unseen (a integer);
