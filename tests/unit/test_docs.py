"""What the documents say of commands, flags, settings and exit codes is true."""

from __future__ import annotations

import re
import runpy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tasks
from kernel import errors
from kernel.config.settings import SETTING_NAMES
from kernel.errors import KernelError

if TYPE_CHECKING:
    from invoke.parser.argument import Argument

PROJECT = Path(__file__).parents[2]
DOCUMENTS = [
    PROJECT / "README.md",
    PROJECT / "CHANGELOG.md",
    PROJECT / "migrations/README.md",
    PROJECT / ".env.example",
    *sorted((PROJECT / "docs").glob("*.md")),
]
COMMAND = re.compile(r"\binv (db(?:\.[a-z-]+)?)\b([^`\n|]*)")
MENTION = re.compile(r"\bdb\.[a-z]+(?:-[a-z]+)*\b")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))


@cache
def arguments(name: str) -> list[Argument]:
    """The arguments of a task; Invoke takes the help out of it when it is asked, and gives it once."""
    return list(tasks.namespace[name].get_arguments())


def flags(task: str) -> set[str]:
    return {flag for argument in arguments(task) for name in argument.names for flag in [f"--{name}".replace("_", "-")]}


def known() -> dict[str, set[str]]:
    names = tasks.namespace.task_names
    return {alias: flags(name) for name, aliases in names.items() for alias in (name, *aliases)}


@documents
def test_every_command_exists_with_every_flag(document: Path) -> None:
    for command, rest in COMMAND.findall(document.read_text(encoding="utf-8")):
        assert command in known(), command
        assert set(FLAG.findall(rest)) <= known()[command] | {"--dry"}, (command, rest)


@documents
def test_every_task_that_is_mentioned_exists(document: Path) -> None:
    mentioned = set(MENTION.findall(document.read_text(encoding="utf-8")))
    assert mentioned <= known().keys() | {"db.pem", "db.xyz", "db.migrate"}


@documents
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (document.parent / target).exists(), target


@pytest.mark.parametrize("document", ["README.md", "docs/configuration.md", ".env.example"])
def test_every_setting_is_told_and_no_other(document: str) -> None:
    text = (PROJECT / document).read_text(encoding="utf-8")
    told = set(re.findall(r"\b(?:KERNEL_[A-Z_]+|[A-Z_]*DATABASE_URL|SUPABASE_DB_URL|PROD_DB|TEST_DB)\b", text))
    assert told == set(SETTING_NAMES)


def test_every_exit_code_of_an_error_is_in_the_table() -> None:
    section = (PROJECT / "README.md").read_text(encoding="utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
    told = {int(code) for row in re.findall(r"^\| ([0-9, ]+) \|", section, re.MULTILINE) for code in row.split(",")}
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, KernelError)]
    assert {one.exit for one in classes} <= told


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"(\w+) +([0-9]+) +([a-z_]+) ", errors.__doc__ or "")
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, KernelError)]
    public = {(one.__name__, str(one.exit), one.code) for one in classes if not one.__name__.startswith("_")}
    assert set(drawn) == public - {("KernelError", "1", "kernel_error")}


def test_the_quick_start_is_two_commands() -> None:
    module = runpy.run_path(str(PROJECT / ".ci/readme_commands.py"))
    first, second = module["commands"]((PROJECT / "README.md").read_text(encoding="utf-8"))
    assert first.endswith("inv db.migrate")
    assert second.endswith("pytest")


@pytest.mark.parametrize("name", sorted(known()))
def test_every_flag_of_a_task_is_explained_with_its_default(name: str) -> None:
    task = tasks.namespace[name]
    for argument in arguments("db.status" if name == "db" else name):
        assert argument.help, (name, argument.name)
        assert argument.positional or re.search(r"\((?:default: .+|needed)\)$", argument.help), argument.help
    assert len((task.__doc__ or "").splitlines()[0]) <= 60
