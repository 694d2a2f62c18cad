"""What each statement does to its transaction; the cases were tried on servers of version 15 and 17."""

from __future__ import annotations

import pytest

from kernel.sql.classify import StatementEffect, statement_effect

OUTSIDE = """\
VACUUM
vacuum (ANALYZE) t
VACUUM FULL t
CLUSTER
cluster;
CLUSTER VERBOSE
CLUSTER (VERBOSE);
CLUSTER /* all */ ;
REINDEX SCHEMA public
REINDEX DATABASE d
REINDEX DATABASE
REINDEX SYSTEM d
REINDEX (VERBOSE) SCHEMA public
REINDEX TABLE CONCURRENTLY t
ReIndex Index /* c */ concurrently i
REINDEX (CONCURRENTLY) TABLE t
REINDEX (VERBOSE, CONCURRENTLY true) TABLE t
REINDEX (VERBOSE, "concurrently" 'on') TABLE t
REINDEX (CONCURRENTLY false, CONCURRENTLY) TABLE t
REINDEX (TABLESPACE s) TABLE CONCURRENTLY t
CREATE DATABASE d
create /* a */ database -- b
 d
DROP DATABASE d
DROP DATABASE IF EXISTS d WITH (FORCE)
ALTER DATABASE d SET TABLESPACE s
ALTER DATABASE d TABLESPACE s
ALTER DATABASE d WITH TABLESPACE s
ALTER DATABASE "a b" SET TABLESPACE s
ALTER DATABASE U&"d" SET TABLESPACE s
ALTER DATABASE tablespace SET TABLESPACE s
CREATE TABLESPACE s LOCATION '/x'
DROP TABLESPACE IF EXISTS s
ALTER SYSTEM SET work_mem = '4MB'
ALTER SYSTEM RESET ALL
CREATE INDEX CONCURRENTLY ON t (a)
CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)
CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)
create unique/**/index--
concurrently i on t (a)
DROP INDEX CONCURRENTLY i
DROP INDEX CONCURRENTLY IF EXISTS i, j
ALTER TABLE t DETACH PARTITION p CONCURRENTLY
ALTER TABLE IF EXISTS ONLY s.t DETACH PARTITION "s"."p" CONCURRENTLY;
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (copy_data = false)
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (create_slot)
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (create_slot = true, copy_data = off)
ALTER SUBSCRIPTION s REFRESH PUBLICATION
ALTER SUBSCRIPTION s REFRESH PUBLICATION WITH (copy_data = false)
ALTER SUBSCRIPTION s SET PUBLICATION p
ALTER SUBSCRIPTION s ADD PUBLICATION p WITH (copy_data = false)
ALTER SUBSCRIPTION s DROP PUBLICATION p WITH (refresh = true)
ALTER SUBSCRIPTION s SET (failover = true)
DROP SUBSCRIPTION s
DROP SUBSCRIPTION IF EXISTS s
COMMIT PREPARED 'x'
ROLLBACK PREPARED 'x'
DISCARD ALL
"""

