"""db.baseline --from: what another tool has applied is recorded by its own ledger, which stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.histories import FINAL_ROWS, STEPS, write_history
from tests.tool_ledgers import ledger_statements

if TYPE_CHECKING:
    from tests.cli.conftest import Project

APPLIED = 3
ADOPTED_AS = {"node-pg-migrate": "node-pg-migrate-sql"}
# Where the table of the tool has the name of ours.
OWN_LEDGER = {"KERNEL_MIGRATIONS_TABLE": "kernel_migrations"}
MATCHED = {"golang-migrate": ["order", "order", "header"], "tern": ["order", "order", "header"]}


def take_over(project: Project, tool: str) -> list[str]:
    """Adopt the history of a tool, apply the first files of it, and make its ledger; return the tool's files."""
    adopted_as = ADOPTED_AS.get(tool, tool)
    write_history(project.root / "theirs", adopted_as)
    document = project.call("db.adopt", "theirs", "--from", adopted_as, "--json").document
    sources = [str(one["sources"][0]) for one in document["files"]]
    for step in STEPS[:APPLIED]:
        project.rows(step.up)
    project.rows(ledger_statements(tool, project.root / "theirs", sources[:APPLIED]))
    return sources


@pytest.mark.parametrize(
    "tool",
    [
        "flyway",
        *(
            pytest.param(tool, marks=pytest.mark.slow)
            for tool in ("goose", "dbmate", "golang-migrate", "supabase", "node-pg-migrate", "sql-migrate", "tern")
        ),
    ],
)
def test_what_the_tool_has_applied_is_recorded_and_the_rest_is_pending(project: Project, tool: str) -> None:
    take_over(project, tool)
    before = project.state()
    shown = project.call("db.baseline", "--from", tool, "--dry-run", "--json", **OWN_LEDGER)
    assert shown.code == 0, shown.err
    assert project.state() == before
    based = project.inv("db.baseline", "--from", tool, "--json", **OWN_LEDGER)
    assert based.code == 0, based.err
    document = based.document
    assert {**document, "dry_run": True} == shown.document
    assert [one["version"] for one in document["recorded"]] == ["001", "002", "003"]
    assert [one["matched_by"] for one in document["files"][:APPLIED]] == MATCHED.get(tool, ["header"] * APPLIED)
    proof = "proven" if tool == "flyway" else "not kept"
    assert [one["proof"] for one in document["files"]] == [proof] * APPLIED + [None] * 2
    assert document["missing"] == []
    assert project.call("db.migrate", **OWN_LEDGER).code == 0
    assert project.rows("SELECT title, isbn FROM books") == FINAL_ROWS
    assert project.value("SELECT count(*) FROM kernel_migrations") == len(STEPS)


@pytest.mark.slow
def test_the_text_says_which_file_is_which_record_and_what_is_not_proven(project: Project) -> None:
    take_over(project, "goose")
    based = project.call("db.baseline", "--from", "goose")
    assert based.out.splitlines() == [
        "001_create_books.sql  1   by its header, not proven",
        "002_add_isbn.sql      2   by its header, not proven",
        "003_count_books.sql   10  by its header, not proven",
        "004_index_titles.sql  -   pending",
        "005_index_isbns.sql   -   pending",
        "3 files recorded as applied, not run, by public.goose_db_version; 2 files pending",
        "not proven: that 3 files are what was applied; goose has not kept checksums",
    ]


def test_a_file_that_is_not_what_was_applied_needs_a_flag(project: Project) -> None:
    take_over(project, "flyway")
    path = project.migrations / "002_add_isbn.sql"
    path.write_text(path.read_text().replace("isbn text", "isbn varchar"))
    before = project.state()
    refused = project.call("db.baseline", "--from", "flyway", "--json")
    assert (refused.code, refused.error["code"]) == (4, "tool_ledger_unfit")
    assert [one["file"] for one in refused.error["problems"]] == ["002_add_isbn.sql"]
    assert "not what flyway applied as 1.2 (add isbn), by the checksum" in refused.err
    assert project.state() == before
    based = project.call("db.baseline", "--from", "flyway", "--different")
    assert "002_add_isbn.sql      1.2 (add isbn)      different, by its checksum" in based.out
    assert project.recorded() == ["001", "002", "003"]


