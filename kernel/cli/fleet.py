"""What the tasks of a fleet share: their flags, the inventory, and who does the work. And fleet.status."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from kernel.cli.context import parse_number_flag
from kernel.config.settings import read_setting_entries
from kernel.errors import Drift, SettingsError, UsageError
from kernel.fleet.addresses import Addresses
from kernel.fleet.catalogs import group_by_catalog
from kernel.fleet.dispatch import Limits
from kernel.fleet.inventory import read_inventory
from kernel.fleet.outcome import TargetState, worst_exit
from kernel.fleet.survey import FleetStatus, read_fleet, read_fleet_catalogs, survey_servers
from kernel.fleet.targets import choose_targets, divide_into_waves, find_targets
from kernel.fleet.verify import group_by_records
from kernel.fleet.work import Work, WorkOptions
from kernel.fleet.workers import ThreadWorkers
from kernel.migrations.migration import require_migrations
from kernel.report.fleet import fleet_status_document, fleet_status_text, fleet_verify_document, fleet_verify_text
from kernel.report.fleet_report import status_report, verify_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kernel.cli.context import TaskContext
    from kernel.config.settings import Settings
    from kernel.fleet.survey import Survey
    from kernel.fleet.target import Inventory, Target, Wave
    from kernel.fleet.workers import Workers
    from kernel.migrations.migration import Migration

PENDING_EXIT = 3
_T = TypeVar("_T")
WavesOfTargets = tuple[tuple["Wave", tuple["Target", ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFlags:
    """The flags that all tasks of a fleet have, as texts; "" for those that are not given."""

    inventory: str = "fleet.toml"
    only: str = ""
    wave: str = ""
    at_a_time: str = ""
    per_server: str = ""
    part: str = ""
    cluster: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The inventory with its targets in waves, before any server is asked."""

    inventory: Inventory
    waves: WavesOfTargets
    migrations: tuple[Migration, ...]
    addresses: Addresses
    part: tuple[int, int]

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(target for _, targets in self.waves for target in targets)

    @property
    def limits(self) -> Limits:
        """The limits of a task that takes all waves together."""
        waves = [wave for wave, _ in self.waves]
        return Limits(
            at_a_time=max(wave.at_a_time for wave in waves), per_server=min(wave.per_server for wave in waves)
        )


def open_fleet(
    context: TaskContext,
    flags: FleetFlags,
    *,
    change_wave: Callable[[Wave], Wave] = lambda wave: wave,
    restricted_to: tuple[str, ...] | None = None,
) -> Fleet:
    """Read the inventory and find the targets that the flags choose. Raises FilesInvalid, UsageError.

    `restricted_to` are the names of the targets that --failed leaves, None without it.
    """
    settings = context.settings
    migrations = require_migrations(settings.migrations_dir)
    part = _parse_part(flags.part)
    at_a_time = _parse_count("--at-a-time", flags.at_a_time)
    per_server = _parse_count("--per-server", flags.per_server)
    inventory = read_inventory(settings.root / flags.inventory)
    waves = tuple(
        change_wave(replace(wave, at_a_time=at_a_time or wave.at_a_time, per_server=per_server or wave.per_server))
        for wave in inventory.waves
    )
    if flags.wave and flags.wave not in (names := [wave.name for wave in waves]):
        raise UsageError(f"--wave {flags.wave}: no such wave; {flags.inventory} has {', '.join(names)}")
    addresses = Addresses(_environment_of(inventory, settings))
    only = [name.strip() for name in flags.only.split(",") if name.strip()]
    targets = find_targets(inventory, addresses)
    if restricted_to is not None:
        targets = tuple(target for target in targets if target.name in restricted_to)
    chosen = choose_targets(targets, only=only, part=part)
    divided = divide_into_waves(chosen, waves, filename=inventory.filename)
    divided = tuple((wave, found) for wave, found in divided if not flags.wave or wave.name == flags.wave)
    return Fleet(inventory=inventory, waves=divided, migrations=migrations, addresses=addresses, part=part)


def _environment_of(inventory: Inventory, settings: Settings) -> Mapping[str, str]:
    """The environment, and for variables that an inventory names also the .env files."""
    addresses = [source.target.address for source in inventory.sources]
    names = {address.variable for address in (*addresses, *([inventory.control] if inventory.control else ()))}
    entries, problems = read_setting_entries(settings.root, os.environ, concerns=lambda name: name in names)
    if problems:
        raise SettingsError(problems)
    return {name: entry.value for name, entry in entries.items()}


