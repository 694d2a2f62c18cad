"""Files and records that disagree, and databases whose ledger is missing or another's: nothing is applied."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project


def test_a_file_edited_deleted_renamed_or_renumbered_after_it_was_applied_stops_everything(project: Project) -> None:
    for number in range(1, 6):
        project.write(f"00{number}_table_{number}.sql", f"CREATE TABLE table_{number} ();\n")
    project.call("db.migrate")
    project.write("001_table_1.sql", "CREATE TABLE table_1 (id int);\n")
    files = project.migrations
    (files / "002_table_2.sql").unlink()
    (files / "003_table_3.sql").rename(files / "003_renamed.sql")
    (files / "004_table_4.sql").rename(files / "006_table_4.sql")
    before = project.state()
    for flag in ("--allow-out-of-order", "--dry-run"):
        refused = project.inv("db.migrate", flag, "--json")
        assert (refused.code, refused.error["code"]) == (4, "drift")
        told = {problem["file"]: problem["message"] for problem in refused.error["problems"]}
        assert re.fullmatch(
            r"changed after it was applied on \d{4}-\d\d-\d\d; restore it.*inv db\.repair --accept 001",
            told.pop("001_table_1.sql"),
        )
        assert "but there is no such file; restore it from version control" in told.pop("002_table_2.sql")
        assert told.pop("003_renamed.sql") == (
            "applied as 003_table_3.sql with the same content; "
            "name it so again, or accept it with: inv db.repair --accept 003"
        )
        assert told.pop("004_table_4.sql") == (
            "its content stands in 006_table_4.sql, which has no record; "
            "number it 004 again, or accept it with: inv db.repair --accept 006"
        )
        assert told == {}
    assert project.state() == before

    status = project.inv("db.status", "--check")
    assert status.code == 4
    assert "  001 001_table_1.sql                      📝 Modified\n" in status.out
    assert "  002 002_table_2.sql                      ❓ Missing\n" in status.out


@pytest.mark.slow
def test_line_ends_and_a_byte_order_mark_are_no_drift(three: Project) -> None:
    three.call("db.migrate")
    for path in three.migrations.glob("*.sql"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert three.call("db.status", "--check").code == 0


def test_tables_without_a_ledger_want_a_baseline_first(three: Project) -> None:
    three.rows("CREATE TABLE one (id int)")
    before = three.state()
    refused = three.inv("db.migrate", "--json")
    assert (refused.code, refused.error["code"]) == (4, "unrecorded")
    assert "holds the table public.one, but no schema_migrations" in refused.err
    assert "say which files made them: inv db.baseline --to VERSION" in refused.err
    assert three.state() == before

    assert three.inv("db.baseline", "--to", "1").code == 0
    assert three.inv("db.migrate").code == 0
    assert three.recorded() == ["001", "002", "003"]


@pytest.mark.slow
def test_a_baseline_to_0_runs_every_file_next_to_the_tables_of_others(three: Project) -> None:
    three.rows("CREATE TABLE users (id int)")
    based = three.call("db.baseline", "--to", "0")
    assert based.code == 0
    assert "nothing is recorded as applied" in based.out
    assert "3 files are pending\ntables that none of the files made:\n  public.users\n" in based.out
    assert three.call("db.migrate").code == 0
    assert three.recorded() == ["001", "002", "003"]


FOREIGN_LEDGERS = {
    "golang-migrate": "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)",
    "dbmate": "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)",
}


@pytest.mark.slow
@pytest.mark.parametrize("ledger", FOREIGN_LEDGERS.values(), ids=FOREIGN_LEDGERS.keys())
def test_the_ledger_of_another_tool_stays_as_it_is_and_the_setting_names_another(three: Project, ledger: str) -> None:
    three.rows(ledger)
    three.rows("CREATE TABLE one (id int)")
    before = three.state()
    refused = three.call("db.migrate", "--json")
    assert (refused.code, refused.error["code"]) == (4, "ledger_shape")
    name, _, table = refused.error["message"].rpartition(" ")[2].partition("=")
    environ = {name: table}
    assert "inv db.baseline --to VERSION" in three.call("db.migrate", **environ).err
    assert three.state() == before
    assert three.call("db.baseline", "--to", "1", **environ).code == 0
    assert three.call("db.migrate", **environ).code == 0
    assert three.rows(f"SELECT version FROM {table}") == [("001",), ("002",), ("003",)]
    assert three.value("SELECT count(*) FROM schema_migrations") == 0


LEDGERS = {
    "no key": "CREATE TABLE schema_migrations (version varchar(255) NOT NULL, filename varchar(255) NOT NULL, "
    "applied_at timestamp NOT NULL DEFAULT now(), checksum varchar(64) NOT NULL)",
    "other types": "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, filename text, "
    "applied_at timestamptz DEFAULT now(), checksum char(64), dirty boolean NOT NULL)",
}


@pytest.mark.slow
@pytest.mark.parametrize("ledger", LEDGERS.values(), ids=LEDGERS.keys())
def test_a_ledger_of_another_shape_is_refused_with_the_alter_that_mends_it(three: Project, ledger: str) -> None:
    three.rows(ledger)
    before = three.state()
    shown = three.call("db.status")
    assert shown.code == 4
    assert "error: public.schema_migrations: " in shown.err
    refused = three.call("db.migrate", "--json")
    assert (refused.code, refused.error["code"]) == (4, "ledger_shape")
    assert three.state() == before

    for problem in refused.error["problems"]:
        three.rows(problem["message"][problem["message"].index("ALTER TABLE") :])
    assert three.call("db.migrate").code == 0
    assert three.recorded() == ["001", "002", "003"]


@pytest.mark.slow
def test_a_view_by_that_name_is_refused(three: Project) -> None:
    three.rows("CREATE VIEW schema_migrations AS SELECT 1")
    refused = three.call("db.status")
    assert refused.code == 4
    assert "public.schema_migrations: not a table; name another table for these files" in refused.err


@pytest.mark.slow
def test_records_that_no_runner_wrote_are_told(three: Project) -> None:
    three.call("db.migrate")
    three.rows("INSERT INTO schema_migrations VALUES ('first', 'first.sql', now(), ''), ('1', '1_a.sql', now(), '')")
    refused = three.call("db.migrate", "--json")
    assert refused.code == 4
    assert "version 'first' is no number; delete the record" in refused.err
    assert "is recorded twice; delete the record that no file stands for" in refused.err

    three.rows("UPDATE schema_migrations SET applied_at = 'infinity' WHERE version = '002'")
    undated = three.call("db.status")
    assert undated.code == 4
    assert "public.schema_migrations: applied_at of a record is no date of our calendar" in undated.err


@pytest.mark.slow
def test_a_server_without_writes_is_refused(three: Project) -> None:
    three.call("db.migrate", "--to", "1")
    before = three.state()
    url = three.url_with(options="-c default_transaction_read_only=on")
    for task in ("db.migrate", "db.rollback"):
        refused = three.call(task, "--json", DATABASE_URL=url)
        assert (refused.code, refused.error["code"]) == (7, "database_refused")
        assert "is read-only (default_transaction_read_only is on, by the connection); take it out" in refused.err
    assert three.state() == before


@pytest.mark.slow
def test_a_role_without_the_privilege_is_told_what_to_grant(three: Project, role: str) -> None:
    url = three.url_with(user=role)
    refused = three.call("db.migrate", DATABASE_URL=url)
    assert refused.code == 7
    assert f"let its owner run: GRANT CREATE ON SCHEMA public TO {role}" in refused.err

    three.call("db.migrate", "--to", "1")
    three.rows(f"GRANT SELECT ON schema_migrations TO {role}")
    before = three.state()
    refused = three.call("db.migrate", "--json", DATABASE_URL=url)
    assert (refused.code, refused.error["code"]) == (7, "database_refused")
    assert f"let its owner run: GRANT INSERT ON public.schema_migrations TO {role}" in refused.err
    assert three.state() == before


@pytest.mark.slow
def test_a_baseline_names_what_the_database_lacks_of_what_the_files_make(three: Project) -> None:
    three.write("002_two.sql", "CREATE TABLE two (id int, name text);\nCREATE INDEX two_name ON two (name);\n")
    three.write("004_four.sql", "CREATE VIEW four AS SELECT id FROM two;\nINSERT INTO two VALUES (1);\n")
    three.rows("CREATE TABLE one (id int); CREATE TABLE two (id int); CREATE TABLE another (id int)")
    based = three.call("db.baseline", "--to", "4", "--json")
    assert based.code == 0
    assert set(based.document["missing"]) == {
        "column public.two.name",
        "index public.two_name",
        "table public.three",
        "view public.four",
    }
    assert "lacks 4 objects that these files make" in based.err
    assert "\n  table public.three\n" in based.err
    assert three.recorded() == ["001", "002", "003", "004"]


@pytest.mark.slow
def test_a_baseline_of_a_database_that_has_everything_says_nothing_of_it(three: Project) -> None:
    three.rows("CREATE SCHEMA app; CREATE TABLE app.one (id int)")
    url = three.url_with(options="-c search_path=app")
    based = three.call("db.baseline", "--to", "1", "--json", DATABASE_URL=url)
    assert (based.code, based.document["missing"]) == (0, [])
    assert "lacks" not in based.err
    assert "note" not in based.err


@pytest.mark.slow
def test_a_baseline_of_files_that_no_empty_server_takes_is_not_compared(three: Project) -> None:
    three.write("001_one.sql", "CREATE EXTENSION absent_everywhere;\n")
    based = three.call("db.baseline", "--to", "1")
    assert based.code == 0
    assert "note: the database was not compared with what the files make: 001_one.sql:1: " in based.err
