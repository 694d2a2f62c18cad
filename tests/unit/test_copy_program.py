"""A program that a migration would start on this machine is found, wherever the file hides it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.migrations.copy_program import copy_program_problems
from kernel.migrations.migration import require_migrations
from kernel.migrations.script import parse_script

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = {
    "to": "SELECT 1;\nCOPY t TO PROGRAM 'gzip > x';",
    "from": "SELECT 1;\ncopy t (a)\n  from /* here */ program 'cat /etc/passwd' (FORMAT csv);",
    "in a block": "SELECT 1;\nDO $$ BEGIN COPY t FROM PROGRAM 'true'; END $$;",
    "as text in a block": "SELECT 1;\nDO $$ BEGIN EXECUTE 'COPY t FROM PROGRAM ''true'''; END $$;",
    "in a function": "SELECT 1;\nCREATE FUNCTION f() RETURNS void LANGUAGE sql AS $f$ COPY t TO PROGRAM 'true' $f$;",
}
OTHERS = {
    "a column": "COPY t (program) FROM stdin;\n1\n\\.\n",
    "a table": "INSERT INTO t SELECT * FROM programs; SELECT a FROM t AS program;",
    "a comment": "-- COPY t TO PROGRAM 'x'\nSELECT 1;",
}


def refuse(folder: Path, text: str) -> None:
    (folder / "001_a.sql").write_text(text)
    problems = copy_program_problems((one, parse_script(one.path, one.filename)) for one in require_migrations(folder))
    if problems:
        raise FilesInvalid(problems)


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(FilesInvalid, match=r"COPY … PROGRAM would run a program") as refused:
        refuse(tmp_path, text)
    (problem,) = refused.value.problems
    assert problem.file == "001_a.sql"
    assert problem.line in (2, 3)


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_the_word_alone_is_not_refused(tmp_path: Path, text: str) -> None:
    refuse(tmp_path, text)
