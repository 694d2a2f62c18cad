"""The folder beside the report that the suggested files are written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.rehearsal.suggest.files import MARK

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kernel.rehearsal.suggest.suggested import Advice

_MARKED_BYTES = 4096


def beside(report: Path) -> Path:
    """The folder that goes with a report: prod.html has prod-suggested/."""
    return report.with_name(f"{report.stem}-suggested")


def write(report: Path, advice: Advice) -> Path | None:
    """Write the files, in place of those of an earlier rehearsal; the folder, or None when there are none.

    Raises UsageError when the folder holds SQL that is not ours, or cannot be written.
    """
    suggested = [file for trial in advice.trials for file in trial.suggested.files]
    folder = beside(report)
    try:
        earlier = list(_earlier(folder)) if folder.exists() else []
        for path in earlier:
            path.unlink()
        if not suggested:
            return None
        folder.mkdir(exist_ok=True)
        for file in suggested:
            with (folder / file.filename).open("x", encoding="utf-8", newline="\n") as opened:
                opened.write(file.text)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); name another report") from error
    return folder


def _earlier(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.glob("*.sql")):
        with path.open("rb") as file:
            if MARK not in file.read(_MARKED_BYTES):
                raise UsageError(f"{path}: is not of a rehearsal; move it away, or name another report")
        yield path
