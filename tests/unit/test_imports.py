"""Layers of modules, and the places where third-party libraries are imported."""

from __future__ import annotations

import ast
import runpy
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

# From the ground up: a module imports from its own layer and those below. A package stands for its modules.
LAYERS = (
    ("errors", "files", "units"),
    ("sql", "config"),
    ("migrations", "postgres"),
    ("db", "lint"),
    ("plan",),
    ("apply",),
    ("operations",),
    ("schema",),
    ("rehearsal",),
    ("squash", "fleet"),
    ("report",),
    ("schema_docs",),
    ("cli", "testing"),
    ("tasks", "aibos_kernel_pytest"),
)
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# The same within kernel/rehearsal, which is as large as everything else.
REHEARSAL_LAYERS = (
    ("result", "alter_table"),
    ("dump", "data"),
    ("request", "queries", "prod_copy"),
    ("tracing", "practices", "traffic"),
    ("findings", "suggest"),
    ("preconditions", "restore", "second_run"),
    ("rehearse",),
)
REHEARSAL_RANKS = {name: rank for rank, names in enumerate(REHEARSAL_LAYERS) for name in names}

# Where each dependency enters: modules, or a package for all of its own. psycopg: connecting, and what asks or writes
# the database itself.
ENTRANCES = {
    "invoke": {"tasks"},
    "dotenv": {"kernel.config.settings"},
    "tabulate": {"kernel.report.rehearsal"},
    "distributed": {"kernel.fleet.cluster"},
    "jinja2": {"kernel.report.html_page"},
    "subprocess": {
        "kernel.postgres",  # the programs of PostgreSQL
        "kernel.migrations.git_history",  # which knows the numbers of other branches, and what a file was
        "kernel.cli.server",  # psql, for db.shell
        "kernel.fleet.addresses",  # the programs that print the URL of a target
    },
    "psycopg": {
        "kernel.db",
        "kernel.apply",
        "kernel.schema",  # which reads the catalogs
        "kernel.rehearsal",  # which asks two databases about everything
        "kernel.squash",  # likewise
        "kernel.fleet",  # which asks servers about themselves, and reads the lists of targets
        "kernel.cli.server",  # the parts of a URL for psql; nothing is connected
        "kernel.testing",  # which makes and drops databases
        "aibos_kernel_pytest",  # a connection for a test
    },
}


def name_of(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    name_of(path): path
    for path in (PROJECT / "tasks.py", PROJECT / "aibos_kernel_pytest.py", *sorted((PROJECT / "kernel").rglob("*.py")))
}


def layer(module: str) -> str:
    return module.removeprefix("kernel.").partition(".")[0]


@cache
def imports(module: str, *, typing: bool) -> frozenset[str]:
    """What a module imports when it runs, at its top or in a function; or for its annotations only."""
    tree = ast.parse(MODULES[module].read_text())
    annotating = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if (id(node) in annotating) is not typing:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            source = str(node.module)
            inner = {f"{source}.{alias.name}" for alias in node.names}
            found.update(inner & MODULES.keys() or {source})
    return frozenset(found)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_layer_and_imports_from_none_above(module: str) -> None:
    if module == "kernel":
        return
    assert layer(module) in RANKS, "add it to LAYERS, with its place on the way"
    # Annotations as well: what a layer only names, it still depends on.
    for imported in imports(module, typing=False) | imports(module, typing=True):
        if imported.startswith("kernel."):
            assert RANKS[layer(imported)] <= RANKS[layer(module)], f"{module} imports {imported}"


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("kernel.rehearsal.")])
def test_a_rehearsal_has_layers_too(module: str) -> None:
    def rank(name: str) -> int:
        return REHEARSAL_RANKS[name.removeprefix("kernel.rehearsal.").partition(".")[0]]

    for imported in imports(module, typing=False) | imports(module, typing=True):
        if imported.startswith("kernel.rehearsal."):
            assert rank(imported) <= rank(module), f"{module} imports {imported}"


def test_no_module_imports_itself_by_a_detour() -> None:
    finished: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in finished:
            for imported in imports(module, typing=False) & MODULES.keys():
                visit(imported, (*way, module))
            finished.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("dependency", ENTRANCES)
def test_a_dependency_enters_at_its_own_place(dependency: str) -> None:
    packages = {
        entrance
        for entrance in ENTRANCES[dependency]
        if entrance not in MODULES or MODULES[entrance].stem == "__init__"
    }
    entered = {
        next((package for package in packages if module.startswith(f"{package}.")), module)
        for module in MODULES
        for imported in imports(module, typing=False)
        if imported.partition(".")[0] == dependency
    }
    assert entered == ENTRANCES[dependency]


def test_values_know_nothing_of_the_outside() -> None:
    for module in MODULES:
        values = layer(module) in ("errors", "units", "config", "sql", "migrations", "plan")
        if values and module not in ("kernel.config.settings", "kernel.migrations.git_history"):
            outside = {imported.partition(".")[0] for imported in imports(module, typing=False)}
            assert outside.isdisjoint({"psycopg", "invoke", "dotenv", "tabulate", "subprocess", "socket"}), module


def test_no_modules_import_each_other_in_a_circle() -> None:
    structure = runpy.run_path(str(PROJECT / ".ci" / "structure.py"))
    assert structure["circles_of_modules"](PROJECT) == []
