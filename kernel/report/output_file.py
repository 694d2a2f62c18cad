"""The file of a report: checked before the work begins, written as a whole or not at all."""

from __future__ import annotations

import importlib.util
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.files import replaceable_file, replacing_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def check_report_writable(path: Path) -> None:
    """Raise UsageError when a report could not be written to `path`, before a rehearsal that takes long begins.

    A file is created in the same folder and removed: permissions alone do not show a read-only file system, and do not
    apply to the superuser.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise UsageError(
            f"--report {path}: the page needs Jinja2, which is not installed; "
            "pip install 'aibos-kernel-migrations[rehearsal]'"
        )
    with _write_errors_as_usage(path):
        real = replaceable_file(path)
        tempfile.TemporaryFile(dir=real.parent).close()


def write_report(path: Path, text: str) -> None:
    """Write a report as a whole or not at all: it is meant to be shared, and holds no content of rows.

    Raises UsageError.
    """
    with _write_errors_as_usage(path), replacing_file(path) as file:
        file.write(text)


@contextmanager
def _write_errors_as_usage(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"--report {path}: its folder does not exist; make it first") from error
    except OSError as error:
        raise UsageError(f"--report {path}: cannot be written: {error.strerror}; name another place") from error
