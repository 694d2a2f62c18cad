-- A database with one of everything that pg_dump writes; the roles dump_alice and dump_bob are there already.
CREATE SCHEMA shop AUTHORIZATION dump_alice;
CREATE SCHEMA "we""ird";
CREATE EXTENSION citext WITH SCHEMA shop;
COMMENT ON SCHEMA public IS 'mine';
CREATE TYPE shop.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN shop.pos AS int CHECK (VALUE > 0);
CREATE TYPE shop.pair AS (a int, b text);
CREATE FUNCTION shop.f(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN a + 1; END $$;
CREATE FUNCTION shop.g() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.note := '
COPY x FROM stdin;
1
\.
';
  RETURN NEW;
END $$;
CREATE FUNCTION shop.atomic(int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT $1 + 1; SELECT $1 + 2; END;
CREATE PROCEDURE shop.p() LANGUAGE sql AS 'select 1';
CREATE AGGREGATE shop.agg(int) (sfunc = int4pl, stype = int);
CREATE FUNCTION shop.ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'ddl'; END $$;
ALTER FUNCTION shop.f(int) OWNER TO dump_alice;
CREATE TABLE shop.customer (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  m shop.mood,
  mail shop.citext UNIQUE,
  note text,
  twice int GENERATED ALWAYS AS (length(name) * 2) STORED,
  p shop.pos
);
ALTER TABLE shop.customer OWNER TO dump_alice;
INSERT INTO shop.customer (name, m, mail, note, p)
  SELECT 'n' || i, 'ok', 'm' || i, E'line\n\\.\nCOPY y FROM stdin;\n\t tab\n<<<<<<< x\n', i FROM generate_series(1, 500) i;
CREATE TABLE shop.orders (
  id bigserial PRIMARY KEY,
  customer int REFERENCES shop.customer,
  at date NOT NULL DEFAULT now(),
  parent bigint REFERENCES shop.orders
);
INSERT INTO shop.orders (customer, at, parent) SELECT i, '2024-01-01', 1 FROM generate_series(1, 500) i;
CREATE INDEX ON shop.orders (shop.f(customer));
CREATE INDEX by_at ON shop.orders (at);
CREATE INDEX recent ON shop.orders (at) WHERE at > '2020-01-01';
ALTER INDEX shop.by_at SET (fillfactor = 70);
ALTER TABLE shop.orders CLUSTER ON by_at;
COMMENT ON INDEX shop.by_at IS 'an index; really';
CREATE TRIGGER t BEFORE INSERT ON shop.customer FOR EACH ROW EXECUTE FUNCTION shop.g();
CREATE TABLE part (id int NOT NULL, k text NOT NULL, v int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
CREATE TABLE part_b PARTITION OF part FOR VALUES IN ('b') PARTITION BY RANGE (id);
CREATE TABLE part_b1 PARTITION OF part_b FOR VALUES FROM (0) TO (1000);
CREATE INDEX ON part (v);
INSERT INTO part SELECT i, CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END, i FROM generate_series(1, 300) i;
CREATE TABLE child (extra int) INHERITS (shop.orders);
CREATE TABLE refs_part (id int, k text, FOREIGN KEY (id, k) REFERENCES part (id, k));
INSERT INTO refs_part VALUES (2, 'a');
CREATE VIEW shop.v AS SELECT c.id, c.name, count(*) FROM shop.customer c GROUP BY c.id;
CREATE MATERIALIZED VIEW shop.mv AS SELECT id, name FROM shop.v;
CREATE UNIQUE INDEX mv_u ON shop.mv (id);
CREATE MATERIALIZED VIEW shop.mv2 AS SELECT * FROM shop.mv;
CREATE TABLE rls (a int);
ALTER TABLE rls ENABLE ROW LEVEL SECURITY;
ALTER TABLE rls FORCE ROW LEVEL SECURITY;
CREATE POLICY pol ON rls TO dump_bob USING (a > 1);
INSERT INTO rls VALUES (1);
CREATE TABLE ex (r int4range, EXCLUDE USING gist (r WITH &&));
INSERT INTO ex VALUES ('[1,2)');
CREATE TABLE notvalid (a int);
INSERT INTO notvalid VALUES (-1);
ALTER TABLE notvalid ADD CONSTRAINT c CHECK (a > 0) NOT VALID;
CREATE UNLOGGED TABLE ul (a int);
INSERT INTO ul VALUES (1);
CREATE TABLE "we""ird"."T able; " ("c;'ol" text COLLATE "C");
INSERT INTO "we""ird"."T able; " VALUES ('x;y'''), (NULL), (E'\\.'), ('');
CREATE RULE r AS ON INSERT TO notvalid WHERE NEW.a = 5 DO INSTEAD (INSERT INTO ul VALUES (1); INSERT INTO ul VALUES (2));
CREATE STATISTICS shop.st2 ON name, m FROM shop.customer;
GRANT USAGE ON SCHEMA shop TO dump_bob;
GRANT SELECT ON shop.customer TO dump_bob WITH GRANT OPTION;
SET ROLE dump_bob;
GRANT SELECT ON shop.customer TO PUBLIC;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION shop.f(int) FROM PUBLIC;
GRANT UPDATE (name) ON shop.customer TO dump_bob;
ALTER DEFAULT PRIVILEGES FOR ROLE dump_alice IN SCHEMA shop GRANT SELECT ON TABLES TO dump_bob;
CREATE PUBLICATION pub FOR ALL TABLES;
SELECT lo_from_bytea(4711, 'hello');
ALTER LARGE OBJECT 4711 OWNER TO dump_alice;
COMMENT ON LARGE OBJECT 4711 IS 'lo';
CREATE SEQUENCE sq START 5;
SELECT nextval('sq');
CREATE OPERATOR public.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE CAST (shop.pair AS text) WITH INOUT;
CREATE COLLATION de (provider = libc, locale = 'C');
CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple);
CREATE TEXT SEARCH CONFIGURATION tc (COPY = simple);
CREATE TABLE empty_t ();
CREATE TABLE acc (a text[] DEFAULT '{}', b jsonb);
INSERT INTO acc VALUES ('{a,"b c"}', '{"a": "\\"}');
COMMENT ON TABLE acc IS E'hello\n<<<<<<< x\n; \\! touch';
CREATE PUBLICATION pub1 FOR TABLE acc;
CREATE TABLE deferred (a int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, b int UNIQUE);
ALTER TABLE deferred REPLICA IDENTITY FULL;
CREATE TABLE ri (a int NOT NULL);
CREATE UNIQUE INDEX ri_u ON ri (a);
ALTER TABLE ri REPLICA IDENTITY USING INDEX ri_u;
CREATE EVENT TRIGGER et ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION shop.ddl();
COMMENT ON EVENT TRIGGER et IS 'et';
