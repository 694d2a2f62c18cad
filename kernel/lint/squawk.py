"""Run squawk, a linter for PostgreSQL: https://squawkhq.com/docs/rules.

Squawk does not know how a file will be run, or what other files created. So only rules that one line decides are taken
from it; our own decide the others. Without the program those few are missing, and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


# Rules of squawk, and the rule here under which each is reported.
REPORTED_RULES = {
    "prefer-text-field": "varchar-length",
    "prefer-timestamp-tz": "timestamp-without-zone",
    "prefer-identity": "serial-column",
    "ban-char-field": "char-column",
}

_SQUAWK_TIMEOUT_SECONDS = 60  # 6 ms a file on a machine that is not overloaded
_FILES_PER_CALL = 200  # so that no command line is too long


class SquawkFailed(Exception):
    """Squawk gave no readable result; the message says why."""


class SquawkRemark(NamedTuple):
    """A finding of squawk; `line` counts from 1."""

    path: str
    line: int
    rule: str


def find_squawk(environ: Mapping[str, str] = os.environ) -> str | None:
    """The path of squawk: next to this Python, where its wheel installs it, or on PATH; None if there is none."""
    installed = shutil.which("squawk", path=sysconfig.get_path("scripts"))
    return installed or shutil.which("squawk", path=environ.get("PATH"))


def run_squawk(command: str, paths: Sequence[Path]) -> tuple[SquawkRemark, ...]:
    """The findings of squawk in files. Raises SquawkFailed."""
    try:
        return tuple(
            remark
            for at in range(0, len(paths), _FILES_PER_CALL)
            for remark in _run_squawk_once(command, paths[at : at + _FILES_PER_CALL])
        )
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise SquawkFailed(f"{type(error).__name__}: {error}") from error


def _run_squawk_once(command: str, paths: Sequence[Path]) -> Iterator[SquawkRemark]:
    # A configuration file of the project could disable the rules that are needed here.
    arguments = [command, "--reporter=Json", f"--config={os.devnull}", "--no-error-on-unmatched-pattern", "--"]
    answer = subprocess.run(  # noqa: S603 - the program that find_squawk found, and migration files
        [*arguments, *map(str, paths)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SQUAWK_TIMEOUT_SECONDS,
        check=False,
        env={},
    )
    for found in json.loads(answer.stdout or b"[]"):
        yield SquawkRemark(path=found["file"], line=found["line"] + 1, rule=found["rule_name"])
