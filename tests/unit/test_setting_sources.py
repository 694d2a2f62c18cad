"""Settings come from the environment, `.env.local` and `.env`, in this order of precedence."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kernel.config.settings import read_setting_entries

if TYPE_CHECKING:
    from pathlib import Path


def values(root: Path, environ: dict[str, str] | None = None) -> dict[str, str]:
    entries, problems = read_setting_entries(root, environ or {}, concerns=str.isupper)
    assert problems == []
    return {name: entry.value for name, entry in entries.items()}


def problems(root: Path) -> list[str]:
    return [str(problem) for problem in read_setting_entries(root, {}, concerns=str.isupper)[1]]


def test_the_environment_precedes_env_local_which_precedes_env(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=3\nB=3\nC=3\n")
    (tmp_path / ".env.local").write_text("A=2\nB=2\n")
    assert values(tmp_path, {"A": "1"}) == {"A": "1", "B": "2", "C": "3"}


@pytest.mark.parametrize("empty", ["A=", "A=''", "A= # for later", 'A=""'])
def test_empty_falls_through_in_every_layer(tmp_path: Path, empty: str) -> None:
    (tmp_path / ".env").write_text("A=3\n")
    (tmp_path / ".env.local").write_text(f"{empty}\n")
    assert values(tmp_path, {"A": ""}) == {"A": "3"}


def test_the_last_of_several_lines_counts_even_when_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nA=2\nB=1\nB=\n")
    assert values(tmp_path) == {"A": "2"}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("export A=1", "1"),
        ("A = 1", "1"),
        ("A=1 # why", "1"),
        ("A=p#1", "p#1"),
        ("A='${HOME} $HOME'", "${HOME} $HOME"),
        ("A=${HOME}", "${HOME}"),
        ('A="1"', "1"),
        ("A='é'", "é"),
    ],
)
def test_a_line_is_read_as_dotenv_users_expect_without_expansion(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / ".env").write_text(f"{line}\n", encoding="utf-8")
    assert values(tmp_path) == {"A": value}


def test_a_bom_and_crlf_are_no_part_of_names_and_values(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfA=1\r\nB=2\r\n")
    assert values(tmp_path) == {"A": "1", "B": "2"}


def test_an_entry_knows_its_file_and_line_past_blank_lines_and_comments(tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text("# one\n\n\nA='x\ny'\n\nB=1\n")
    entries, _ = read_setting_entries(tmp_path, {"C": "1"}, concerns=str.isupper)
    places = [str(entries[name].problem("wrong")) for name in "ABC"]
    assert places == [".env.local:4: A: wrong", ".env.local:7: B: wrong", "environment: C: wrong"]


def test_names_that_do_not_concern_us_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("other=1\n")
    assert values(tmp_path, {"path": "/bin"}) == {}


def test_malformed_lines_are_all_reported_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text("\nA='open\n")
    (tmp_path / ".env").write_text('A=1\n\n=2\nB="x" y\n')
    told = "is not NAME=value; check its quotes"
    assert problems(tmp_path) == [f".env.local:2: {told}", f".env:3: {told}", f".env:4: {told}"]


@pytest.mark.parametrize("line", ["A", "A:1", "export A", "A:secret@host"])
def test_a_name_of_ours_without_a_value_is_a_problem_that_shows_nothing(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"{line}\n")
    assert problems(tmp_path) == [".env:1: has no =; write NAME=value"]


def test_a_bare_name_of_another_program_is_its_own_business(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("other\n# comment\n\n")
    assert problems(tmp_path) == []


def test_a_file_that_is_not_utf8_is_a_problem_and_the_other_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_bytes(b"A=\xff\n")
    (tmp_path / ".env").write_text("A\n")
    assert problems(tmp_path) == [".env.local: is not UTF-8; save it as UTF-8", ".env:1: has no =; write NAME=value"]


def test_a_nul_is_a_problem_with_its_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=1\nB=\0\n")
    assert problems(tmp_path) == [".env:2: contains a NUL character; remove it"]


def test_an_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert problems(tmp_path) == [".env: cannot be read (Is a directory); fix its permissions or remove it"]


def test_the_environment_of_the_process_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KERNEL_PROBE_OF_A_TEST=1\n")
    before = dict(os.environ)
    assert values(tmp_path) == {"KERNEL_PROBE_OF_A_TEST": "1"}
    assert dict(os.environ) == before


@pytest.mark.parametrize(("content", "imported"), [(None, "False"), ("A=1\n", "True")])
def test_dotenv_is_imported_only_for_a_file(tmp_path: Path, content: str | None, imported: str) -> None:
    if content is not None:
        (tmp_path / ".env").write_text(content)
    script = (
        "import pathlib, sys; from kernel.config.settings import load_settings; "
        "load_settings(pathlib.Path(sys.argv[1]), {}); print('dotenv' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == imported
