CREATE TABLE document (id integer, owner name DEFAULT current_user, body text);
ALTER TABLE document ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON document USING (owner = current_user) WITH CHECK (body <> ';');
CREATE POLICY readers ON document AS RESTRICTIVE FOR SELECT TO app_reader, PUBLIC USING (id > 0);
ALTER POLICY own ON document RENAME TO "own; ones";
INSERT INTO document VALUES (1, 'somebody', 'a;b');
