"""The objects that statements name: what they change, what they read, and what they define."""

from __future__ import annotations

import pytest

from kernel.sql.object_names import Definition, Mention, may_overlap, read_definition, read_mentions, same_object
from kernel.sql.reader import read_words


@pytest.mark.parametrize(
    ("statement", "changed", "read"),
    [
        ("CREATE OR REPLACE VIEW app.v AS SELECT f(a.x) FROM users a, orders b JOIN LATERAL (SELECT FROM z) q ON a.b",
         {"app.v"}, {"f", "users", "orders", "z"}),
        ("ALTER TABLE public.users DROP COLUMN email, ADD COLUMN t bigint", {"users"}, set()),
        ("ALTER TABLE users RENAME TO people", {"users", "people"}, set()),
        ("INSERT INTO t (a) SELECT a FROM x ON CONFLICT DO UPDATE SET a = 1", {"t"}, {"x"}),
        ("UPDATE users SET a = 1 FROM orders o WHERE o.id = users.id", {"users"}, {"orders"}),
        ("DELETE FROM a USING b WHERE a.id = b.id", {"a"}, {"b"}),
        ("WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone", {"a", "b"}, {"gone"}),
        ("CREATE TABLE c (id bigint REFERENCES users (id))", {"c"}, {"users"}),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON ONLY users (email)", {"i", "users"}, set()),
        ("CREATE TRIGGER t BEFORE INSERT OR UPDATE ON users EXECUTE FUNCTION app.f()", {"users"}, {"app.f"}),
        ("DROP TRIGGER t ON users", {"users"}, set()),
        ("DROP FUNCTION IF EXISTS f(int), g(text)", {"f", "g"}, set()),
        ("DROP TABLE a, b CASCADE", {"a", "b"}, set()),
        ("GRANT SELECT, UPDATE ON TABLE a, b TO someone", {"a", "b"}, set()),
        ("COMMENT ON COLUMN app.users.email IS 'The address of a user, if it is known'", {"app.users"}, set()),
        ("TRUNCATE a, ONLY b", {"a", "b"}, set()),
        ("SELECT nextval('app.numbers')", set(), {"nextval", "app.numbers"}),
        ("SELECT 'users'::regclass", set(), {"users", "regclass"}),
    ],
)  # fmt: skip
def test_a_statement_names_what_it_changes_and_what_it_reads(statement: str, changed: set[str], read: set[str]) -> None:
    mentions = list(read_mentions(statement.encode()))
    assert {one.name for one in mentions if one.changes} == changed
    assert {one.name for one in mentions if not one.changes} == read


@pytest.mark.parametrize(
    ("statement", "changed", "read"),
    [
        ("CREATE TABLE copy AS TABLE users", {"copy"}, {"users"}),
        ("CREATE VIEW v AS (TABLE app.users) UNION TABLE b", {"v"}, {"app.users", "b"}),
        ("INSERT INTO t (a, b) TABLE users", {"t"}, {"users"}),
        ("SELECT a, b INTO TEMP copy FROM users", {"copy"}, {"users"}),
        ("SELECT a, b FROM ((users JOIN c ON c.x = users.x) CROSS JOIN d), (e JOIN f USING (id))", set(),
         {"users", "c", "d", "e", "f", "id"}),
        ("SELECT * FROM ONLY (users)", set(), {"users"}),
        ("SELECT * FROM a, ONLY (users), ONLY b", set(), {"a", "users", "b"}),
        ("SELECT f(a, b), c FROM g(1, 2) AS h, users u JOIN i ON i.x = u.x, j WHERE k IN (1, l) ORDER BY m, n", set(),
         {"f", "g", "users", "i", "j"}),
        ("SELECT a FROM (SELECT b, c FROM d) q, LATERAL (SELECT e, f FROM g, h) r, users", set(),
         {"d", "g", "h", "users"}),
        ("UPDATE t SET a = 1, b = 2 FROM f(c) d, users", {"t"}, {"f", "users"}),
        ("SELECT type FROM users", set(), {"users"}),
    ],
)  # fmt: skip
def test_each_table_of_a_query_is_read_wherever_it_is_listed(statement: str, changed: set[str], read: set[str]) -> None:
    mentions = list(read_mentions(statement.encode()))
    assert {one.name for one in mentions if one.changes} == changed
    assert {one.name for one in mentions if not one.changes} == read