INSIDE = """\
ANALYZE t
CLUSTER t
CLUSTER t USING i
CLUSTER VERBOSE t
CLUSTER (VERBOSE) t USING i
CLUSTER "verbose"
REINDEX TABLE t
REINDEX TABLE "concurrently"
REINDEX INDEX i
REINDEX (VERBOSE) TABLE t
REINDEX (CONCURRENTLY false) TABLE t
REINDEX (CONCURRENTLY off, VERBOSE) INDEX i
REINDEX (CONCURRENTLY 0) TABLE t
REINDEX (CONCURRENTLY 'off') TABLE t
REINDEX ("concurrently" "False", VERBOSE) TABLE t
REINDEX (CONCURRENTLY, CONCURRENTLY off) TABLE t
REINDEX TABLE "schema"
CREATE TABLE database (a int)
CREATE TABLE tablespace (a int)
CREATE TABLE "concurrently" (a int)
CREATE TABLE IF NOT EXISTS subscription (vacuum int)
CREATE INDEX i ON "concurrently" (a)
CREATE INDEX "concurrently" ON t (a)
CREATE INDEX ON t (a) TABLESPACE s
CREATE SCHEMA database
CREATE ROLE subscription
CREATE VIEW v AS SELECT 'VACUUM;'
CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ VACUUM; $$
CREATE MATERIALIZED VIEW m AS SELECT 1
DROP TABLE IF EXISTS tablespace, database
DROP INDEX i
DROP INDEX "concurrently"
DROP OWNED BY database
ALTER TABLE t DETACH PARTITION p
ALTER TABLE t DETACH PARTITION "concurrently"
ALTER TABLE t DETACH PARTITION p FINALIZE
ALTER TABLE t ATTACH PARTITION p DEFAULT
ALTER TABLE t SET TABLESPACE s
ALTER TABLE system ADD COLUMN detach int
ALTER TABLE t ADD CHECK (concurrently(detach))
ALTER TYPE e ADD VALUE 'x'
ALTER DATABASE d SET work_mem = '4MB'
ALTER DATABASE d SET default_tablespace = s
ALTER DATABASE d RENAME TO tablespace
ALTER DATABASE d OWNER TO tablespace
ALTER DATABASE tablespace CONNECTION LIMIT 5
ALTER TABLESPACE s RENAME TO system
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (connect = false)
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p, q WITH (slot_name = NONE, connect = OFF)
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (create_slot = 0)
ALTER SUBSCRIPTION s SET PUBLICATION p WITH (refresh = false)
ALTER SUBSCRIPTION s ADD PUBLICATION p WITH (copy_data = true, refresh = off)
ALTER SUBSCRIPTION s ENABLE
ALTER SUBSCRIPTION s SET (slot_name = NONE)
ALTER SUBSCRIPTION s SKIP (lsn = NONE)
ALTER SUBSCRIPTION publication OWNER TO r
ALTER PUBLICATION p ADD TABLE t
REFRESH MATERIALIZED VIEW CONCURRENTLY m
DISCARD PLANS
DISCARD TEMP
CHECKPOINT
LISTEN vacuum
LOCK TABLE t
SELECT vacuum FROM cluster
WITH vacuum AS (SELECT 1) DELETE FROM t
INSERT INTO t VALUES ('CREATE INDEX CONCURRENTLY')
EXPLAIN ANALYZE SELECT 1
VACUUMING
vacuum_log()
(SELECT 1)
"x"
SAVEPOINT a
RELEASE SAVEPOINT a
RELEASE a
ROLLBACK TO a
ROLLBACK WORK TO SAVEPOINT a
ROLLBACK TRANSACTION TO a
rollback /* c */ to a
PREPARE q AS SELECT 1
PREPARE transaction_q (int) AS SELECT $1
EXECUTE q
SET TRANSACTION READ ONLY
SET TRANSACTION SNAPSHOT '1'
SET CONSTRAINTS ALL IMMEDIATE
SET LOCAL lock_timeout = '1s'
SELECT 1, set_config('a.b', 'c', false)
SELECT set_configuration()
CALLER
COPY t FROM '/x'
COPY t TO PROGRAM 'stdout'
"""


def one_a_line(listed: str) -> list[str]:
    """The statements; one with a line comment goes on in the next line."""
    joined: list[str] = []
    for line in listed.splitlines():
        if joined and "--" in joined[-1] and "\n" not in joined[-1]:
            joined[-1] += "\n" + line
        else:
            joined.append(line)
    return joined


@pytest.mark.parametrize("sql", one_a_line(OUTSIDE))
def test_a_statement_that_cannot_run_in_a_transaction_is_known(sql: str) -> None:
    assert statement_effect(sql.encode()) is StatementEffect.OUTSIDE
    assert statement_effect(sql.swapcase().encode()) is StatementEffect.OUTSIDE


@pytest.mark.parametrize("sql", one_a_line(INSIDE))
def test_a_statement_that_only_looks_like_it_is_plain(sql: str) -> None:
    assert statement_effect(sql.encode()) is StatementEffect.PLAIN


@pytest.mark.parametrize("sql", [*one_a_line(OUTSIDE), *one_a_line(INSIDE)])
def test_a_comment_between_the_first_words_changes_nothing(sql: str) -> None:
    assert statement_effect(sql.replace(" ", "/* table */ ", 1).encode()) is statement_effect(sql.encode())


@pytest.mark.parametrize("sql", [*one_a_line(OUTSIDE), *one_a_line(INSIDE)])
def test_a_statement_is_judged_from_its_place_in_the_text(sql: str) -> None:
    ahead = "-- CREATE DATABASE é\n"
    assert statement_effect((ahead + sql).encode(), len(ahead.encode())) is statement_effect(sql.encode())


