"""db.adopt: the files of another tool become ours, apply to an empty database, and can be reverted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.migrations.tool_formats import TOOLS
from tests.histories import FINAL_ROWS, STEPS, write_history

if TYPE_CHECKING:
    from tests.cli.conftest import Project

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("tool", TOOLS)
def test_an_adopted_history_makes_the_schema_and_its_revert_files_take_it_away(project: Project, tool: str) -> None:
    write_history(project.root / "theirs", tool)
    adopted = project.inv("db.adopt", "theirs", "--from", tool)
    assert adopted.code == 0, adopted.err
    assert adopted.out.splitlines()[-1].endswith(f"that {tool} has migrated: inv db.baseline --from {tool}")
    assert project.inv("db.verify", "--offline").code == 0
    assert project.inv("db.migrate").code == 0
    assert project.rows("SELECT title, isbn FROM books") == FINAL_ROWS
    assert project.value("SELECT count_books()") == 1
    assert project.value("SELECT count(*) FROM pg_index WHERE indrelid = 'books'::regclass AND indisvalid") == 3
    if tool != "supabase":
        assert project.inv("db.rollback", "--steps", str(len(STEPS)), "--revert").code == 0
        assert project.tables() == set()


def test_the_table_shows_old_and_new_names_and_json_has_the_same(project: Project) -> None:
    write_history(project.root / "theirs", "goose")
    shown = project.inv("db.adopt", "theirs", "--from", "goose", "--dry-run", "--output", "elsewhere")
    assert shown.out.splitlines()[:2] == [
        "1_create_books.sql               elsewhere/001_create_books.sql  with revert file",
        "2_add_isbn.sql                   elsewhere/002_add_isbn.sql      with revert file",
    ]
    document = project.inv("db.adopt", "theirs", "--from", "goose", "--dry", "--json").document
    assert document["files"][-1] == {
        "sources": ["20230304050608_index_isbns.sql"],
        "version": "005",
        "filename": "005_index_isbns.sql",
        "revert": "revert/005_index_isbns.sql",
        "no_transaction": True,
        "notes": ["its revert file is without CONCURRENTLY, as it runs in a transaction"],
    }
    assert list(project.migrations.iterdir()) == []
    assert not (project.root / "elsewhere").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--theirs", "--from", "goose"), "error: directory: --theirs begins with -, like a flag"),
        (("theirs",), "error: db.adopt: needs the tool that the files are of: --from goose|"),
        (("theirs", "--from", "liquibase"), "error: --from liquibase: no such tool; the tools are goose, "),
        (("nowhere", "--from", "goose"), "nowhere: cannot be listed (No such file or directory)"),
        (("migrations", "--from", "goose"), "migrations: the files of goose are there; name another directory"),
        ((".", "--from", "goose"), "no migration of goose; name the directory that holds its files"),
    ],
)
def test_wrong_arguments_are_refused(project: Project, arguments: tuple[str, ...], expected: str) -> None:
    refused = project.inv("db.adopt", *arguments)
    assert refused.code == 2
    assert expected in refused.err


def test_a_refused_history_is_told_in_json_with_every_problem(project: Project) -> None:
    (project.root / "theirs").mkdir()
    (project.root / "theirs/1_a.sql").write_text("-- +goose ENVSUB ON\n-- +goose Up\nSELECT 1;\n")
    (project.root / "theirs/2_b.go").write_text("")
    error = project.inv("db.adopt", "theirs", "--from", "goose", "--json").error
    assert [(problem["file"], problem.get("line")) for problem in error["problems"]] == [
        ("1_a.sql", 1),
        ("2_b.go", None),
    ]
    assert list(project.migrations.iterdir()) == []
