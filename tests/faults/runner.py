"""The command line in a process of its own, which faults can happen to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
END_SECONDS = 60.0


def start(
    folder: Path, url: str, *flags: str, stdout: int | IO[bytes] | None = None, **settings: str
) -> subprocess.Popen[str]:
    """Start `inv db.migrate`; `settings` are environment variables. Its stderr, and stdout unless given, are pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "invoke", "db.migrate", *flags],
        cwd=ROOT,
        # The strongest of the names: a developer's .env file cannot stand in its way.
        env={**os.environ, "MIGRATION_DATABASE_URL": url, "KERNEL_MIGRATIONS_DIR": str(folder), **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], *, seconds: float = END_SECONDS) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a runner, which must end by itself."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"the runner did not end within {seconds} s; it said: {out}{err}") from None
    return process.returncode, out, err


def run(folder: Path, url: str, *flags: str, **settings: str) -> tuple[int, str, str]:
    """Run it to its end."""
    return finish(start(folder, url, *flags, stdout=None, **settings))
