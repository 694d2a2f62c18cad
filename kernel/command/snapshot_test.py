"""db.snapshot-test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernel import evidence, status, units
from kernel.command.desk import whole_number
from kernel.command.migrate import patience
from kernel.errors import ServerFailed, UsageError
from kernel.rehearsal import conduct, golden, remembered
from kernel.rehearsal.golden import store
from kernel.rehearsal.judge.evidence import Limits
from kernel.rehearsal.result import Severity
from kernel.rehearsal.wish import Telling, Wish
from kernel.report import destination, progress, visible
from kernel.report import rehearsal as summary

if TYPE_CHECKING:
    from kernel.command.desk import Desk
    from kernel.rehearsal.result import Rehearsal
    from kernel.settings import Settings

FOUND = 8  # INTERFACE, "Exit codes": something at or above the threshold
_THRESHOLDS = {"error": Severity.ERROR, "warning": Severity.WARNING, "never": None}
_NOTES = 3  # the page and the JSON have all of them


def run(
    desk: Desk,
    *,
    dump: str,
    schema_only: bool,
    jobs: str,
    report: str,
    max_block: str,
    fail_on: str,
    reader: str,
    queries: str,
    suggest: bool,
    keep: bool,
    yes: bool,
) -> int:
    """Rehearse what is pending and print what was found; the exit code. Raises KernelError."""
    settings = desk.settings
    wish = Wish(
        dump=Path(dump) if dump else None,
        prod_db=settings.prod_db,
        test_db=settings.test_db,
        forbidden=_forbidden(settings),
        schema_only=schema_only,
        jobs=whole_number("--jobs", jobs, least=1) if jobs else _processors(),
        keep=keep,
        yes=yes,
        queries=queries,
        suggest=suggest,
        reader_seconds=float(whole_number("--reader", reader, least=0)),
        limits=_limits(max_block, fail_on),
        patience=patience(desk, "0"),
        bindir=settings.pg_bindir,
    )
    page = Path(report) if report else None
    if suggest and not page:
        raise UsageError("--suggest: the files are written beside the report; name one with --report PATH")
    if page:
        if wish.dump and page.resolve() == wish.dump.resolve():
            raise UsageError(f"--report {page}: that is the dump; name another file")
        destination.check_writable(page)
    found = status.files(settings.migrations_dir)
    telling = Telling(
        say=desk.console.say, passing=desk.console.passing, observer=progress.observer(desk.console, quiet=True)
    )
    with evidence.added(desk.place):
        result = conduct.rehearse(found, wish, telling)
    written = _write(page, result) if page else None
    for line in _notes(result.restore.warnings):
        desk.console.say(line)
    desk.answer(lambda: _text(result, page, written), lambda: _document(result))
    return FOUND if result.reasons else 0


def forget(desk: Desk) -> None:
    """Remove every golden copy that is kept and not in use, and say which. Raises ServerFailed."""
    remembered.forget()
    try:
        forgotten = store.opened_store().forget()
    except OSError as error:
        raise ServerFailed(f"the copies that are kept cannot be reached: {error}") from error
    size_bytes = sum(entry.bytes for entry in forgotten.removed)
    names = [entry.name for entry in forgotten.removed]
    for entry, why in forgotten.left:
        desk.console.say(f"warning: {entry.name}: not removed: {why}")
    desk.answer(
        lambda: (
            f"forgot {units.several(len(names), 'copy', 'copies')}, {units.size(size_bytes)}"
            if names
            else "no copy is kept"
        ),
        lambda: {"forgotten": names, "bytes": size_bytes},
    )


def _limits(max_block: str, fail_on: str) -> Limits:
    if fail_on not in _THRESHOLDS:
        raise UsageError(f"--fail-on {fail_on}: expected error, warning or never")
    block_seconds = whole_number("--max-block", max_block, least=0) / 1000
    return Limits(block_seconds=block_seconds, fail_on=_THRESHOLDS[fail_on])


def _forbidden(settings: Settings) -> tuple[golden.Forbidden, ...]:
    """The databases that a rehearsal must not overwrite, whatever TEST_DB says."""
    named = (("PROD_DB", settings.prod_db), (settings.database_variable, settings.database_url))
    return tuple(golden.Forbidden(variable=variable, url=url) for variable, url in named if variable and url)


def _processors() -> int:
    return max(2, min(8, os.cpu_count() or 2))


def _notes(warnings: tuple[str, ...]) -> list[str]:
    """What to know of the copy, the first few lines of it."""
    more = len(warnings) - _NOTES
    return [
        *(f"note: {visible.one_line(warning)}" for warning in warnings[:_NOTES]),
        *([f"note: and {more} more about the copy, listed with --report PATH.html"] if more > 0 else []),
    ]


def _text(result: Rehearsal, page: Path | None, suggested: Path | None) -> str:
    if not result.runs:
        nothing = f"nothing to rehearse: every migration is applied in {visible.one_line(result.source.name)}"
        return f"{nothing}\nreport     {page}" if page else nothing
    told = summary.text(result, report=page)
    if result.advice is None:
        return told
    from kernel.report import suggestion  # noqa: PLC0415 - with --suggest only

    advised = suggestion.text(result.advice, folder=suggested)
    return f"{told}\n\n{advised or 'suggested  nothing: no finding has a mechanical remedy'}"


def _write(page: Path, result: Rehearsal) -> Path | None:
    """Write the page, and beside it the files that are suggested; their folder, None without any."""
    from kernel.rehearsal.suggest import folder  # noqa: PLC0415 - with --report only
    from kernel.report.page import document  # noqa: PLC0415 - with --report only

    destination.write(page, document.html(result))
    return folder.write(page, result.advice) if result.advice else None


def _document(result: Rehearsal) -> dict[str, object]:
    from kernel.report import rehearsal_document  # noqa: PLC0415 - with --json only

    return rehearsal_document.document(result)
