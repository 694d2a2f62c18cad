"""Print the structure of a checkout: modules, lines, layers, arrows between rooms, circles, modules on a file's way.

    python .ci/structure.py [CHECKOUT]

The last figure is measured: `inv db.migrate` applies one file to an empty database, and the modules are counted in
which a function runs between the start of the program and its exit. It runs in the checkout's own `.venv`.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Graph = Mapping[str, set[str]]

# Runs Invoke's program with a profiler that notes where functions run. Class bodies and modules are not functions.
_TRACE = """
import inspect, json, sys
checkout, output = sys.argv[1:3]
kernel = checkout + "/kernel/"
ran = set()
def profile(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and code.co_filename.startswith(kernel):
        ran.add(code.co_filename[len(checkout) + 1:])
from invoke.main import program
sys.argv = ["inv", "db.migrate"]
sys.setprofile(profile)
try:
    program.run()
finally:
    sys.setprofile(None)
    open(output, "w").write(json.dumps(sorted(ran)))
"""


def main(checkout: Path) -> None:
    """Print the figures of a checkout, a line each."""
    modules = _modules(checkout)
    imports = _import_graph(modules)
    rooms = _between_rooms(imports)
    way = _modules_on_the_way(checkout)
    packages = sum(path.name == "__init__.py" for path in modules.values())
    print(f"modules in kernel/: {len(modules) - packages}, and {packages} packages")
    print(f"lines in kernel/: {sum(len(path.read_text().splitlines()) for path in modules.values())}")
    print(f"modules with one importer: {sum(count == 1 for count in _importers(imports).values())}")
    print(f"rooms: {len(rooms)}")
    print(f"arrows between rooms: {sum(map(len, rooms.values()))}")
    print(f"layers of rooms: {_layers(rooms)}")
    print(f"circles of modules: {len(_circles(imports))}; circles of rooms: {len(_circles(rooms))}")
    for circle in (*_circles(imports), *_circles(rooms)):
        print(f"  {', '.join(circle)}")
    print(f"modules that one file passes through in db.migrate: {len(way)}")
    for module in way:
        print(f"  {module}")


def circles_of_modules(checkout: Path) -> list[tuple[str, ...]]:
    """The groups of modules that import each other, imports for type checking included."""
    return _circles(_import_graph(_modules(checkout)))


def _modules(checkout: Path) -> dict[str, Path]:
    return {_name(path, checkout): path for path in sorted((checkout / "kernel").rglob("*.py"))}


def _import_graph(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    return {name: _imports(path, modules) - {name} for name, path in modules.items()}


def _name(path: Path, checkout: Path) -> str:
    parts = path.relative_to(checkout).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path, modules: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in modules else node.module)
    return found & modules.keys()


def _importers(imports: Graph) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for imported in imports.values():
        for name in imported:
            counts[name] += 1
    return counts


def _between_rooms(imports: Graph) -> dict[str, set[str]]:
    """A room is a package; a module directly in `kernel` is a room of its own.

    A package and its own sub-packages are one house: `rehearsal.result` lies below them and `rehearsal.rehearse` above,
    as tests/unit/test_imports.py states. Arrows between the two are left out.
    """
    packages = {module.rpartition(".")[0] for module in imports}

    def room_of(module: str) -> str:
        package = module.rpartition(".")[0]
        return module if module in packages or package == "kernel" else package

    room = {module: room_of(module) for module in imports}
    rooms: dict[str, set[str]] = {name: set() for name in room.values() if name != "kernel"}
    for module, imported in imports.items():
        for other in imported:
            ends = room[module], room[other]
            if "kernel" not in ends and not any(f"{end}.".startswith(f"{start}.") for start, end in (ends, ends[::-1])):
                rooms[room[module]].add(room[other])
    return rooms


def _circles(graph: Graph) -> list[tuple[str, ...]]:
    """The strongly connected groups of two or more."""
    reached = {name: _reachable(graph, name) for name in graph}
    groups = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in graph}
    return sorted(group for group in groups if len(group) > 1)


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    stack = [start]
    while stack:
        for name in graph.get(stack.pop(), ()):
            if name not in seen:
                seen.add(name)
                stack.append(name)
    return seen


def _layers(graph: Graph) -> int:
    """The length of the longest way down, where a circle counts as one room."""
    circle = {name: group for group in _circles(graph) for name in group}

    def same(name: str) -> Iterable[str]:
        return circle.get(name, (name,))

    depth: dict[str, int] = {}

    def measure(name: str) -> int:
        members = set(same(name))
        if name not in depth:
            below = {other for member in members for other in graph[member]} - members
            found = 1 + max((measure(other) for other in below), default=0)
            depth.update(dict.fromkeys(members, found))
        return depth[name]

    return max(map(measure, graph))


def _modules_on_the_way(checkout: Path) -> list[str]:
    python = checkout / ".venv/bin/python"
    if not python.exists():
        sys.exit(f"{python}: no such file; make the environment first, as CONTRIBUTING.md says")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("KERNEL_", "PG"))}
    with tempfile.TemporaryDirectory(prefix="kernel-structure-") as name:
        project = Path(name)
        (project / "migrations").mkdir()
        (project / "migrations/001_tables.sql").write_text("CREATE TABLE notes (id bigint PRIMARY KEY);\n")
        (project / "tasks.py").write_text((checkout / "tasks.py").read_text())
        (project / "trace.py").write_text(_TRACE)
        environ["PYTHONPATH"] = str(checkout)

        def run(*command: str) -> str:
            done = subprocess.run(
                [python, *command], cwd=project, env=environ, capture_output=True, text=True, check=True
            )
            return done.stdout

        environ["DATABASE_URL"] = run("-m", "invoke", "db.start").strip().splitlines()[-1]
        try:
            run("trace.py", str(checkout), "ran.json")
        finally:
            del environ["DATABASE_URL"]
            run("-m", "invoke", "db.stop")
        return list(json.loads((project / "ran.json").read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if sys.argv[1:] else Path(__file__).resolve().parents[1])