@pytest.mark.parametrize("sql", ["", ";", "'VACUUM'", '"vacuum"', "(SELECT 1)", "1"])
def test_what_begins_with_no_word_is_plain(sql: str) -> None:
    assert statement_effect(sql.encode()) is StatementEffect.PLAIN


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("BEGIN", StatementEffect.BEGIN),
        ("begin work;", StatementEffect.BEGIN),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", StatementEffect.BEGIN),
        ("START /* c */ TRANSACTION READ ONLY", StatementEffect.BEGIN),
        ("COMMIT", StatementEffect.COMMIT),
        ("commit work and chain;", StatementEffect.COMMIT),
        ("END", StatementEffect.COMMIT),
        ("END TRANSACTION", StatementEffect.COMMIT),
        ("ROLLBACK", StatementEffect.ROLLBACK),
        ("ROLLBACK AND CHAIN", StatementEffect.ROLLBACK),
        ("abort;", StatementEffect.ROLLBACK),
        ("PREPARE TRANSACTION 'x'", StatementEffect.TWO_PHASE),
    ],
)
def test_a_statement_that_begins_or_ends_a_transaction_is_known(sql: str, expected: StatementEffect) -> None:
    assert statement_effect(sql.encode()) is expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("COPY t FROM stdin", StatementEffect.COPY_IN),
        ("copy t from stdout;", StatementEffect.COPY_IN),
        ("COPY t (" + "a, " * 500 + "b) FROM stdin", StatementEffect.COPY_IN),
        ("COPY t TO stdout", StatementEffect.COPY_OUT),
        ("COPY t TO stdin", StatementEffect.COPY_OUT),
        ("COPY (SELECT 1 FROM stdin) TO STDOUT (FORMAT csv)", StatementEffect.COPY_OUT),
    ],
)
def test_a_copy_through_the_client_is_known(sql: str, expected: StatementEffect) -> None:
    assert statement_effect(sql.encode()) is expected


@pytest.mark.parametrize(
    "sql",
    [
        "SET standard_conforming_strings = off",
        "SET LOCAL backslash_quote = on",
        "set session client_encoding to 'LATIN1'",
        "SET NAMES 'UTF8'",
        "RESET standard_conforming_strings",
        "RESET ALL",
    ],
)
def test_a_setting_that_changes_how_sql_is_read_is_known(sql: str) -> None:
    assert statement_effect(sql.encode()) is StatementEffect.LEXICAL


@pytest.mark.parametrize(
    "sql",
    [
        "SET search_path = ''",
        "set lock_timeout to '1s'",
        "SET SESSION statement_timeout = 0",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET SESSION AUTHORIZATION r",
        'SET ROLE "all"',
        "SET TIME ZONE 'UTC'",
        "RESET ROLE",
        "RESET search_path",
        "SELECT set_config('search_path', '', false)",
        "SELECT pg_catalog.set_config('search_path', '', false)",
    ],
)
def test_a_setting_is_known(sql: str) -> None:
    assert statement_effect(sql.encode()) is StatementEffect.SETTING


@pytest.mark.parametrize("sql", ["CALL p()", "DO $$ BEGIN COMMIT; END $$", "do language plpgsql 'BEGIN COMMIT; END'"])
def test_what_may_commit_by_itself_is_known(sql: str) -> None:
    assert statement_effect(sql.encode()) is StatementEffect.PROCEDURE


def test_a_word_that_is_a_keyword_only_beyond_ascii_is_plain() -> None:
    """Upper case of the long s is S in Unicode, but not for PostgreSQL."""
    assert statement_effect("\u017fet x = 1".encode()) is StatementEffect.PLAIN
    assert statement_effect("ALTER \u017fystem SET x = 1".encode()) is StatementEffect.PLAIN


def test_something_left_open_is_judged_by_the_words_before_it() -> None:
    """With standard_conforming_strings off, a string may look open to one who does not know."""
    assert statement_effect(rb"ALTER SYSTEM SET x = '\'';") is StatementEffect.OUTSIDE
    assert statement_effect(rb"ALTER TABLE t ALTER a SET DEFAULT '\'';") is StatementEffect.PLAIN
