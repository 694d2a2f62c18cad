"""The context of a task: settings, console, signal handlers and error reports; and parsers of flag values."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.config.settings import load_settings
from kernel.errors import Interrupted, KernelError, Terminated, UsageError
from kernel.migrations.phases import Phase
from kernel.units import parse_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from kernel.cli.console import Console, Progress
    from kernel.config.settings import Settings
    from kernel.operations.drift import MigrationsLocation
    from kernel.report.task_report import TaskReport


_AFTER_SIGNAL = "what had not committed is rolled back; inv db.status shows what is applied, running again continues"


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Most objects live until the task ends, so frequent garbage collections would free little memory.
_COLLECTION_THRESHOLD = 100_000


class _SigtermReceived(KeyboardInterrupt):
    """SIGTERM as a KeyboardInterrupt, for which psycopg cancels the running statement."""


class OutputFormat(StrEnum):
    """The values of --format."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    SARIF = "sarif"
    GITLAB = "gitlab"


def parse_format_flag(text: str | None, *, json: bool) -> OutputFormat:
    """The format of --format and --json. Raises UsageError for an unknown one, and when the two differ."""
    if text is None:
        return OutputFormat.JSON if json else OutputFormat.TEXT
    if text not in list(OutputFormat):
        raise UsageError(f"--format {text}: expected text, json, markdown, sarif or gitlab")
    if json and text != OutputFormat.JSON:
        raise UsageError(f"--format {text}: --json asks for another format; omit one of them")
    return OutputFormat(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """Settings and output of a task: results go to stdout, with --json as one document, all else to stderr."""

    settings: Settings
    console: Console
    progress: Progress
    format: OutputFormat

    @property
    def json(self) -> bool:
        """Whether the result is one JSON document."""
        return self.format is OutputFormat.JSON

    def print_result(
        self,
        text: Callable[[], str],
        document: Callable[[], dict[str, object]],
        report: Callable[[str], TaskReport] | None = None,
    ) -> None:
        """Print the result in the format of the flags; in GitHub Actions, append it to the summary of the job too.

        `report` takes the path of the migrations from the top of the repository. Only a task with --format has one.
        """
        if self.format is OutputFormat.TEXT:
            self.console.print_result(text())
        elif self.format is OutputFormat.JSON:
            from kernel.report.json_documents import json_text  # noqa: PLC0415 - with --json only

            self.console.print_result(json_text(document()))
        if report is not None:
            _publish_report(self.console, self.format, lambda: report(_migrations_path(self.settings)))

    def require_text_or_json(self, flag: str) -> None:
        """Raise UsageError with a format that is for findings when a flag has another result."""
        if self.format not in (OutputFormat.TEXT, OutputFormat.JSON):
            raise UsageError(f"--format {self.format}: {flag} reports text or json")

    @property
    def migrations_location(self) -> MigrationsLocation:
        """The directories and environment in which git looks for the history of changed files."""
        from kernel.operations.drift import MigrationsLocation  # noqa: PLC0415 - few tasks need it

        return MigrationsLocation(root=self.settings.root, directory=self.settings.migrations_dir, environ=os.environ)

    def require_confirmation(self, task: str, *, yes: bool) -> None:
        """Raise UsageError when a destructive task would change production without --yes."""
        if self.settings.production and not yes:
            raise UsageError(f"{task} changes production (KERNEL_STORAGE_MODE=SUPABASE); confirm it with --yes")


@contextmanager
def open_task(
    root: Path,
    *,
    json: bool,
    exit_with: Callable[[int], BaseException],
    after_signal: str | None = None,
    output_format: str | None = None,
    reported_task: str | None = None,
) -> Iterator[TaskContext]:
    """Run a task of the project in `root`; `after_signal` describes the state that a signal leaves.

    `output_format` is the value of --format, None without the flag; `reported_task` is the name of a task that has it.
    A KernelError or a signal is reported once on stderr (with `json` or a format also on stdout); then the exception
    that `exit_with` makes of the exit code is raised.
    """
    from kernel.cli.console import Progress, open_console  # noqa: PLC0415 - inv --list runs no task

    gc.set_threshold(_COLLECTION_THRESHOLD)
    console = open_console(os.environ)
    progress = Progress(console)
    result_format = OutputFormat.JSON if json else OutputFormat.TEXT
    settings = None
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # background jobs of a shell ignore SIGINT
            signal.signal(number, _handle_first_signal)
    try:
        try:
            result_format = parse_format_flag(output_format, json=json)
            settings = load_settings(root, os.environ)
            for warning in settings.warnings:
                console.print_line(f"warning: {warning}")
            yield TaskContext(settings=settings, console=console, progress=progress, format=result_format)
        except KeyboardInterrupt as interrupt:
            for number in _SIGNALS:  # unlike a handler, this holds while Python shuts down
                signal.signal(number, signal.SIG_IGN)
            error_class = Terminated if isinstance(interrupt, _SigtermReceived) else Interrupted
            place = f" while {progress.filename} ran" if progress.filename else ""
            raise error_class(f"{error_class.code}{place}; {after_signal or _AFTER_SIGNAL}") from interrupt
    except KernelError as error:
        from kernel.report.errors import error_text  # noqa: PLC0415 - after a failure only
        from kernel.report.json_documents import error_document, json_text  # noqa: PLC0415 - after a failure only

        console.print_error(error_text(error))
        if result_format is OutputFormat.JSON:
            console.print_result(json_text(error_document(error)))
        if reported_task:
            from kernel.report.task_report import error_report  # noqa: PLC0415 - after a failure only

            directory = _migrations_path(settings) if settings else "."
            _publish_report(console, result_format, partial(error_report, error, reported_task, directory))
        raise exit_with(error.exit) from error
    finally:
        # The process ends now: skip the garbage collection at exit.
        gc.freeze()


def _publish_report(console: Console, result_format: OutputFormat, make_report: Callable[[], TaskReport]) -> None:
    """Print the report in a format that is made of it; in GitHub Actions, append it to the summary of the job too."""
    in_job = os.environ.get("GITHUB_ACTIONS") == "true" and bool(os.environ.get("GITHUB_STEP_SUMMARY"))
    if result_format in (OutputFormat.TEXT, OutputFormat.JSON) and not in_job:
        return
    report = make_report()
    if in_job or result_format is OutputFormat.MARKDOWN:
        from kernel.report.markdown import markdown_text  # noqa: PLC0415 - in this format only

        markdown = markdown_text(report)
    match result_format:
        case OutputFormat.MARKDOWN:
            console.print_result(markdown)
        case OutputFormat.SARIF:
            from kernel.report.sarif import sarif_text  # noqa: PLC0415 - in this format only

            console.print_result(sarif_text(report))
        case OutputFormat.GITLAB:
            from kernel.report.gitlab import gitlab_text  # noqa: PLC0415 - in this format only

            console.print_result(gitlab_text(report))
    if in_job:
        from kernel.report.github import append_job_summary  # noqa: PLC0415 - in GitHub Actions only

        if warning := append_job_summary(markdown, Path(os.environ["GITHUB_STEP_SUMMARY"])):
            console.print_line(f"warning: {warning}")


def _migrations_path(settings: Settings) -> str:
    """The path of the migrations from the top of their git work tree, else from the project's folder; POSIX."""
    from kernel.migrations.git_history import find_work_tree  # noqa: PLC0415 - for formats only

    directory = settings.migrations_dir.resolve()
    for top in (find_work_tree(directory), settings.root.resolve()):
        if top and directory.is_relative_to(top):
            return directory.relative_to(top).as_posix()
    return directory.as_posix()


def _handle_first_signal(number: int, _frame: FrameType | None) -> None:
    # A second signal would interrupt the rollback. SIGQUIT still ends the process; the server then rolls back.
    for caught in _SIGNALS:
        signal.signal(caught, _ignore_signal)
    raise KeyboardInterrupt if number == signal.SIGINT else _SigtermReceived


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    """Do nothing. With SIG_IGN, Python would warn of a signal that arrived together with the first."""


_MAX_DIGITS = 9  # int() refuses very long texts


def parse_number_flag(flag: str, text: str, *, least: int) -> int:
    """Parse a whole number of at least `least`. Raises UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and int(text) >= least):
        raise UsageError(f"{flag} {text}: expected a whole number from {least}")
    return int(text)


def parse_phase_flag(text: str) -> Phase | None:
    """Parse --phase; None without it. Raises UsageError."""
    if not text:
        return None
    try:
        return Phase(text)
    except ValueError as error:
        raise UsageError(f"--phase {text}: expected before or after") from error


def parse_version_flag(flag: str, text: str | None) -> str:
    """Parse a version; "" without the flag. Raises UsageError when empty, as an unset shell variable is."""
    if text is not None and not text.strip():
        raise UsageError(f"{flag}: empty; write a version such as 016, or omit the flag")
    return text or ""


def parse_duration_flag(flag: str, text: str) -> float:
    """Parse a duration such as 10min as seconds. Raises UsageError."""
    try:
        return parse_milliseconds(text) / 1000
    except ValueError as error:
        raise UsageError(f"{flag} {text}: {error}") from error


def parse_seconds_flag(flag: str, text: str) -> float:
    """Parse seconds; -1 is no limit. Raises UsageError."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value == -1 or 0 <= value < 1e9:  # noqa: PLR2004 - thirty years
        return value
    raise UsageError(f"{flag} {text}: expected seconds, 0 not to wait, -1 to wait without limit")
