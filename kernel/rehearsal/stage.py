"""What is known before anything is rehearsed: which files are pending in the copy, and what the copy is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel import database, ledger, migrate
from kernel.apply import progress
from kernel.rehearsal.refusal import refuse_programs

if TYPE_CHECKING:
    from kernel.files.migration import Migration
    from kernel.rehearsal.golden import Copy
    from kernel.rehearsal.result import Source
    from kernel.rehearsal.wish import Telling, Wish

_ENVIRONMENT = """
SELECT name, current_setting(name) FROM unnest(ARRAY['server_version', 'TimeZone', 'wal_level', 'shared_buffers',
  'work_mem', 'maintenance_work_mem', 'max_parallel_maintenance_workers', 'lock_timeout']) AS name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is known before anything runs: the files, those that are pending, what the copy is."""

    found: tuple[Migration, ...]
    pending: tuple[Migration, ...]
    database: str
    ours: frozenset[str]
    rows: int
    environment: tuple[tuple[str, str], ...]


def read(found: tuple[Migration, ...], copy: Copy, source: Source, wish: Wish, telling: Telling) -> Stage:
    """Look at the golden copy, which was made of `source`, and at the files that are pending there.

    Raises FilesInvalid for files that cannot be run, or that would start a program; Drift, Unrecorded, LedgerShape,
    and EnvironmentFailed.
    """
    with database.session(copy.url) as session:
        # What is wrong with the copy is wrong with what it was made of, and it is there that people can mend it.
        known = replace(session, name=source.name)
        now, todo = migrate.planned(known, found, migrate.Wish(patience=wish.patience))
        if now.plan.ahead:
            names = ", ".join(record.filename for record in now.plan.ahead)
            telling.say(f"warning: {source.name} is ahead of these files: {names}")
        refuse_programs(todo)
        pending = tuple(one for one, _ in todo)
        connection = session.connection
        (row,) = connection.execute(
            # As the planner does it, a table that nobody has analyzed is known by its size.
            "SELECT coalesce(sum(CASE WHEN reltuples < 0 THEN ceil(pg_relation_size(c.oid) / 8192.0)"
            " ELSE reltuples END), 0)::bigint FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'm')"
            " AND nspname NOT IN ('pg_catalog', 'information_schema') AND nspname NOT LIKE 'pg\\_toast%'"
            " AND relname NOT LIKE 'schema\\_migrations%'"
        ).fetchall()
        environment = tuple((str(name), str(value)) for name, value in connection.execute(_ENVIRONMENT).fetchall())
        return Stage(
            found=found,
            pending=pending,
            database=session.name,
            ours=frozenset({now.ledger.name, now.ledger.name.removesuffix(ledger.TABLE) + progress.TABLE}),
            rows=row[0],
            environment=environment,
        )
