"""The lexer against psql: the same statements, in the same order, for the same script."""

from __future__ import annotations

import io
import os
import re
import subprocess
from pathlib import Path

import pytest

from kernel.sql.lexer import Part, PartKind, split_script

CORPUS = Path(__file__).parents[1] / "corpus"
# psql reads line by line, and forgets at a line's end that a string to be continued has escapes; it counts every END in
# a body, and BEGIN in a function's name. PostgreSQL's own parser does neither, nor does the lexer.
TOPICS = sorted(path.stem for path in CORPUS.glob("*.sql") if not path.stem.endswith("_beyond_psql"))

# What psql prints around each statement before it sends it, with asterisks up to version 16 and a comment since.
_SHOWN = re.compile(
    rb"^[*/]\*\*\(Single step mode: verify command\)\*+/?\n(.*?)\n[*/]\*\*\(press return to proceed [^\n]*\n",
    re.DOTALL | re.MULTILINE,
)

DUMP = r"""--
-- PostgreSQL database dump
--

\restrict aBc123

SET statement_timeout = 0;
SET standard_conforming_strings = on;

CREATE TABLE public.notes (id integer, note text);
COPY public.notes (id, note) FROM stdin;
1	SELECT 'not; sql
2	it's -- /* $$ "
3	\\.
\.

CREATE TABLE public.empty (a integer);
COPY public.empty FROM stdin; -- none
\.
CREATE TABLE public.csv (a text);
COPY public.csv FROM stdin WITH (FORMAT csv);
"a;b
c"
\.
SELECT count(*) FROM public.notes;

\unrestrict aBc123
"""
STRINGS = r"""SELECT '\', ';';
SET standard_conforming_strings = off;
SELECT 'it\'s; one', e'\';', text';';
SET LOCAL standard_conforming_strings = on;
SELECT '\', ';';
SET standard_conforming_strings TO 'off';
SELECT N'\';', '\'; "';
RESET standard_conforming_strings;
SELECT '\'; SELECT 2;
"""


def shown_by_psql(psql: Path, database: str, script: Path, *, answer: str) -> list[bytes]:
    """The statements that psql is about to send; the answer x cancels each, a newline lets it go."""
    shown = subprocess.run(
        [psql, "--no-psqlrc", "--quiet", "--single-step", "--output", os.devnull, "--file", script, database],
        input=answer.encode() * 1000,
        env=os.environ | {"LC_ALL": "C", "PGCLIENTENCODING": "UTF8"},
        capture_output=True,
        check=True,
    ).stdout
    return _SHOWN.findall(shown)


def found_by_lexer(script: bytes) -> list[Part]:
    """The statements, and the lone semicolons that psql sends too."""
    parts = split_script(io.BytesIO(script).read)
    return [
        part for part in parts if part.kind is PartKind.STATEMENT or (part.kind is PartKind.BLANK and part.sql == b";")
    ]


def assert_same(shown: list[bytes], found: list[Part]) -> None:
    """Psql drops blanks and line comments ahead of a statement, and sends block comments along."""
    for theirs, ours in zip(shown, found, strict=False):
        assert ours.text.rstrip().endswith(theirs.rstrip())
        assert theirs.rstrip().endswith(ours.sql.rstrip())
    assert len(shown) == len(found)


@pytest.mark.parametrize("topic", TOPICS)
def test_the_statements_of_the_corpus_are_those_that_psql_sends(psql: Path, database: str, topic: str) -> None:
    script = CORPUS / f"{topic}.sql"
    assert_same(shown_by_psql(psql, database, script, answer="x\n"), found_by_lexer(script.read_bytes()))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_all_of_it_in_one_script_is_split_the_same_whatever_ends_its_lines(
    psql: Path, database: str, tmp_path: Path, newline: str
) -> None:
    script = tmp_path / "all.sql"
    text = "".join((CORPUS / f"{topic}.sql").read_text(encoding="utf-8") for topic in TOPICS)
    script.write_text(f"\ufeff{text}SELECT 'the last' -- one", encoding="utf-8", newline=newline)
    shown = shown_by_psql(psql, database, script, answer="x\n")
    assert_same(shown, found_by_lexer(script.read_bytes()))


def test_a_dump_with_data_is_split_the_same_while_it_runs(psql: Path, database: str, tmp_path: Path) -> None:
    script = tmp_path / "dump.sql"
    script.write_text(DUMP, encoding="utf-8")
    shown = shown_by_psql(psql, database, script, answer="\n")
    assert len(shown) == 9
    assert_same(shown, found_by_lexer(script.read_bytes()))


def test_standard_conforming_strings_turn_as_the_session_turns_them(psql: Path, database: str, tmp_path: Path) -> None:
    script = tmp_path / "strings.sql"
    script.write_text(f"BEGIN;\n{STRINGS}COMMIT;\n", encoding="utf-8")
    shown = shown_by_psql(psql, database, script, answer="\n")
    assert_same(shown, found_by_lexer(script.read_bytes()))
