"""Files of other tools as migrations: names, numbers, parts, and what is refused with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid, UsageError
from kernel.migrations.adopt import adopt_directory
from kernel.migrations.migration import discover_migrations
from kernel.migrations.paired_files import parse_revert_script
from kernel.migrations.script import parse_script
from kernel.migrations.tool_formats import TOOLS
from kernel.migrations.transactions import RunMode
from tests.histories import STEPS, write_history

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.migrations.adopt import Adoption


def adopt(tmp_path: Path, tool: str, files: dict[str, str] | None = None, *, dry_run: bool = False) -> Adoption:
    for name, text in (files or {}).items():
        path = tmp_path / "theirs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return adopt_directory(tmp_path / "theirs", tool, tmp_path / "ours", environ={}, dry_run=dry_run)


def problems(tmp_path: Path, tool: str, files: dict[str, str]) -> list[str]:
    """The lines of the refusal, after which nothing is written."""
    with pytest.raises(FilesInvalid) as refused:
        adopt(tmp_path, tool, files)
    assert not (tmp_path / "ours").exists()
    return str(refused.value).splitlines()


def body(adoption: Adoption, index: int = 0) -> str:
    return adoption.files[index].content.decode().partition("\n\n")[2]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_history_of_each_tool_is_written_in_its_order_and_its_source_stays_as_it_is(
    tmp_path: Path, tool: str
) -> None:
    write_history(tmp_path / "theirs", tool)
    before = {path: path.read_bytes() for path in (tmp_path / "theirs").iterdir()}
    adopt(tmp_path, tool)
    assert {path: path.read_bytes() for path in (tmp_path / "theirs").iterdir()} == before
    written = discover_migrations(tmp_path / "ours")
    names = [f"{number:03}_{step.name}.sql" for number, step in enumerate(STEPS, start=1)]
    assert [migration.filename for migration in written] == names
    for migration, step in zip(written, STEPS, strict=True):
        script = parse_script(migration.path, migration.filename)
        assert (script.mode is RunMode.TRANSACTION) is not step.outside
        text = migration.path.read_text().partition("\n\n")[2]
        assert text.replace("$$\n;\n", "$$;\n") == step.up
        revert = tmp_path / "ours/revert" / migration.filename
        assert revert.exists() is (tool != "supabase")
        if revert.exists():
            parse_revert_script(revert, revert.name)
            assert revert.read_text().partition("\n\n")[2] == step.down.replace(" CONCURRENTLY", "")


@pytest.mark.parametrize("tool", TOOLS)
def test_the_header_names_the_source_and_a_second_adoption_adds_only_what_is_new(tmp_path: Path, tool: str) -> None:
    write_history(tmp_path / "theirs", tool, outside=False)
    first = adopt(tmp_path, tool)
    assert f"adopted from {tool}: {first.files[0].sources[0]}\n".encode() in first.files[0].content
    write_history(tmp_path / "theirs", tool)
    second = adopt(tmp_path, tool)
    assert [file.filename for file in second.files] == ["004_index_titles.sql", "005_index_isbns.sql"]
    assert [new for _, new in second.adopted_before] == [file.filename for file in first.files]
    assert not adopt(tmp_path, tool).files


def test_a_file_that_a_squash_file_has_replaced_is_not_adopted_again(tmp_path: Path) -> None:
    write_history(tmp_path / "theirs", "goose")
    adopt(tmp_path, "goose")
    (tmp_path / "ours/replaced/005_all").mkdir(parents=True)
    for path in (tmp_path / "ours").glob("*.sql"):
        path.rename(tmp_path / "ours/replaced/005_all" / path.name)
    assert not adopt(tmp_path, "goose").files


def test_numbers_follow_the_files_that_are_there_and_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/007_of_ours.sql").write_text("SELECT 1;\n")
    adoption = adopt(tmp_path, "supabase", {"20200101000000_a.sql": "SELECT 2;\n"})
    assert [file.filename for file in adoption.files] == ["008_a.sql"]
    (tmp_path / "ours/revert").mkdir(exist_ok=True)
    (tmp_path / "ours/revert/009_b.sql").write_text("SELECT 3;\n")
    with pytest.raises(UsageError, match=r"009_b.sql: exists"):
        adopt(tmp_path, "golang-migrate", {"2_b.up.sql": "SELECT 4;\n", "2_b.down.sql": "SELECT 5;\n"})
    assert sorted(path.name for path in (tmp_path / "ours").glob("*.sql")) == ["007_of_ours.sql", "008_a.sql"]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    write_history(tmp_path / "theirs", "goose")
    assert len(adopt(tmp_path, "goose", dry_run=True).files) == len(STEPS)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1_AddUserIDs.sql", "001_add_user_ids.sql"),
        ("1_add-users.v2 (final).sql", "001_add_users_v2_final.sql"),
        ("1_Straße_größer.sql", "001_strae_groer.sql"),
        ("1_2nd_try.sql", "001_2nd_try.sql"),
        ("1_работа.sql", "001_migration.sql"),
        (f"1_{'x' * 240}.sql", f"001_{'x' * 240}.sql"),
    ],
)
def test_a_name_becomes_one_that_the_rule_allows(tmp_path: Path, name: str, expected: str) -> None:
    assert adopt(tmp_path, "goose", {name: "-- +goose Up\nSELECT 1;\n"}).files[0].filename == expected
    discover_migrations(tmp_path / "ours")


@pytest.mark.parametrize(
    "annotation", ["-- +goose no transaction", "--+goose No Transaction", "-- +goose NO TRANSACTION  "]
)
def test_annotations_of_goose_count_in_any_case(tmp_path: Path, annotation: str) -> None:
    adoption = adopt(
        tmp_path, "goose", {"1_a.sql": f"{annotation}\n-- +goose up\nSELECT 1;\n-- +goose DOWN\nSELECT 2;\n"}
    )
    assert adoption.files[0].no_transaction
    assert (body(adoption), adoption.files[0].revert) == ("SELECT 1;\n", b"-- Revert: 001 - A\n\nSELECT 2;\n")


def test_a_statement_without_a_semicolon_between_marks_is_ended(tmp_path: Path) -> None:
    marked = "-- +migrate StatementBegin\nSELECT 1 -- of one;\n-- +migrate StatementEnd\n"
    adoption = adopt(tmp_path, "sql-migrate", {"1_a.sql": f"-- +migrate Up\n{marked}{marked}SELECT 2;\n"})
    assert body(adoption) == "SELECT 1 -- of one;\n;\nSELECT 1 -- of one;\n;\nSELECT 2;\n"
    assert parse_script(tmp_path / "ours/001_a.sql", "001_a.sql").statement_count == 3


def test_crlf_a_byte_order_mark_and_a_missing_newline_are_no_obstacle(tmp_path: Path) -> None:
    text = "\ufeff-- +goose Up\r\nSELECT 1;\r\n-- +goose Down\r\nSELECT 2;"
    adoption = adopt(tmp_path, "goose", {"1_a.sql": text})
    assert adoption.files[0].revert == b"-- Revert: 001 - A\n\nSELECT 2;\n"


def test_only_the_parts_that_the_tool_says_run_outside_a_transaction(tmp_path: Path) -> None:
    files = {"1_a.sql": "-- migrate:up\nSELECT 1;\n-- migrate:down transaction:false\nSELECT 2;\n"}
    assert not adopt(tmp_path, "dbmate", files).files[0].no_transaction


def test_statements_that_need_it_get_the_directive_and_the_user_is_told(tmp_path: Path) -> None:
    text = "CREATE TABLE t (a int);\nCREATE INDEX CONCURRENTLY i ON t (a);\n"
    file = adopt(tmp_path, "golang-migrate", {"1_a.up.sql": text}).files[0]
    assert file.no_transaction
    assert file.notes == ("runs outside a transaction, as its statements need it",)


def test_a_setting_that_later_files_may_rely_on_is_named(tmp_path: Path) -> None:
    text = "-- migrate:up\n\nSET LOCAL role = a;\nSET search_path = app;\n"
    file = adopt(tmp_path, "dbmate", {"1_a.sql": text}).files[0]
    assert file.notes == ("line 4 changes a setting of the session, which lasts for this file only",)


def test_a_down_part_without_statements_makes_no_revert_file(tmp_path: Path) -> None:
    file = adopt(tmp_path, "goose", {"1_a.sql": "-- +goose Up\nSELECT 1;\n-- +goose Down\n-- nothing\n"}).files[0]
    assert (file.revert, file.notes) == (None, ("no revert file: the down part has no statement",))
    assert not (tmp_path / "ours/revert").exists()


def test_comments_before_the_first_mark_stay(tmp_path: Path) -> None:
    adoption = adopt(tmp_path, "dbmate", {"1_a.sql": "-- why\n-- migrate:up\nSELECT 1;\n"})
    assert body(adoption) == "-- why\nSELECT 1;\n"


def test_a_file_of_node_pg_migrate_without_marks_is_its_up_part(tmp_path: Path) -> None:
    files = {"1_a.sql": "SELECT 1;\n", "2_b.up.sql": "SELECT 2;\n", "2_b.down.sql": "SELECT 3;\n"}
    adoption = adopt(tmp_path, "node-pg-migrate-sql", files)
    assert [file.revert for file in adoption.files] == [None, b"-- Revert: 002 - B\n\nSELECT 3;\n"]


def test_versions_of_flyway_are_ordered_by_their_parts_in_all_folders(tmp_path: Path) -> None:
    files = {"V1.10__c.sql": "SELECT 3;\n", "sub/V1_9__b.sql": "SELECT 2;\n", "V1.0.0__a.sql": "SELECT 1;\n"}
    adoption = adopt(tmp_path, "flyway", files)
    assert [file.sources[0] for file in adoption.files] == ["V1.0.0__a.sql", "sub/V1_9__b.sql", "V1.10__c.sql"]


def test_the_settings_of_one_script_of_flyway_count(tmp_path: Path) -> None:
    conf = "# why\nexecuteInTransaction=false\nplaceholderReplacement=false\n"
    file = adopt(tmp_path, "flyway", {"V1__a.sql": "SELECT '${x}';\n", "V1__a.sql.conf": conf}).files[0]
    assert file.no_transaction
    assert problems(tmp_path / "2", "flyway", {"V1__a.sql": "SELECT 1;\n", "V1__a.sql.conf": "group=true\n"}) == [
        "V1__a.sql.conf:1: group=true: a setting of flyway that no migration has; take it out"
    ]


def test_the_settings_in_a_script_of_flyway_count(tmp_path: Path) -> None:
    file = adopt(tmp_path, "flyway", {"V1__a.sql": "-- flyway:executeInTransaction=false\nSELECT 1;\n"}).files[0]
    assert file.no_transaction
    assert problems(tmp_path / "2", "flyway", {"V1__a.sql": "-- flyway:group=true\nSELECT 1;\n"}) == [
        "V1__a.sql:1: -- flyway:group=true: a setting that no migration has; take it out"
    ]


def test_names_that_the_tool_does_not_read_are_listed(tmp_path: Path) -> None:
    files = {"schema.sql": "", "1_a.up.sql": "SELECT 1;\n", "README.md": ""}
    assert adopt(tmp_path, "golang-migrate", files).unread == ("schema.sql",)


REFUSED = [
    ("goose", {"1_a.go": "package x"}, "1_a.go: a migration in Go; write what it does as a migration in SQL"),
    ("goose", {"1_a.sql": "SELECT 1;\n"}, "1_a.sql:1: no mark of the up part; is it a file of goose?"),
    ("goose", {"1_a.sql": "-- migrate:up\nSELECT 1;\n"}, "--from dbmate"),
    ("goose", {"1_a.sql": "SET a.b = 1;\n-- +goose Up\nSELECT 1;\n"}, "1_a.sql:1: stands before the first mark"),
    ("goose", {"1_a.sql": "-- +goose Up\n  -- +goose Down\nDROP TABLE t;\n"}, "1_a.sql:2: -- +goose Down: not a mark"),
    ("goose", {"1_a.sql": "-- +goose Up\n-- +goose Up\nSELECT 1;\n"}, "1_a.sql:2: -- +goose Up: a second mark"),
    (
        "goose",
        {"1_a.sql": "-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n"},
        "1_a.sql:2: this statement has no end",
    ),
    (
        "goose",
        {"1_a.sql": "-- +goose ENVSUB ON\n-- +goose Up\nSELECT '$X';\n"},
        "1_a.sql:1: -- +goose ENVSUB ON: goose puts",
    ),
    (
        "goose",
        {"1_a.sql": "-- +goose Up\nSELECT 1;\n", "01_b.sql": "-- +goose Up\nSELECT 2;\n"},
        "1_a.sql: the version of 01_b.sql too; goose runs only one",
    ),
    ("sql-migrate", {"1_a.sql": "-- +migrate up\nSELECT 1;\n"}, "1_a.sql:1: -- +migrate up: not a mark"),
    ("sql-migrate", {"1_a.sql": "-- +migrate Up noTransaction\nSELECT 1;\n"}, "sql-migrate has no such option"),
    (
        "dbmate",
        {"1_a.sql": "-- migrate:up transaction: false\nSELECT 1;\n"},
        "1_a.sql:1: -- migrate:up transaction: false",
    ),
    ("golang-migrate", {"1_a.down.sql": "SELECT 1;\n"}, "1_a.down.sql: undoes a migration that is not there"),
    ("golang-migrate", {"1_a.up.sql": "SELECT 1;\n\\set x\n"}, "1_a.up.sql:2:1: \\set"),
    ("flyway", {"V1__a.sql": "SELECT 1;\nGRANT SELECT ON t TO ${role};\n"}, "V1__a.sql:2: ${role}: Flyway replaces"),
    ("flyway", {"R__views.sql": "SELECT 1;\n"}, "R__views.sql: a repeatable migration"),
    ("flyway", {"beforeMigrate.sql": "SELECT 1;\n"}, "beforeMigrate.sql: a callback"),
    ("flyway", {"V2__a.java": ""}, "V2__a.java: not a migration in SQL"),
    ("node-pg-migrate-sql", {"1_a.js": ""}, "1_a.js: not a migration in SQL"),
    ("node-pg-migrate-sql", {"1_a.sql": "SELECT 1;\n-- Down Migration\nDROP TABLE t;\n"}, "no mark of the up part"),
    ("tern", {"001_a.sql": "SELECT 1;\nSELECT '{{.name}}';\n"}, "001_a.sql:2: {{.name}}';: a template of tern"),
    ("tern", {"001_a.sql": "SELECT 1;\n--- create above / drop below ---\nDROP TABLE t;\n"}, "001_a.sql:2: --- create"),
    (
        "tern",
        {"001_a.sql": "SELECT 1;\n\n---- create above / drop below ----\n\nVACUUM t;\n"},
        "001_a.sql:5: cannot run in",
    ),
    ("supabase", {"1_a.sql": "SELECT 'open;\n"}, "1_a.sql:1:8: "),
]


@pytest.mark.parametrize(("tool", "files", "expected"), REFUSED)
def test_what_cannot_be_carried_over_is_refused_with_its_place(
    tmp_path: Path, tool: str, files: dict[str, str], expected: str
) -> None:
    assert expected in "\n".join(problems(tmp_path, tool, files))


def test_all_problems_of_all_files_are_told_at_once_and_each_kind_once_a_file(tmp_path: Path) -> None:
    files = {
        "V1__a.sql": "SELECT ${a};\nSELECT ${b};\nSELECT ${c};\n",
        "V2__b.sql": "SELECT 1;\nSELECT 'open;\n",
        "R__c.sql": "SELECT 1;\n",
    }
    assert [line.partition(": ")[0] for line in problems(tmp_path, "flyway", files)] == [
        "R__c.sql",
        "V1__a.sql:1",
        "V2__b.sql:2:8",
    ]


def test_the_source_cannot_be_the_directory_to_write_to(tmp_path: Path) -> None:
    write_history(tmp_path, "goose")
    with pytest.raises(UsageError, match="name another directory with --output"):
        adopt_directory(tmp_path, "goose", tmp_path, environ={})


def test_an_interruption_while_files_are_written_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_history(tmp_path / "theirs", "goose")
    (tmp_path / "ours").mkdir()
    written = 0
    open_file = type(tmp_path).open

    def open_some(path: Path, mode: str = "r", **options: object) -> object:
        nonlocal written
        if "x" in mode:
            written += 1
            if written > 3:
                raise KeyboardInterrupt
        return open_file(path, mode, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(type(tmp_path), "open", open_some)
    with pytest.raises(KeyboardInterrupt):
        adopt(tmp_path, "goose")
    assert list((tmp_path / "ours").iterdir()) == []
