"""What squawk, a linter for PostgreSQL in one program, knows of our rules: https://squawkhq.com/docs/rules.

It reads a file without knowing how it will be run, or what other files made. So its word is taken for what shows in one
line, and where the context decides it is ours that is. Without the program that part is missing, and nothing else.
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


# Its rules that nothing here finds otherwise, and ours that they stand for.
REPORTED_RULES = {
    "prefer-text-field": "varchar-length",
    "prefer-timestamp-tz": "timestamp-without-zone",
    "prefer-identity": "serial-column",
    "ban-char-field": "char-column",
}

_SQUAWK_TIMEOUT_SECONDS = 60  # 6 ms a file; a machine in trouble is no reason to wait for ever
_FILES_PER_CALL = 200  # files for one call, so that no command line is too long


class SquawkFailed(Exception):
    """Squawk gave no answer that can be read; the message says why."""


class SquawkRemark(NamedTuple):
    """A rule of squawk met on a line, which counts from 1, of a file."""

    path: str
    line: int
    rule: str


def find_squawk(environ: Mapping[str, str] = os.environ) -> str | None:
    """Where squawk is: beside this Python, as its wheel puts it, or on PATH; None when it is nowhere."""
    beside = shutil.which("squawk", path=sysconfig.get_path("scripts"))
    return beside or shutil.which("squawk", path=environ.get("PATH"))


def run_squawk(command: str, paths: Sequence[Path]) -> tuple[SquawkRemark, ...]:
    """All that squawk says of files. Raises Silent."""
    try:
        return tuple(
            remark
            for at in range(0, len(paths), _FILES_PER_CALL)
            for remark in _run_squawk_once(command, paths[at : at + _FILES_PER_CALL])
        )
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise SquawkFailed(f"{type(error).__name__}: {error}") from error


def _run_squawk_once(command: str, paths: Sequence[Path]) -> Iterator[SquawkRemark]:
    # A configuration of the project's own would have it leave out what we ask it for.
    arguments = [command, "--reporter=Json", f"--config={os.devnull}", "--no-error-on-unmatched-pattern", "--"]
    answer = subprocess.run(  # noqa: S603 - the program that `program` found, and files of ours
        [*arguments, *map(str, paths)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SQUAWK_TIMEOUT_SECONDS,
        check=False,
        env={},
    )
    for found in json.loads(answer.stdout or b"[]"):
        yield SquawkRemark(path=found["file"], line=found["line"] + 1, rule=found["rule_name"])