@pytest.mark.parametrize(
    ("statement", "changed", "read"),
    [
        ("ALTER TABLE p ATTACH PARTITION users FOR VALUES IN (1)", {"p", "users"}, set()),
        ("ALTER TABLE p DETACH PARTITION app.users CONCURRENTLY", {"p", "app.users"}, set()),
        ("ALTER TABLE a ADD UNIQUE USING INDEX i, ADD b mood", {"a", "i"}, {"mood"}),
        ("ALTER SEQUENCE s OWNED BY users.id", {"s"}, {"users"}),
        ("ALTER SEQUENCE s OWNED BY app.users.id", {"s"}, {"app.users"}),
        ("CREATE PUBLICATION p FOR TABLE a (x, y) WHERE (x > 1), users", {"p"}, {"a", "users"}),
        ("ALTER PUBLICATION p ADD TABLE a, users", {"p"}, {"a", "users"}),
        ("CREATE RULE r AS ON INSERT TO users DO INSTEAD INSERT INTO b VALUES (1)", {"users", "b"}, set()),
    ],
)  # fmt: skip
def test_partitions_owned_sequences_publications_and_rules_name_their_tables(
    statement: str, changed: set[str], read: set[str]
) -> None:
    mentions = list(read_mentions(statement.encode()))
    assert {one.name for one in mentions if one.changes} == changed
    assert {one.name for one in mentions if not one.changes} == read


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS m mood DEFAULT 1::text, ADD n app.kind", {"mood", "app.kind"}),
        ("ALTER TABLE t ADD a int REFERENCES users, ADD m mood", {"users", "mood"}),
        ("ALTER TABLE t ALTER a TYPE mood USING a, ALTER b SET DATA TYPE color", {"mood", "color"}),
        ("CREATE TABLE t (id int, m mood NOT NULL, CONSTRAINT c UNIQUE (m), n app.kind[])", {"mood", "app.kind"}),
        ("CREATE TYPE pair AS (a mood, b text)", {"mood"}),
        ("ALTER TYPE pair ADD ATTRIBUTE a mood", {"mood"}),
        ("CREATE DOMAIN d AS mood", {"mood"}),
        ("SELECT CAST(a AS mood), b::color", {"mood", "color"}),
        ("CREATE FUNCTION f() RETURNS TABLE (a mood, b text) LANGUAGE sql AS 'SELECT 1, 2'", {"mood"}),
    ],
)  # fmt: skip
def test_the_types_of_columns_and_casts_are_read(statement: str, read: set[str]) -> None:
    assert {one.name for one in read_mentions(statement.encode()) if not one.changes} == read


@pytest.mark.parametrize(
    ("statement", "schemas", "others"),
    [
        ("DROP SCHEMA a, b CASCADE", {"a", "b"}, set()),
        ("CREATE SCHEMA IF NOT EXISTS a AUTHORIZATION b", {"a"}, set()),
        ("CREATE SCHEMA AUTHORIZATION a", {"a"}, set()),
        ("ALTER SCHEMA a RENAME TO b", {"a", "b"}, set()),
        ("GRANT USAGE ON SCHEMA a TO b", {"a"}, set()),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA a TO b", {"a"}, set()),
        ("ALTER DEFAULT PRIVILEGES IN SCHEMA a GRANT SELECT ON TABLES TO b", {"a"}, set()),
        ("ALTER TABLE t SET SCHEMA a", set(), {"t", "a.t"}),
        ("ALTER TABLE a.t SET SCHEMA public", set(), {"a.t", "t"}),
        ("CREATE EXTENSION e WITH SCHEMA a", set(), {"e", "a"}),
        ("SET search_path = a, public", set(), {"a", "public"}),
    ],
)  # fmt: skip
def test_a_schema_is_distinct_from_the_objects_in_it(statement: str, schemas: set[str], others: set[str]) -> None:
    mentions = list(read_mentions(statement.encode()))
    assert {one.name for one in mentions if one.is_schema} == schemas
    assert {one.name for one in mentions if not one.is_schema} == others


