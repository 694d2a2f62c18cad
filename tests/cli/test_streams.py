"""stdin, stdout and stderr in every state that a shell, a pipe or a cron job leaves them in."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import ASCII

if TYPE_CHECKING:
    from tests.cli.conftest import Project

pytestmark = pytest.mark.slow

INV = f"{shlex.quote(sys.executable)} -m invoke"


def shell(project: Project, script: str) -> subprocess.CompletedProcess[str]:
    """Run a line of sh in the project."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(project.root), "DATABASE_URL": project.url}
    done = subprocess.run(
        ["/bin/sh", "-c", script], cwd=project.root, env=environ, check=False, capture_output=True, encoding="utf-8"
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done


def test_a_reader_that_goes_early_gets_what_it_asked_for(three: Project) -> None:
    first = shell(three, f"{INV} db.status | head -n 1")
    assert first.stdout == "📊 Migration Status:\n"
    gone = shell(three, f"{{ {INV} db.migrate; echo $? >&3; }} 3>code | true; cat code")
    assert gone.stdout == "0\n"
    assert three.recorded() == ["001", "002", "003"]


def test_streams_that_are_closed_stop_nothing(three: Project) -> None:
    closed = shell(three, f"{INV} db.migrate --to 1 <&- >&- 2>&-; echo $?; {INV} db.status --check >&-; echo $?")
    assert closed.stdout == "0\n3\n"
    assert three.recorded() == ["001"]
    failed = shell(three, f"{INV} db.migrate --to 9 2>&-; echo $?; {INV} db.migrate --to 9 --json >&-; echo $?")
    assert failed.stdout == "2\n2\n"
    assert failed.stderr.startswith("error: --to 9: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a disk without room, is of Linux")
def test_a_full_disk_under_the_report_stops_no_migration(three: Project) -> None:
    full = shell(three, f"{INV} db.migrate >/dev/full")
    assert full.returncode == 0
    assert full.stderr == "warning: the output cannot be written: No space left on device\n"
    assert three.recorded() == ["001", "002", "003"]


def test_without_emoji_where_they_cannot_be_shown(three: Project) -> None:
    three.call("db.migrate", "--to", "1")
    for environ in ({"PYTHONIOENCODING": "ascii"}, ASCII or {"PYTHONIOENCODING": "ascii"}):
        status = three.inv("db.status", **environ)
        assert status.code == 0
        assert status.out.startswith("Migration Status:\n\nTotal migrations: 3\n")
        assert f"\n  001 001_one.sql{' ' * 25} Applied\n" in status.out
    assert "✅ Applied" in three.inv("db.status", LANG="C").out

    warned = three.inv("db.rollback", PYTHONIOENCODING="ascii")
    assert warned.err.startswith("WARNING: Rollback only removes the migration record. ")


def test_json_survives_any_encoding(project: Project) -> None:
    project.write("001_one.sql", "SELECT 'größer' FROM nowhere;\n")
    failed = project.inv("db.migrate", "--json", PYTHONIOENCODING="ascii")
    assert failed.error["statement"] == "SELECT 'größer' FROM nowhere;"


def test_off_a_terminal_nothing_is_coloured_or_passing(three: Project) -> None:
    three.write("003_three.sql", "SELEC;\n")
    failed = three.inv("db.migrate", TERM="xterm-256color")
    assert failed.code == 6
    assert "\x1b" not in failed.out + failed.err
    assert "\r" not in failed.out + failed.err
