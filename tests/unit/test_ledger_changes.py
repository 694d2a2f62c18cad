"""Statements that change the ledger are found in every spelling, and those that only name it are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.config.ledger_name import LedgerName
from kernel.errors import FilesInvalid
from kernel.migrations.script import parse_script

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = LedgerName()


def refusals(tmp_path: Path, text: str, ledger: LedgerName = DEFAULT) -> list[str]:
    """The problems of a file, without its name."""
    path = tmp_path / "002_b.sql"
    path.write_text(text)
    try:
        parse_script(path, path.name, ledger=ledger)
    except FilesInvalid as refused:
        return [str(problem).removeprefix("002_b.sql:") for problem in refused.problems]
    return []


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM schema_migrations WHERE version='001';",
        'delete from "schema_migrations"',
        "DELETE FROM ONLY (public.schema_migrations)",
        "TRUNCATE t, schema_migrations",
        "TRUNCATE TABLE ONLY Schema_Migrations *",
        "INSERT INTO public.schema_migrations VALUES (1)",
        "UPDATE only schema_migrations set x=1",
        "MERGE INTO schema_migrations m USING x ON true",
        "COPY schema_migrations FROM stdin;",
        "COPY public.schema_migrations (version, filename) FROM stdin;",
        "ALTER TABLE schema_migrations RENAME TO x;",
        "ALTER TABLE IF EXISTS ONLY public.schema_migrations SET SCHEMA audit;",
        "ALTER TABLE schema_migrations DROP COLUMN checksum",
        "ALTER TABLE schema_migrations ALTER COLUMN version TYPE text",
        "CREATE TABLE schema_migrations (version bigint)",
        "CREATE TABLE IF NOT EXISTS schema_migrations (version bigint)",
        "CREATE UNLOGGED TABLE public.schema_migrations (x int)",
        "WITH d AS (DELETE FROM schema_migrations RETURNING *) SELECT * FROM d",
        "EXPLAIN ANALYZE DELETE FROM schema_migrations",
        "DROP TABLE IF EXISTS a, public.schema_migrations CASCADE",
        "DROP SCHEMA public CASCADE;",
        "ALTER SCHEMA public RENAME TO old",
        "DO $$ BEGIN DELETE FROM schema_migrations; END $$",
        "DO LANGUAGE plpgsql $x$ BEGIN IF true THEN EXECUTE 'TRUNCATE schema_migrations'; END IF; END $x$;",
        "DO $$ BEGIN EXECUTE format('DELETE FROM %I.%I', 'public', 'schema_migrations'); END $$",
        "DO $$ BEGIN DO $i$ BEGIN DROP TABLE schema_migrations; END $i$; END $$",
        "DO $$ BEGIN EXECUTE 'DO $i$ BEGIN DROP TABLE schema_migrations; END $i$'; END $$",
        "DO $$ BEGIN CREATE TABLE schema_migrations (id int); END $$",
        "DELETE FROM schema_migrations_progress",
        "DO 'BEGIN DELETE FROM schema_migrations; END'",
        "/* x */ DELETE /* y */ FROM -- z\n schema_migrations",
        "CREATE RULE r AS ON INSERT TO schema_migrations DO INSTEAD NOTHING",
        "CREATE OR REPLACE RULE r AS ON DELETE TO public.schema_migrations WHERE old.version = '1' DO ALSO SELECT 1",
        'CREATE RULE "to" AS ON UPDATE TO schema_migrations_progress DO INSTEAD NOTHING',
        "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON schema_migrations FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE OR REPLACE TRIGGER t BEFORE UPDATE OF version ON public.schema_migrations EXECUTE FUNCTION f()",
        "CREATE POLICY p ON schema_migrations USING (false)",
        "ALTER TABLE schema_migrations ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE schema_migrations ADD COLUMN note text, FORCE ROW LEVEL SECURITY",
        "ALTER TABLE schema_migrations ADD CONSTRAINT c CHECK (version < '016') NOT VALID",
        "ALTER TABLE schema_migrations ADD UNIQUE (filename)",
        "DO $$ BEGIN EXECUTE 'CREATE RULE r AS ON INSERT TO schema_migrations DO INSTEAD NOTHING'; END $$",
        "DO $$ BEGIN CREATE TRIGGER t BEFORE INSERT ON schema_migrations EXECUTE FUNCTION f(); END $$",
    ],
)
def test_a_change_of_the_ledger_is_refused_before_anything_runs(tmp_path: Path, text: str) -> None:
    script = text.rstrip(";") + ";\n"
    (problem,) = refusals(tmp_path, script + ("1\n\\.\n" if "stdin" in text else ""))
    assert problem.startswith("1:")
    assert "the ledger" in problem


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM schema_migrations",
        "INSERT INTO x SELECT * FROM schema_migrations",
        "DELETE FROM audit.schema_migrations",
        "CREATE TABLE audit.schema_migrations (x int)",
        "DELETE FROM x USING schema_migrations",
        "UPDATE x SET y = 1 FROM schema_migrations",
        "SELECT 'DELETE FROM schema_migrations'",
        "DO $$ BEGIN RAISE NOTICE 'DELETE FROM schema_migrations'; -- DELETE FROM schema_migrations\n END $$",
        "CREATE VIEW v AS SELECT * FROM schema_migrations",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ DELETE FROM schema_migrations $$",
        "CREATE TABLE IF NOT EXISTS schema_migrations (version text, filename text, applied_at date, checksum text)",
        "GRANT SELECT, UPDATE ON schema_migrations TO x",
        "ALTER TABLE schema_migrations OWNER TO postgres",
        "ALTER TABLE schema_migrations ADD COLUMN applied_by text",
        "SELECT * FROM schema_migrations FOR UPDATE OF schema_migrations",
        "COMMENT ON TABLE schema_migrations IS 'x'",
        "CREATE TEMP TABLE schema_migrations (x int)",
        "DROP SCHEMA public",
        "DROP SCHEMA audit CASCADE",
        'DELETE FROM "Schema_Migrations"',
        "CREATE TABLE schema_migrations_old (x int)",
        "INSERT INTO logs (m) VALUES ('x') ON CONFLICT DO UPDATE SET m = 'schema_migrations'",
        "CREATE TRIGGER t AFTER INSERT OR DELETE ON schema_migrations EXECUTE FUNCTION f()",
        "CREATE SCHEMA x CREATE TABLE schema_migrations (id int)",
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON schema_migrations FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE RULE r AS ON INSERT TO log DO ALSO DELETE FROM schema_migrations",
        "CREATE RULE r AS ON INSERT TO audit.schema_migrations DO INSTEAD NOTHING",
        "CREATE TRIGGER schema_migrations BEFORE INSERT ON log EXECUTE FUNCTION schema_migrations()",
        "CREATE POLICY schema_migrations ON log USING (EXISTS (SELECT FROM schema_migrations))",
        "ALTER TABLE log ADD CONSTRAINT schema_migrations CHECK (true)",
    ],
)
def test_a_statement_that_only_names_it_passes(tmp_path: Path, text: str) -> None:
    assert refusals(tmp_path, text + ";\n") == []


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        ("SET search_path = s, public", False),
        ("SET LOCAL search_path TO s", False),
        ("SET SCHEMA 's'", False),
        ("SELECT pg_catalog.set_config('search_path', '', false)", False),
        ("SELECT set_config('search_path', 's, public', false)", False),
        ('SET search_path TO "$user", public', True),
        ("SELECT set_config('search_path', 'public', false)", True),
        ("SET search_path = public", True),
        ("SET lock_timeout = '1s'", True),
    ],
)
def test_a_name_without_a_schema_is_read_by_the_search_path_of_the_file(
    tmp_path: Path, path: str, *, is_ours: bool
) -> None:
    assert bool(refusals(tmp_path, f"{path};\nINSERT INTO schema_migrations VALUES (1);")) is is_ours
    assert refusals(tmp_path, f"{path};\nINSERT INTO public.schema_migrations VALUES (1);")


def test_the_place_is_that_of_the_command(tmp_path: Path) -> None:
    text = "CREATE TABLE t ();\n/* é */ WITH d AS (\n  DELETE FROM\n schema_migrations RETURNING 1) SELECT 1;\n"
    (problem,) = refusals(tmp_path, text)
    assert problem.startswith("3:3: DELETE FROM schema_migrations: it changes the ledger, ")


def test_the_place_in_a_do_block_is_that_of_the_command(tmp_path: Path) -> None:
    (problem,) = refusals(tmp_path, "SELECT 1;\nDO $$\nBEGIN\n  TRUNCATE schema_migrations;\nEND $$;\n")
    assert problem.startswith("4:3: TRUNCATE schema_migrations: ")


def test_the_table_of_a_dump_or_another_framework_is_described_as_the_ledger_here(tmp_path: Path) -> None:
    text = (
        "CREATE TABLE public.schema_migrations (\n    version character varying NOT NULL\n);\n"
        "COPY public.schema_migrations (version) FROM stdin;\n1\n\\.\n"
        "INSERT INTO public.schema_migrations VALUES ('2');\n"
    )
    (problem,) = refusals(tmp_path, text)
    assert problem.startswith(
        "1:1: CREATE TABLE public.schema_migrations (and 2 more, lines 4, 7): that table is the ledger here"
    )
    assert "pg_dump -T schema_migrations" in problem
    assert "take out" in problem


def test_a_ledger_of_another_name_and_schema_is_found_there_and_only_there(tmp_path: Path) -> None:
    ledger = LedgerName(schema="ops", table="History")
    assert refusals(tmp_path, 'DELETE FROM ops."History";', ledger)
    assert refusals(tmp_path, 'DELETE FROM "History";', ledger)
    assert refusals(tmp_path, "DROP SCHEMA IF EXISTS a, ops CASCADE;", ledger)
    assert refusals(tmp_path, "DO $$ BEGIN EXECUTE 'ALTER SCHEMA ops RENAME TO x'; END $$;", ledger)
    assert refusals(tmp_path, "DO $$ BEGIN DROP SCHEMA ops CASCADE; END $$;", ledger)
    for other in ("DELETE FROM history;", 'DELETE FROM public."History";', "DELETE FROM schema_migrations;"):
        assert refusals(tmp_path, other, ledger) == []


def test_a_name_cut_by_the_window_of_the_lexer_is_found(tmp_path: Path) -> None:
    row = "INSERT INTO t VALUES (1);\n"
    for padding in range(64, 90):
        text = row * ((1 << 16) // len(row) - 3) + "-" * padding + "\nDELETE FROM schema_migrations;\n"
        assert len(refusals(tmp_path, text)) == 1, padding
