"""Invoke's program in the process of the tests: all that `python -m invoke` does after Python has started."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import tempfile
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import ModuleType
from typing import TYPE_CHECKING

import invoke
import pytest
from invoke.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


def run_in_this_process(root: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> tuple[int, str, str]:
    """Run `inv` with `arguments` in the folder `root`; returns exit code, stdout and stderr."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    program = Program(name="Invoke", binary="inv[oke]", binary_names=["invoke", "inv"], version=invoke.__version__)
    code: object = 0
    with _process_state(root, environ), redirect_stdout(out), redirect_stderr(err):
        try:
            program.run(["inv", *arguments])
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return code, _text(out), _text(err)


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


@contextmanager
def _process_state(root: Path, environ: Mapping[str, str]) -> Iterator[None]:
    """The folder and environment of a process of its own; afterwards everything is as before that a task changes."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threshold = gc.get_threshold()
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        patch.chdir(root)
        patch.setattr(tempfile, "tempdir", None)  # TMPDIR is read again
        patch.setattr(sys, "path", [*sys.path])
        patch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
        patch.setitem(sys.modules, "tasks", ModuleType("tasks"))
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            gc.set_threshold(*threshold)
            gc.unfreeze()
