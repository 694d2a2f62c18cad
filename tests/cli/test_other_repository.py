"""Another repository takes this project in: one file of tasks and its own migrations, next to what it has already."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Project

OWN_TASKS = '''\
from invoke.collection import Collection
from invoke.tasks import task

import kernel_tasks


@task
def build(c):
    """Build the application."""
    print("built")


namespace = Collection(build)
for collection in kernel_tasks.namespace.collections.values():
    namespace.add_collection(collection)
'''


def test_the_tasks_stand_next_to_those_of_the_repository(project: Project) -> None:
    (project.root / "tasks.py").rename(project.root / "kernel_tasks.py")
    (project.root / "tasks.py").write_text(OWN_TASKS)
    project.write("001_one.sql", "CREATE TABLE one (id int);")
    assert project.inv("db.migrate").code == 0
    assert project.recorded() == ["001"]
    assert project.inv("build").out == "built\n"


def inv_of_installed_package(project: Project, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run `inv` where the package is in a folder of the path: an editable installation has an import hook instead."""
    installed = project.root.parent / "installed"
    installed.mkdir(exist_ok=True)
    if not (installed / "kernel").exists():
        (installed / "kernel").symlink_to(CHECKOUT / "kernel")
    path = os.pathsep.join([str(installed), sysconfig.get_path("purelib")])
    completed = subprocess.run(
        [sys.executable, "-S", "-m", "invoke", *arguments],
        cwd=folder,
        env=project.environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
        check=False,
    )
    return completed.returncode, completed.stdout, completed.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kernel/__init__.py", "kernel.py", "kernel/cli/context.py"])
def test_another_package_named_kernel_is_an_error_that_says_what_to_do(project: Project, name: str) -> None:
    path = project.root / name
    for folder in reversed(path.relative_to(project.root).parents[:-1]):
        (project.root / folder).mkdir()
        (project.root / folder / "__init__.py").touch()
    path.touch()
    place = path if name == "kernel.py" else project.root / "kernel/__init__.py"
    expected = (
        f"error: {place}: another package named kernel, which Python finds first; "
        "move tasks.py, .env and migrations/ to a folder without it, and run inv there\n"
    )
    assert inv_of_installed_package(project, project.root, "db.status") == (2, "", expected)
    project.write("001_one.sql", "CREATE TABLE one (id int);")
    moved_to = project.root / "database"
    moved_to.mkdir()
    for moved in ("tasks.py", "migrations"):
        (project.root / moved).rename(moved_to / moved)
    assert inv_of_installed_package(project, moved_to, "db.migrate")[0] == 0
    assert project.recorded() == ["001"]


@pytest.mark.slow
def test_a_python_without_the_package_is_an_error_that_says_so(project: Project) -> None:
    hide = f"import sys; sys.modules['kernel'] = None; sys.path.insert(0, {str(project.root)!r}); import tasks"
    completed = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert completed.returncode == 2
    assert completed.stderr == (
        f"error: {sys.executable}: aibos-kernel-migrations is not installed here; install it with pip\n"
    )