@pytest.mark.slow
def test_files_without_a_header_correspond_by_number_and_name(project: Project) -> None:
    project.write("001_create_books.sql")
    project.write("002_add_isbn.sql")
    project.write("020_of_ours.sql")
    project.rows(
        "CREATE TABLE goose_db_version (id int, version_id bigint, is_applied boolean, tstamp timestamp);"
        "INSERT INTO goose_db_version VALUES (1, 0, true), (2, 1, true), (3, 2, true), (4, 2, false), (5, 2, true)"
    )
    based = project.call("db.baseline", "--from", "goose", "--json").document
    assert [one["matched_by"] for one in based["files"]] == ["number", "number", None]


@pytest.mark.slow
def test_a_pending_file_before_applied_ones_is_named(project: Project) -> None:
    take_over(project, "goose")
    project.rows("DELETE FROM goose_db_version WHERE version_id = 2")
    based = project.call("db.baseline", "--from", "goose")
    assert "warning: 002_add_isbn.sql: pending, and before applied files" in based.out
    assert project.call("db.status", "--check").code == 4
    assert project.recorded() == ["001", "003"]


# The tool, what its ledger holds after the first three files, and what the refusal says.
UNFIT: dict[str, tuple[str, str, list[str]]] = {
    "dirty": (
        "golang-migrate",
        "UPDATE schema_migrations SET dirty = true",
        ["version 10 is dirty: its run failed; nothing says how far it came"],
    ),
    "failed": (
        "flyway",
        "UPDATE flyway_schema_history SET success = false WHERE installed_rank = 3",
        ["V1.10__count_books.sql failed; nothing says how far it came"],
    ),
    "without files": (
        "goose",
        "INSERT INTO goose_db_version (version_id, is_applied) VALUES (7, true), (8, true), (9, false)",
        ["goose has applied 7, and no file corresponds to it", "goose has applied 8, and no file corresponds to it"],
    ),
    "without a newest file": (
        "tern",
        "UPDATE schema_version SET version = 9",
        ["tern has applied 9, and no file corresponds to it"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("tool", "change", "expected"), UNFIT.values(), ids=UNFIT.keys())
def test_a_ledger_with_failed_runs_or_without_files_is_refused_with_every_problem(
    project: Project, tool: str, change: str, expected: list[str]
) -> None:
    take_over(project, tool)
    project.rows(change)
    before = project.state()
    refused = project.call("db.baseline", "--from", tool, "--json", **OWN_LEDGER)
    assert (refused.code, refused.error["code"]) == (4, "tool_ledger_unfit")
    messages = [str(one["message"]) for one in refused.error["problems"]]
    assert len(messages) == len(expected)
    assert all(part in message for part, message in zip(expected, messages, strict=True)), messages
    assert project.state() == before


GOOSE = "(id int, version_id bigint, is_applied boolean, tstamp timestamp)"
REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "no such tool": ("", ("--from", "rails"), "--from rails: no such tool; the tools are dbmate, goose, "),
    "no such ledger": ("", ("--from", "goose"), "no table goose_db_version, the ledger of goose; where it has another"),
    "no such table": ("", ("--from", "goose", "--ledger", "ops.g"), "no table ops.g, the ledger of goose"),
    "no name": ("", ("--from", "goose", "--ledger", "a.b.c"), "--ledger a.b.c: "),
    "another tool's": (
        "CREATE TABLE schema_migrations (version bigint, dirty boolean)",
        ("--from", "dbmate"),
        "public.schema_migrations is no ledger of dbmate; it is one of golang-migrate: --from golang-migrate",
    ),
    "of no tool": (
        "CREATE TABLE goose_db_version (version int)",
        ("--from", "goose"),
        "is no ledger of goose (no column id, is_applied, version_id); name another table with --ledger",
    ),
    "several": (
        f"CREATE TABLE goose_db_version {GOOSE}; CREATE SCHEMA ops; CREATE TABLE ops.goose_db_version {GOOSE}",
        ("--from", "goose"),
        "several ledgers of goose: public.goose_db_version, ops.goose_db_version; name one with --ledger",
    ),
    "no version": (
        f"CREATE TABLE goose_db_version {GOOSE}; INSERT INTO goose_db_version (id) VALUES (1)",
        ("--from", "goose"),
        "public.goose_db_version has a record that goose does not write: int() argument must be",
    ),
    "both": ("", ("--from", "goose", "--to", "1"), "--to 1 and --from goose: give one of them"),
    "neither": ("", ("--different",), "or the tool that has applied them: --from dbmate|goose|"),
    "a flag alone": ("", ("--to", "1", "--ledger", "x"), "--ledger: only with --from"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("made", "flags", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_flags_and_ledgers_are_refused(
    project: Project, made: str, flags: tuple[str, ...], expected: str
) -> None:
    project.write("001_one.sql")
    project.rows(made or "SELECT 1")
    before = project.state()
    refused = project.call("db.baseline", *flags, **OWN_LEDGER)
    assert refused.code == 2
    assert expected in refused.err
    assert project.state() == before


@pytest.mark.slow
def test_another_table_is_named_and_a_missing_privilege_has_its_grant(project: Project) -> None:
    project.write("001_one.sql")
    project.rows(f"CREATE SCHEMA ops; CREATE TABLE ops.versions {GOOSE}; INSERT INTO ops.versions VALUES (1, 1, true)")
    role = f"reader_{project.value('SELECT pg_backend_pid()')}"
    project.rows(f"CREATE ROLE {role} LOGIN")
    flags = ("db.baseline", "--from", "goose", "--ledger", "ops.versions", "--dry-run")
    refused = project.call(*flags, DATABASE_URL=project.url_with(user=role))
    assert refused.code == 7
    assert f"GRANT USAGE ON SCHEMA ops TO {role}; GRANT SELECT ON ops.versions TO {role}" in refused.err
    project.rows(f"GRANT USAGE ON SCHEMA ops TO {role}; GRANT SELECT ON ops.versions TO {role}")
    project.rows("ALTER TABLE ops.versions ENABLE ROW LEVEL SECURITY")
    refused = project.call(*flags, DATABASE_URL=project.url_with(user=role))
    assert refused.code == 7
    assert "(query would be affected by row-level security policy for table" in refused.err
    project.rows("ALTER TABLE ops.versions DISABLE ROW LEVEL SECURITY")
    shown = project.call(*flags, DATABASE_URL=project.url_with(user=role))
    assert "1 file would be recorded as applied, by ops.versions" in shown.out
    project.rows(f"DROP OWNED BY {role}; DROP ROLE {role}")


def flyway_row(rank: int, version: str | None, kind: str, *, success: bool = True) -> str:
    shown = f"'{version}'" if version else "NULL"
    return (
        f"INSERT INTO flyway_schema_history VALUES ({rank}, {shown}, 'x', '{kind}', 'x', 1, 'me', now(), 5, {success});"
    )


@pytest.mark.slow
def test_flyways_baselines_undone_and_repeatable_migrations_are_understood(project: Project) -> None:
    write_history(project.root / "theirs", "flyway")
    assert project.call("db.adopt", "theirs", "--from", "flyway").code == 0
    project.rows(ledger_statements("flyway", project.root / "theirs", []))
    project.rows(
        flyway_row(1, None, "SCHEMA")
        + flyway_row(2, "1.5", "BASELINE")
        + flyway_row(3, "1.10", "SQL")
        + flyway_row(4, None, "SQL")
        + flyway_row(5, "1.10", "UNDO_SQL")
    )
    document: Any = project.call("db.baseline", "--from", "flyway", "--dry-run", "--json").document
    assert [one["version"] for one in document["recorded"]] == ["001", "002"]


@pytest.mark.slow
def test_several_heads_of_alembic_and_changes_of_sqitch_deployed_twice_are_refused(project: Project) -> None:
    project.write("001_one.sql", "-- Description: adopted from alembic: 0a_one.py\n\nSELECT 1;\n")
    project.rows(
        "CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES ('0a'), ('0b')"
    )
    refused = project.call("db.baseline", "--from", "alembic", "--json")
    assert refused.code == 4
    assert "the database is at 2 revisions (0a, 0b); join them with alembic merge first" in refused.err
    project.write("002_two.sql", "-- Description: adopted from sqitch: deploy/two.sql\n\nSELECT 1;\n")
    project.rows(
        "CREATE SCHEMA sqitch; CREATE TABLE sqitch.changes (change_id text, change text, project text, "
        "committed_at timestamptz DEFAULT now());"
        "INSERT INTO sqitch.changes VALUES ('a', 'two', 'p'), ('b', 'two', 'q')"
    )
    refused = project.call("db.baseline", "--from", "sqitch", "--json")
    assert refused.code == 4
    assert "change two is deployed more than once, reworked or in several projects" in refused.err


@pytest.mark.slow
def test_a_database_with_records_of_ours_is_refused_and_production_asks_first(project: Project) -> None:
    take_over(project, "goose")
    asked = project.call("db.baseline", "--from", "goose", KERNEL_STORAGE_MODE="SUPABASE", SUPABASE_DB_URL=project.url)
    assert asked.code == 2
    assert "--yes" in asked.err
    assert project.call("db.baseline", "--from", "goose").code == 0
    again = project.call("db.baseline", "--from", "goose")
    assert again.code == 2
    assert "3 migrations are recorded already, and a baseline is for a database without any" in again.err