@contextmanager
def open_workers(fleet: Fleet, options: WorkOptions, *, cluster: str) -> Iterator[Workers]:
    """Yield who does the work: threads, or the workers of the cluster with this address. Raises ClusterFailed."""
    if cluster:
        from kernel.fleet.cluster import open_cluster  # noqa: PLC0415 - with --cluster only

        with open_cluster(cluster, fleet.migrations, options) as cluster_workers:
            yield cluster_workers
        return
    work = Work(migrations=fleet.migrations, addresses=fleet.addresses, options=options)
    with ThreadWorkers(work, threads=fleet.limits.at_a_time) as workers:
        yield workers


def work_options(settings: Settings) -> WorkOptions:
    """The options of the settings."""
    return WorkOptions(ledger=settings.migrations_table, role=settings.role, ignored_drift=settings.ignored_drift)


def survey_fleet(fleet: Fleet, workers: Workers) -> Survey:
    """Ask the servers. Raises FilesInvalid for one database under two names, SettingsError."""
    return survey_servers(fleet.targets, workers, fleet.limits, filename=fleet.inventory.filename)


def run_fleet_status(context: TaskContext, flags: FleetFlags, *, check: bool) -> int:
    """Print how many targets are at which version; return the exit code. Raises KernelError."""
    fleet = open_fleet(context, flags)
    with open_workers(fleet, work_options(context.settings), cluster=flags.cluster) as workers:
        targets = read_fleet(survey_fleet(fleet, workers), workers, fleet.limits)
    status = FleetStatus(
        inventory=fleet.inventory.filename,
        last_version=fleet.migrations[-1].version,
        total_files=len(fleet.migrations),
        targets=targets,
    )
    code = worst_exit(one for one in targets if check or one.state is not TargetState.DRIFT)
    if check and not code and any(one.pending for one in targets):
        code = PENDING_EXIT
    context.print_result(
        lambda: fleet_status_text(status),
        lambda: fleet_status_document(status),
        lambda directory: status_report(status, directory, failed=bool(code)),
    )
    return code


def run_fleet_verify(context: TaskContext, flags: FleetFlags, *, schema: bool) -> int:
    """Print groups of targets with equal records, and drift; return the exit code. Raises KernelError.

    With `schema` the catalogs of targets that have the same records are compared, too.
    """
    fleet = open_fleet(context, flags)
    with open_workers(fleet, work_options(context.settings), cluster=flags.cluster) as workers:
        survey = survey_fleet(fleet, workers)
        targets = read_fleet(survey, workers, fleet.limits)
        groups = group_by_records(one for one in targets if one.readable)
        if schema:
            catalogs = read_fleet_catalogs(survey, workers, fleet.limits)
            groups = tuple(replace(one, catalogs=group_by_catalog(one.targets, catalogs)) for one in groups)
            targets = tuple(one if one.error else replace(one, error=catalogs.errors.get(one.name)) for one in targets)
    name = fleet.inventory.filename
    context.print_result(
        lambda: fleet_verify_text(name, targets, groups),
        lambda: fleet_verify_document(name, targets, groups),
        lambda directory: verify_report(name, targets, groups, directory),
    )
    return worst_exit(targets) or (
        Drift.exit if any(not found.usual for one in groups for found in one.catalogs) else 0
    )


def _parse_part(text: str) -> tuple[int, int]:
    """Parse K/N as (K, N); (1, 1) without the flag. Raises UsageError."""
    if not text:
        return 1, 1
    match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text, re.ASCII)
    if match is None or int(match[1]) > int(match[2]):
        raise UsageError(f"--part {text}: expected K/N, such as 1/4 for the first of four parts")
    return int(match[1]), int(match[2])


def _parse_count(flag: str, text: str) -> int:
    return parse_number_flag(flag, text, least=1) if text else 0


def parse_flag(flag: str, text: str, parse: Callable[[str], _T]) -> _T | None:
    """Parse the value of a flag; None without it. Raises UsageError."""
    try:
        return parse(text) if text else None
    except ValueError as error:
        raise UsageError(f"{flag} {text}: {error}") from error
