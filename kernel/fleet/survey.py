"""Find out about all targets: their servers, and their states, read over few connections."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.fleet.catalogs import Catalogs
from kernel.fleet.dispatch import Dispatch, Limits
from kernel.fleet.outcome import TargetError, TargetState, TargetStatus
from kernel.fleet.servers import AddressKey, Probe, address_key, assign_servers, representatives
from kernel.fleet.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.fleet.workers import Workers

_FEWEST_PER_CONNECTION = 50  # a connection costs as much as reading some schemas


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The targets, each with its server, and what the servers said."""

    targets: tuple[Target, ...]
    probes: dict[AddressKey, Probe]

    def error_of(self, target: Target) -> TargetError | None:
        """The error of a target whose server does not answer; it need not be tried again for each target."""
        probe = self.probes[address_key(target)]
        code = "database_unreachable"
        return TargetError(code=code, exit=probe.exit, message=probe.error) if probe.error else None

    def by_database(self) -> list[tuple[Target, ...]]:
        """The targets whose servers answer, those of one database together."""
        together: dict[object, list[Target]] = defaultdict(list)
        for target in self.targets:
            if not self.error_of(target):
                together[address_key(target), target.database, target.server].append(target)
        return list(map(tuple, together.values()))


def survey_servers(targets: Sequence[Target], workers: Workers, limits: Limits, *, filename: str) -> Survey:
    """Connect once for each address, and tell servers apart. Raises FilesInvalid for one database under two names."""
    first = representatives(targets)
    # Which of them are on one server is not known yet.
    apart = Limits(at_a_time=limits.per_server, per_server=limits.per_server)
    dispatch = Dispatch[AddressKey, Probe](
        lambda key: workers.probe(first[key]), first, server_of=lambda _key: "", limits=apart
    )
    probes = {key: future.result() for key, future in dispatch.results()}
    return Survey(targets=assign_servers(targets, probes, filename=filename), probes=probes)


def read_fleet(survey: Survey, workers: Workers, limits: Limits) -> tuple[TargetStatus, ...]:
    """Read the state of every target, in their order; schemas of one database share connections."""
    found: dict[str, TargetStatus] = {}
    for target in survey.targets:
        if error := survey.error_of(target):
            found[target.name] = TargetStatus(name=target.name, state=TargetState.UNREACHABLE, error=error)
    jobs = [
        together[at : at + size]
        for together in survey.by_database()
        for size in [max(_FEWEST_PER_CONNECTION, -(-len(together) // limits.per_server))]
        for at in range(0, len(together), size)
    ]
    dispatch = Dispatch[tuple[Target, ...], tuple[TargetStatus, ...]](
        workers.read, jobs, server_of=lambda job: job[0].server, limits=limits
    )
    for _job, future in dispatch.results():
        found |= {status.name: status for status in future.result()}
    return tuple(found[target.name] for target in survey.targets)


def read_fleet_catalogs(survey: Survey, workers: Workers, limits: Limits) -> Catalogs:
    """Read the catalogs of all targets whose servers answer, over one connection for each database."""
    dispatch = Dispatch[tuple[Target, ...], Catalogs](
        workers.read_catalogs, survey.by_database(), server_of=lambda job: job[0].server, limits=limits
    )
    catalogs = Catalogs()
    for _job, future in dispatch.results():
        catalogs |= future.result()
    return catalogs


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStatus:
    """The states of all targets. `last_version` is that of the newest file."""

    inventory: str
    last_version: str
    total_files: int
    targets: tuple[TargetStatus, ...]

    @property
    def read(self) -> tuple[TargetStatus, ...]:
        """The targets whose records could be read."""
        return tuple(one for one in self.targets if one.readable)

    @property
    def versions(self) -> list[tuple[str, int]]:
        """The versions that targets are at, the newest first, and how many."""
        counts = Counter(one.version for one in self.read)
        return sorted(counts.items(), key=lambda item: _number(item[0]), reverse=True)

    @property
    def floor(self) -> str:
        """The version down to which every file is applied in every target that could be read; "" for none."""
        return min((one.version for one in self.read), key=_number, default="")

    @property
    def at_floor(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.read if one.version == self.floor)

    def in_state(self, *states: TargetState) -> tuple[TargetStatus, ...]:
        return tuple(one for one in self.targets if one.state in states)


def _number(version: str) -> int:
    return int(version) if version else -1


def names_of(targets: Iterable[TargetStatus]) -> tuple[str, ...]:
    """The names of targets."""
    return tuple(one.name for one in targets)
