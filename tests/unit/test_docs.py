"""The documentation agrees with the code: commands, flags, settings, exit codes, links, packages, named tests."""

from __future__ import annotations

import re
import runpy
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tasks
from kernel import errors
from kernel.config.settings import SETTING_NAMES
from kernel.config.variables import SETTINGS
from kernel.errors import KernelError

if TYPE_CHECKING:
    from invoke.parser.argument import Argument

PROJECT = Path(__file__).parents[2]
DOCUMENTS = [
    PROJECT / "README.md",
    PROJECT / "CHANGELOG.md",
    PROJECT / "CONTRIBUTING.md",
    PROJECT / "migrations/README.md",
    PROJECT / ".env.example",
    *sorted((PROJECT / "docs").glob("*.md")),
]
COMMAND = re.compile(r"\binv (db(?:\.[a-z-]+)?|fleet\.[a-z-]+)\b([^`\n|]*)")
MENTION = re.compile(r"\b(?:db\.|fleet\.(?!md\b|toml\b))[a-z]+(?:-[a-z]+)*\b")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
SETTING = re.compile(r"\b(?:KERNEL_[A-Z_]+|[A-Z_]*DATABASE_URL|SUPABASE_DB_URL|PROD_DB|TEST_DB)\b")
README_LINES = 200

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))


@cache
def arguments(name: str) -> list[Argument]:
    """The arguments of a task. Cached, because Invoke removes the help texts from the task when it returns them."""
    return list(tasks.namespace[name].get_arguments())


def flags(task: str) -> set[str]:
    """The long flags of a task; a short one, such as -c of db.shell, is another spelling of one of them."""
    names = (name for argument in arguments(task) for name in argument.names)
    return {f"--{name}".replace("_", "-") for name in names if len(name) > 1}


def known() -> dict[str, set[str]]:
    names = tasks.namespace.task_names
    return {alias: flags(name) for name, aliases in names.items() for alias in (name, *aliases)}


@documents
def test_every_command_exists_with_every_flag(document: Path) -> None:
    for command, rest in COMMAND.findall(document.read_text(encoding="utf-8")):
        assert command in known(), command
        assert set(FLAG.findall(rest)) <= known()[command] | {"--dry"}, (command, rest)


@documents
def test_every_mentioned_task_exists(document: Path) -> None:
    mentioned = set(MENTION.findall(document.read_text(encoding="utf-8")))
    assert mentioned <= known().keys() | {"db.pem", "db.xyz", "db.migrate"}


@documents
def test_every_link_has_a_target(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (document.parent / target).exists(), target


def settings_table() -> str:
    """The table of docs/configuration.md, in the order of SETTINGS."""
    cells = (
        (f"`{setting.name}`", setting.default and f"`{setting.default}`", setting.description) for setting in SETTINGS
    )
    return "".join(f"| {name} | {default or 'none'} | {description} |\n" for name, default, description in cells)


def test_the_table_of_settings_is_that_of_the_code() -> None:
    text = (PROJECT / "docs/configuration.md").read_text(encoding="utf-8")
    assert settings_table() in text, f"write this table:\n{settings_table()}"
    assert set(SETTING.findall(text)) == set(SETTING_NAMES)


@documents
def test_every_mentioned_setting_exists(document: Path) -> None:
    mentioned = set(SETTING.findall(document.read_text(encoding="utf-8")))
    assert mentioned <= set(SETTING_NAMES)


def test_every_exit_code_of_an_error_is_in_the_table() -> None:
    section = (PROJECT / "README.md").read_text(encoding="utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
    listed = {int(code) for row in re.findall(r"^\| ([0-9, ]+) \|", section, re.MULTILINE) for code in row.split(",")}
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, KernelError)]
    assert {error.exit for error in classes} <= listed


def test_the_docstring_of_the_errors_shows_their_tree() -> None:
    shown = re.findall(r"(\w+) +([0-9]+) +([a-z_]+) ", errors.__doc__ or "")
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, KernelError)]
    public = {(error.__name__, str(error.exit), error.code) for error in classes if not error.__name__.startswith("_")}
    assert set(shown) == public - {("KernelError", "1", "kernel_error")}


def test_the_quick_start_is_two_commands() -> None:
    module = runpy.run_path(str(PROJECT / ".ci/readme_commands.py"))
    first, second = module["commands"]((PROJECT / "README.md").read_text(encoding="utf-8"))
    assert first.endswith("inv db.migrate")
    assert second.endswith("pytest")


def test_the_changelog_names_every_task_and_flag() -> None:
    text = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert set(MENTION.findall(text)) == known().keys() - {"db"}
    positional = {"--name", "--file", "--directory"}
    optional = {flag for name in tasks.namespace.task_names for flag in flags(name)} - positional
    assert optional <= set(FLAG.findall(text))


def test_git_ignores_the_reports_and_suggested_files_of_the_examples() -> None:
    patterns = (PROJECT / ".gitignore").read_text(encoding="utf-8").split()
    examples = {
        path
        for document in ("README.md", "docs/rehearsal.md")
        for path in re.findall(r"--report (\S+\.html)", (PROJECT / document).read_text(encoding="utf-8"))
    }
    assert examples
    for path in examples:
        assert any(fnmatch(path, pattern) for pattern in patterns), path
        assert any(fnmatch(f"{path.removesuffix('.html')}-suggested/", pattern) for pattern in patterns), path


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_every_test_that_the_specification_names_exists() -> None:
    text = (PROJECT / "docs/specification.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", text)
    assert named
    for path, test in named:
        source = (PROJECT / path).read_text(encoding="utf-8") if (PROJECT / path).exists() else ""
        assert f"def {test}(" in source if test else source, f"docs/specification.md: {path}::{test} does not exist"


def test_the_architecture_lists_every_package_and_no_other() -> None:
    text = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.partition("| package or module |")[2].partition("\n\n")[0]
    packages = {f"{path.parent.relative_to(PROJECT)}/" for path in (PROJECT / "kernel").rglob("__init__.py")} - {
        "kernel/"
    }
    modules = {str(path.relative_to(PROJECT)) for path in (PROJECT / "kernel").glob("*.py") if path.stem != "__init__"}
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == packages | modules | {
        "tasks.py",
        "aibos_kernel_pytest.py",
    }


def test_every_module_that_the_architecture_names_exists() -> None:
    text = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:kernel|tests|\.ci)/[\w/.-]+)`", text):
        assert (PROJECT / path).exists(), path


def test_every_arrow_of_the_architecture_is_an_import() -> None:
    text = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
    arrows = re.findall(r"^    (\w+) --> (\w+)$", text, re.MULTILINE)
    assert arrows
    for importing, imported in arrows:
        root = PROJECT / ("" if importing == "tasks" else "kernel") / importing
        sources = sorted(root.rglob("*.py")) or [root.with_suffix(".py")]
        pattern = re.compile(rf"(?:from|import) kernel\.{imported}\b")
        assert any(pattern.search(path.read_text(encoding="utf-8")) for path in sources), f"{importing} --> {imported}"


@pytest.mark.parametrize("name", sorted(known()))
def test_every_flag_of_a_task_is_explained_with_its_default(name: str) -> None:
    task = tasks.namespace[name]
    for argument in arguments("db.status" if name == "db" else name):
        assert argument.help, (name, argument.name)
        assert argument.positional or re.search(r"\((?:default: .+|needed)\)$", argument.help), argument.help
    assert len((task.__doc__ or "").splitlines()[0]) <= 60
