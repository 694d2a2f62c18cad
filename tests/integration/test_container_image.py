"""The image of the Dockerfile: built where there is a builder, and its steps carried out in a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.faults.proxy import open_proxy
from tests.unit.test_deployment_files import IMAGE_USER, PROJECT, instructions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server

# One that the image's user may run: the interpreter of the tests may be in a private home.
SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture
def image() -> Iterator[Path]:
    """A folder that every account may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
def test_the_steps_of_the_image_make_an_installation_that_migrates_as_its_user(
    server: Server, database: str, image: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become the user of the image")
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", str(image / "python")], check=True)
    (image / "app").mkdir()
    environ = {"PATH": f"{image}/python/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    for name, rest in instructions():
        if name == "COPY":
            _copy(rest.split(), image / "app")
        elif name == "RUN":
            install, found, _user = rest.partition("&& useradd ")
            assert found
            script = f"{install.strip()} && true"
            pip = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_", "HOME"))}
            subprocess.run(["sh", "-euc", script], cwd=image / "app", env={**pip, **environ}, check=True)
    # The folder of the server's socket is private to its account.
    parameters = conninfo_to_dict(server.conninfo)
    with open_proxy(Path(str(parameters["host"]), f".s.PGSQL.{parameters['port']}")) as proxy:
        url = make_conninfo(database, host="127.0.0.1", port=proxy.port, sslmode="disable", gssencmode="disable")
        migrated = subprocess.run(
            ["inv", "db.migrate"],
            cwd=image / "app",
            env={**environ, "DATABASE_URL": url},
            user=IMAGE_USER,
            group=IMAGE_USER,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
    assert migrated.returncode == 0, migrated.stderr
    with psycopg.connect(database) as connection:
        applied = connection.execute("SELECT count(*) FROM schema_migrations").fetchone()
    assert applied == (len(list((PROJECT / "migrations").glob("*.sql"))),)


@pytest.mark.slow
def test_the_image_is_built_and_lists_its_tasks() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no container builder answers")
    tag = "kernel-migrations:test"
    subprocess.run([docker, "build", "--quiet", "--tag", tag, str(PROJECT)], check=True)
    listed = subprocess.run([docker, "run", "--rm", tag, "--list"], capture_output=True, text=True, check=True)
    assert "db.migrate" in listed.stdout
    user = subprocess.run(
        [docker, "run", "--rm", "--entrypoint", "id", tag, "-u"], capture_output=True, text=True, check=True
    )
    assert user.stdout.strip() == str(IMAGE_USER)


def _copy(words: list[str], into: Path) -> None:
    """COPY of a builder: the content of a folder, or files into a folder."""
    *sources, target = words
    for source in sources:
        if (PROJECT / source).is_dir():
            shutil.copytree(PROJECT / source, into / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / source, into / target)
