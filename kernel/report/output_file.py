"""The file of a report: checked before the work begins, written as a whole or not at all."""

from __future__ import annotations

import importlib.util
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        draft, descriptor = _create_draft(path)
        os.close(descriptor)
        draft.unlink()


def write_report(path: Path, text: str) -> None:
    """Write a report; a reader sees the old one or the new one, never a part. Raises UsageError.

    Its permissions are those of any new file: it is meant to be shared, and holds no content of rows.
    """
    with _write_errors_as_usage(path):
        draft, descriptor = _create_draft(path)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                # Otherwise a crash soon after can leave the new name with nothing in it.
                os.fsync(file.fileno())
            draft.replace(_resolve_link(path))
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def _create_draft(path: Path) -> tuple[Path, int]:
    """A new file in the folder of the report, and its descriptor."""
    real = _resolve_link(path)
    if real.exists() and not real.is_file():
        raise UsageError(f"--report {path}: is no ordinary file; name a file to write")
    draft = real.with_name(f".{secrets.token_hex(8)}.part")
    return draft, os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # less the umask


def _resolve_link(path: Path) -> Path:
    """The target of a symbolic link, so that the link is kept."""
    return Path(os.path.realpath(path))


@contextmanager
def _write_errors_as_usage(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"--report {path}: its folder does not exist; make it first") from error
    except OSError as error:
        raise UsageError(f"--report {path}: cannot be written: {error.strerror}; name another place") from error
