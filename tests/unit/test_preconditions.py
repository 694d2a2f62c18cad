"""What is found before a restore: declarations of unknown tables, files that cannot be run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kernel.errors import FilesInvalid
from kernel.migrations.migration import require_migrations
from kernel.migrations.scaffold_text import migration_text
from kernel.rehearsal.dump.common.model import DumpContents
from kernel.rehearsal.preconditions import check_pending_files

if TYPE_CHECKING:
    from pathlib import Path


def contents(*tables: str, applied: set[int] | None, **more: object) -> DumpContents:
    """The contents of a dump by pg_dump; its records show these versions as applied."""
    versions = None if applied is None else frozenset(applied)
    given: dict[str, Any] = {"server_version": "15.20", "table_names": frozenset(tables), **more}
    return DumpContents(applied_versions=versions, **given)


def check(folder: Path, text: str, dump: DumpContents) -> list[str]:
    (folder / "001_old.sql").write_text("-- rehearse: drops gone\nCREATE TABLE users ();\n\\echo old\n")
    (folder / "002_new.sql").write_text(text)
    try:
        check_pending_files(require_migrations(folder), dump)
    except FilesInvalid as error:
        return [str(problem) for problem in error.problems]
    return []


DECLARED = "-- rehearse: {}\nDELETE FROM users;\n"


@pytest.mark.parametrize(
    ("declaration", "found"),
    [
        ("rows usres=-3", "rows: no table usres; do you mean users"),
        ("rows users=-3, sale=-1", "rows: no table sale; do you mean sales"),
        ("changes public.usres.name", "changes: no table public.usres; do you mean users"),
        ("drops usres.note", "drops: no table usres.note; correct the declaration, or take it out"),
        ("drops usres", "drops: no table usres; do you mean users"),
        ('rows "Users"=-3', "rows: no table Users; do you mean users"),
    ],
)
def test_a_declaration_of_a_table_that_nothing_names_is_found_before_the_restore(
    tmp_path: Path, declaration: str, found: str
) -> None:
    dump = contents("users", "sales", applied={1})
    assert check(tmp_path, DECLARED.format(declaration), dump) == [f"002_new.sql:1: -- rehearse: {found}"]


@pytest.mark.parametrize(
    "text",
    [
        DECLARED.format("rows users=-3"),
        DECLARED.format("drops users.note, public.users\n-- rehearse: changes users.*"),
        "-- rehearse: rows made=+1\nCREATE TABLE made AS SELECT 1;\n",
        "-- rehearse: drops customers.note\nALTER TABLE users RENAME TO customers;\n",
        '-- rehearse: rows "Odd Name"=-1\nALTER TABLE users RENAME TO "Odd Name";\n',
        "-- rehearse: rows in_block=-1\nDO $$ BEGIN CREATE TABLE in_block (); END $$;\n",
        "-- rehearse: rows part_7=-1\nDO $$ BEGIN EXECUTE format('CREATE TABLE part_%s ()', 7); END $$;\n",
    ],
)
def test_a_declaration_of_a_table_of_the_dump_or_of_a_pending_file_passes(tmp_path: Path, text: str) -> None:
    assert check(tmp_path, text, contents("users", applied={1})) == []


@pytest.mark.parametrize(
    "dump",
    [
        contents("users", applied=None),
        contents("users", applied={1}, extensions=("postgis",)),
        contents("users", applied={1}, server_version=""),
        contents("users", applied={1}, encoding="LATIN1"),
    ],
    ids=["no records", "tables of an extension", "a script of another program", "names in another encoding"],
)
def test_what_a_dump_does_not_show_is_left_to_the_copy(tmp_path: Path, dump: DumpContents) -> None:
    assert check(tmp_path, DECLARED.format("rows usres=-3"), dump) == []


def test_all_problems_of_pending_files_are_found_at_once_and_none_of_applied_ones(tmp_path: Path) -> None:
    (tmp_path / "003_more.sql").write_text("SELECT 'unterminated;\n")
    (tmp_path / "004_program.sql").write_text("COPY users TO PROGRAM 'true';\n")
    (tmp_path / "005_word.sql").write_text("-- rehearse: row users=1\nSELECT 1;\n")
    found = check(tmp_path, DECLARED.format("rows usres=-3"), contents("users", applied={1}))
    assert [problem.partition(":")[0] for problem in found] == [
        "003_more.sql",
        "004_program.sql",
        "005_word.sql",
        "002_new.sql",
    ]


def test_a_file_that_is_not_written_yet_is_found_before_the_restore(tmp_path: Path) -> None:
    text = migration_text("002", "New", "New", no_transaction=False)
    (problem,) = check(tmp_path, text, contents("users", applied={1}))
    assert problem.startswith("002_new.sql: still as db.new wrote it, without a statement; ")
