"""The servers of a fleet: which targets share one, whether two are the same database, and how many connections it has.

Clones of a server, and servers from one image, have the same system identifier; the time when the server started
tells them apart. Both may be read by any role.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg
from psycopg.pq import PGconn, Ping

from kernel.db.connection import open_session
from kernel.errors import EnvironmentFailed, FilesInvalid, KernelError, Problem, SettingsError, UsageError
from kernel.fleet.target import Address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kernel.db.connection import Session
    from kernel.fleet.addresses import Addresses
    from kernel.fleet.target import Target, Wave

# The connections that are left for this role, the one that asks included.
_LEFT = """
SELECT least(
  current_setting('max_connections')::int - coalesce(current_setting('reserved_connections', true)::int, 0)
    - current_setting('superuser_reserved_connections')::int
    - (SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database) + 1,
  (SELECT CASE WHEN rolconnlimit >= 0 THEN rolconnlimit
    - (SELECT count(*) FROM pg_stat_activity WHERE usename = session_user) + 1 END
    FROM pg_roles WHERE rolname = session_user)
)::int
"""
_SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a connection to a target's server says. `server` is host:port, `identity` tells it from all others.

    `database` is the name of the database that the address leads to. With an `error`, of this `exit` code, all else is
    unknown, and no target of the address can be reached. A server that answers, and does not admit to the database, is
    unknown without an error: it may admit to others.
    """

    server: str = ""
    identity: str = ""
    database: str = ""
    connections_left: int = 0
    error: str = ""
    exit: int = 0


def probe_target(target: Target, addresses: Addresses) -> Probe:
    """Connect to a target, or to the database of its address, and read which server it is; errors are results."""
    try:
        try:
            return _probe(target, addresses)
        except EnvironmentFailed:
            if not target.database:
                raise
            return _probe(replace(target, database=""), addresses)
    except KernelError as error:
        if isinstance(error, EnvironmentFailed) and _answers(addresses.url(target)):
            return Probe()
        return Probe(error=str(error), exit=error.exit)


def _answers(url: str) -> bool:
    """Whether a server accepts connections there, whatever the database and the role."""
    try:
        return PGconn.ping(url.encode()) == Ping.OK
    except psycopg.OperationalError:
        return False


def _probe(target: Target, addresses: Addresses) -> Probe:
    with open_session(addresses.url(target), variable=str(target.address)) as session:
        row = session.connection.execute(_LEFT).fetchone()
        info = session.connection.info
        return Probe(
            server=f"{info.host}:{info.port}",
            identity=_read_identity(session),
            database=info.dbname,
            connections_left=row[0] if row else 0,
        )


def _read_identity(session: Session) -> str:
    ((started,),) = session.connection.execute("SELECT pg_postmaster_start_time()::text").fetchall()
    try:
        ((system,),) = session.connection.execute(_SYSTEM).fetchall()
    except psycopg.errors.InsufficientPrivilege:  # an administrator has revoked it
        return str(started)
    return f"{system} {started}"


AddressKey = tuple[Address, str]


def address_key(target: Target) -> AddressKey:
    """What targets with the same server have in common: the address, with the name where the command depends on it."""
    return target.address, target.name if "{name}" in " ".join(target.address.command) else ""


def representatives(targets: Iterable[Target]) -> dict[AddressKey, Target]:
    """A target of each address, to be probed for all of them: one in the database of the address itself, or any."""
    chosen: dict[AddressKey, Target] = {}
    for target in targets:
        other = chosen.get(key := address_key(target))
        if other is None or (other.database and not target.database):
            chosen[key] = replace(target, schema="", search_path=())
    return chosen


def assign_servers(
    targets: Sequence[Target], probes: Mapping[AddressKey, Probe], *, filename: str
) -> tuple[Target, ...]:
    """Return the targets, each with the server that its limit of connections belongs to.

    A server that answers under two names is one. Raises FilesInvalid for two targets that are one database or schema,
    SettingsError with every address that leads to no URL.
    """
    if unset := [Problem(message=probe.error) for probe in probes.values() if probe.exit == SettingsError.exit]:
        raise SettingsError(unset)
    names: dict[str, str] = {}
    assigned: list[Target] = []
    places: dict[tuple[str, str, str], str] = {}
    problems: list[Problem] = []
    for target in targets:
        probe = probes[address_key(target)]
        name = names.setdefault(probe.identity, probe.server) if probe.identity else str(target.address)
        database = target.database or probe.database
        other = places.setdefault((name, database, target.schema), target.name)
        if probe.identity and other != target.name:
            what = f"the schema {target.schema} of {name}/{database}" if target.schema else f"{name}/{database}"
            problems.append(Problem(message=f"{other} and {target.name} are both {what}; remove one", file=filename))
        assigned.append(replace(target, server=target.server or name))
    if problems:
        raise FilesInvalid(problems)
    return tuple(assigned)


def refuse_too_many_connections(
    waves: Iterable[tuple[Wave, Sequence[Target]]], probes: Mapping[AddressKey, Probe]
) -> None:
    """Raise UsageError when a wave asks more connections of a server than it has left."""
    for wave, targets in waves:
        counts = Counter(target.server for target in targets)
        left = {
            target.server: probes[address_key(target)].connections_left
            for target in targets
            if probes[address_key(target)].identity
        }
        for server, connections in left.items():
            wanted = min(wave.per_server, wave.at_a_time, counts[server])
            if wanted > connections:
                raise UsageError(
                    f"{server} has {connections} connections left, and wave {wave.name} asks for {wanted}; "
                    f"run with --per-server {max(1, connections // 2)}, or raise max_connections"
                )