@pytest.mark.parametrize(
    ("schema", "name", "overlaps"),
    [
        ("app", "app.users", True),
        ("app", "apple.users", False),
        ("app", "users", False),
        ("public", "users", True),
        ("public", "app.users", False),
    ],
)
def test_a_schema_overlaps_with_everything_in_it(schema: str, name: str, *, overlaps: bool) -> None:
    whole, one = Mention(schema, 0, is_schema=True), Mention(name, 0)
    assert (may_overlap(whole, one), may_overlap(one, whole)) == (overlaps, overlaps)
    assert not may_overlap(whole._replace(is_schema=False), one)


def test_the_names_in_bodies_count_and_need_not_exist_yet() -> None:
    body = (
        "CREATE FUNCTION f(who active_users) RETURNS SETOF big LANGUAGE plpgsql AS $$\n"
        "DECLARE r users%ROWTYPE; n users.id%TYPE;\n"
        "BEGIN SELECT id INTO n FROM accounts; UPDATE log SET n = 1; PERFORM g(1); EXECUTE 'DROP TABLE old'; END $$"
    )
    mentions = list(read_mentions(body.encode()))
    late = {one.name for one in mentions if one.late}
    assert {"users", "accounts", "log", "g", "old"} <= late
    assert {"f", "active_users", "big"} <= {one.name for one in mentions if not one.late}
    assert {one.name for one in mentions if one.changes} == {"f", "log", "old"}
    (changed,) = {body[one.begin :].split(maxsplit=1)[0] for one in mentions if one.name == "log"}
    assert changed == "log"


@pytest.mark.parametrize(
    ("statement", "composed"),
    [
        ("DO $$ BEGIN EXECUTE format('DROP TABLE %I', name); END $$", True),
        ("DO $$ BEGIN EXECUTE statement; END $$", True),
        ("DO $$ BEGIN EXECUTE 'DROP TABLE users'; END $$", False),
        ("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE statement; END $$", False),
    ],
)  # fmt: skip
def test_sql_that_a_do_block_composes_is_a_mention_without_a_name(statement: str, *, composed: bool) -> None:
    assert any(not one.name for one in read_mentions(statement.encode())) is composed


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("users", "users", True),
        ("app.users", "users", True),
        ("app.users", "other.users", False),
        ("users", "user", False),
    ],
)
def test_names_are_compared_with_their_schema_where_both_have_one(one: str, other: str, *, same: bool) -> None:
    assert same_object(one, other) is same


@pytest.mark.parametrize(
    ("statement", "definition"),
    [
        ("CREATE OR REPLACE VIEW public.v AS SELECT 1", Definition("view", "v")),
        ("CREATE OR REPLACE RECURSIVE VIEW v (n) AS SELECT 1", Definition("view", "v")),
        ("CREATE MATERIALIZED VIEW IF NOT EXISTS app.m AS SELECT 1", Definition("materialized view", "app.m")),
        ("CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'", Definition("function", "f")),
        ("CREATE OR REPLACE TRIGGER t AFTER INSERT OR UPDATE OF a ON app.users EXECUTE FUNCTION f()",
         Definition("trigger", "t", "app.users")),
        ("CREATE TABLE t (id int)", None),
        ("CREATE TEMP VIEW v AS SELECT 1", None),
        ("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", None),
        ('CREATE VIEW app."v 1" AS SELECT 1', Definition("view", "app.v 1")),
        ('CREATE VIEW "v.1" AS SELECT 1', None),
        ("GRANT SELECT ON v TO someone", None),
    ],
)  # fmt: skip
def test_the_object_that_a_statement_creates(statement: str, definition: Definition | None) -> None:
    assert read_definition(read_words(statement.encode())) == definition
