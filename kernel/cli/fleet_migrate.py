"""fleet.migrate: migrate the targets of a fleet, wave by wave."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.apply.executor import WaitLimits
from kernel.cli.context import parse_phase_flag, parse_version_flag
from kernel.cli.fleet import open_fleet, open_workers, parse_flag, survey_fleet, work_options
from kernel.errors import UsageError
from kernel.fleet.inventory import parse_failure_limit, parse_timeout
from kernel.fleet.journal import Journal, hold_control_lock, open_journal, read_unfinished
from kernel.fleet.outcome import GOOD_STATES, worst_exit
from kernel.fleet.rollout import Rollout, RolloutReport, describe_progress
from kernel.fleet.servers import refuse_too_many_connections
from kernel.fleet.target import Target
from kernel.fleet.work import files_digest
from kernel.report.fleet import error_line, fleet_migrate_document, fleet_migrate_text, state_words
from kernel.report.fleet_report import migrate_report
from kernel.report.safe_text import to_one_line
from kernel.units import format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kernel.cli.console import Console
    from kernel.cli.context import TaskContext
    from kernel.cli.fleet import Fleet, FleetFlags, WavesOfTargets
    from kernel.config.settings import Settings
    from kernel.fleet.outcome import TargetOutcome
    from kernel.fleet.rollout import WaveProgress, WaveResult
    from kernel.fleet.target import Wave
    from kernel.fleet.work import WorkOptions

_LINE_SECONDS = 30.0  # between two lines about a wave, in a log


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateFlags:
    """The flags of fleet.migrate alone, as texts; "" for those that are not given."""

    to: str | None = None
    until: str = ""
    max_failures: str = ""
    timeout: str = ""
    failed: bool = False
    dry_run: bool = False
    phase: str = ""
    yes: bool = False


def run_fleet_migrate(context: TaskContext, flags: FleetFlags, own: MigrateFlags) -> int:
    """Migrate the targets and print what became of them; return the exit code. Raises KernelError."""
    folder = context.settings.root / ".kernel" / "fleet"
    options = _migrate_options(context.settings, own)
    only = _unfinished_targets(context.console, folder) if own.failed else None
    fleet = open_fleet(context, flags, change_wave=_wave_changes(own), restricted_to=only)
    waves = _waves_until(fleet.waves, own.until)
    if options.to and all(migration.number != int(options.to) for migration in fleet.migrations):
        raise UsageError(f"--to {options.to}: no migration file has this version")
    began = time.monotonic()
    with ExitStack() as stack:
        journal, check_lock = Journal(), _no_lock
        if not own.dry_run:
            journal = stack.enter_context(open_journal(folder, part=fleet.part))
            check_lock = _take_control_lock(stack, fleet)
        workers = stack.enter_context(open_workers(fleet, options, cluster=flags.cluster))
        survey = survey_fleet(fleet, workers)
        with_server = {target.name: target for target in survey.targets}
        assigned = tuple((wave, tuple(with_server[target.name] for target in targets)) for wave, targets in waves)
        refuse_too_many_connections(assigned, survey.probes)
        digest = files_digest(fleet.migrations)
        names = [target.name for _, targets in assigned for target in targets]
        journal.write("begun", run=journal.run, files=digest, inventory=fleet.inventory.filename, targets=names)
        rollout = Rollout(
            survey=survey,
            workers=workers,
            journal=journal,
            observer=_Reporter(context.console, dry_run=own.dry_run),
            ask=lambda wave: own.yes or _confirm(context.console, wave),
            check_lock=check_lock,
        )
        results = rollout.run(assigned)
        code = worst_exit(outcome for result in results for outcome in result.outcomes)
        journal.write("done", exit=code)
        journal.sync()
    report = RolloutReport(
        run=journal.run,
        journal=journal.path,
        inventory=fleet.inventory.filename,
        digest=digest,
        total_files=len(fleet.migrations),
        last_version=options.to or fleet.migrations[-1].version,
        dry_run=own.dry_run,
        waves=results,
        servers={target.name: target.server for target in survey.targets},
        seconds=time.monotonic() - began,
    )
    context.print_result(
        lambda: fleet_migrate_text(report),
        lambda: fleet_migrate_document(report),
        lambda directory: migrate_report(report, directory),
    )
    return code


def _migrate_options(settings: Settings, own: MigrateFlags) -> WorkOptions:
    waits = WaitLimits(
        lock_timeout_ms=settings.lock_timeout_ms,
        lock_retries=settings.lock_retries,
        statement_timeout_ms=settings.statement_timeout_ms,
    )
    to = parse_version_flag("--to", own.to)
    return replace(work_options(settings), to=to, phase=parse_phase_flag(own.phase), dry_run=own.dry_run, waits=waits)


def _wave_changes(own: MigrateFlags) -> Callable[[Wave], Wave]:
    """The function that replaces the limits of a wave by those of the flags. Raises UsageError."""
    max_failures = parse_flag("--max-failures", own.max_failures, parse_failure_limit)
    timeout_seconds = parse_flag("--timeout", own.timeout, parse_timeout)
    return lambda wave: replace(
        wave,
        max_failures=max_failures or wave.max_failures,
        timeout_seconds=timeout_seconds or wave.timeout_seconds,
    )


def _unfinished_targets(console: Console, folder: Path) -> tuple[str, ...]:
    """The targets that the last run left. Raises UsageError without a run."""
    last = read_unfinished(folder)
    if last is None:
        raise UsageError("--failed: there is no run in .kernel/fleet; omit it")
    run, names = last
    console.print_line(f"run {run} left {format_quantity(len(names), 'target')}")
    return names


def _waves_until(waves: WavesOfTargets, until: str) -> WavesOfTargets:
    """The waves down to the one of --until. Raises UsageError."""
    if not until:
        return waves
    names = [wave.name for wave, _ in waves]
    if until not in names:
        raise UsageError(f"--until {until}: no such wave; there are {', '.join(names)}")
    return waves[: names.index(until) + 1]


def _no_lock() -> None:
    """Check the lock of a run without a control database: the system holds that of the file."""


def _take_control_lock(stack: ExitStack, fleet: Fleet) -> Callable[[], None]:
    """Take the lock in the control database, if there is one; the function that is returned raises when it is lost."""
    control = fleet.inventory.control
    if control is None:
        return _no_lock
    url = fleet.addresses.url(Target(name="control", address=control))
    session = stack.enter_context(hold_control_lock(url, control, part=fleet.part))

    def check() -> None:
        session.connection.execute("SELECT 1")  # an error ends the run before the next wave

    return check


def _confirm(console: Console, wave: str) -> bool:
    """Ask the user at a terminal whether to go on after a wave; without a terminal, the run ends there."""
    if not (sys.stdin and sys.stdin.isatty() and console.live_lines):
        return False
    console.print_line(f"wave {wave} is done; go on with the next? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class _Reporter:
    """Shows a rollout: a passing line at a terminal, in a log a line at times; every target that is not well."""

    def __init__(self, console: Console, *, dry_run: bool) -> None:
        self._console = console
        self._verb = "would migrate" if dry_run else "migrating"
        self._next_line = 0.0
        self._held = ""

    def wave_began(self, wave: str, targets: int) -> None:
        self._next_line = time.monotonic() + _LINE_SECONDS
        self._console.print_line(f"wave {wave}: {self._verb} {format_quantity(targets, 'target')}")

    def target_ended(self, target: Target, outcome: TargetOutcome) -> None:
        if outcome.state not in GOOD_STATES and outcome.error:
            line = f"{target.name}: {state_words(outcome.state)}: {error_line(outcome.error)}"
            self._console.print_line(to_one_line(line))

    def target_is_slow(self, target: Target, seconds: float, usual_seconds: float) -> None:
        usual = format_seconds(usual_seconds)
        self._console.print_line(
            f"{to_one_line(target.name)}: slow, running for {format_seconds(seconds)}, others took {usual}"
        )

    def progressed(self, progress: WaveProgress) -> None:
        line = describe_progress(progress)
        if self._console.live_lines:
            self._console.show_progress(line)
        elif time.monotonic() > self._next_line:
            self._next_line = time.monotonic() + _LINE_SECONDS
            self._console.print_line(line)

    def wave_ended(self, result: WaveResult) -> None:
        if result.stopped:
            self._console.print_line(f"stopped: {result.stopped}; no other target begins")

    def holding(self, wave: str, seconds_left: float) -> None:
        if not self._console.live_lines and self._held != wave:
            self._console.print_line(f"wave {wave} is done; the next one begins in {format_seconds(seconds_left)}")
        self._held = wave
        self._console.show_progress(f"wave {wave} is done; the next one begins in {format_seconds(seconds_left)}")
