"""A dump of production, made by pg_dump: parallel, in one snapshot, and without a way to write there.

Every session that it opens has default_transaction_read_only from its first moment on, and pg_dump's own transactions
are READ ONLY besides. It waits a few seconds for a table that somebody locks, then gives up rather than stand in a
queue that others would have to wait behind. A standby does as well as its primary.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from kernel import ledger
from kernel.apply import progress as its_progress
from kernel.errors import RestoreFailed, Unprepared
from kernel.rehearsal.dump import access, libpq, program, reader, source
from kernel.rehearsal.dump import dump as dumps
from kernel.rehearsal.dump.dump import Progress
from kernel.server.account import ourselves

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.rehearsal.dump.dump import Dump, Report
    from kernel.server.programs import Programs

LOCK_WAIT_SECONDS = 10
_LOCKED = "somebody holds a lock on a table: try again, or when no migration or VACUUM FULL runs there"
_REMEDIES = (
    # --lock-wait-timeout is a statement_timeout around LOCK TABLE; workers ask with NOWAIT.
    ("statement timeout", _LOCKED),
    ("could not obtain lock", _LOCKED),
    ("conflict with recovery", "the standby replayed what the dump still needs: turn hot_standby_feedback on there"),
    ("No space left", "free some space there, or set TMPDIR to a larger disk"),
    ("permission denied", "grant what is missing, and try again"),
    ("too many clients", "try again with --jobs 1"),
    ("remaining connection slots", "try again with --jobs 1"),
)


# In quotes a name is no pattern. Without the migrations' records, every one would be pending.
_TABLES = """
SELECT format('"%%s"."%%s"', replace(nspname, '"', '""'), replace(relname, '"', '""'))
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND relname <> ALL(%s) AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%%'
"""


def export(
    url: str,
    into: Path,
    programs: Programs,
    *,
    jobs: int = 2,
    schema_only: bool = False,
    progress: Report | None = None,
) -> Dump:
    """Dump the database at `url` into the folder `into`, which must not exist; returns the dump there.

    `programs` are used where their pg_dump is as new as the server, else others that are installed. `progress` counts
    bytes written, and takes production's size on disk for the end, which compressed rows stay well below.
    Raises DatabaseUnreachable, DatabaseRefused for a pooler, Unprepared with everything that pg_dump may not read,
    and RestoreFailed with what pg_dump said.
    """
    with source.opened(url) as (connection, production):
        chosen = reader.of_server(production.major, programs, name=production.name)
        if problems := access.refusals(connection, production):
            raise Unprepared(problems)
        environ = libpq.environment(connection, source.READ_ONLY, name=source.NAME)
        connects = libpq.plain(connection)
        rows_of = [name for (name,) in connection.execute(_TABLES, ([ledger.TABLE, its_progress.TABLE],)).fetchall()]

    def told() -> None:
        if progress:
            progress(Progress(done_bytes=_written(into), total_bytes=production.size_bytes, what="dumping production"))

    into.mkdir(mode=0o700, parents=True)
    try:
        # As ourselves, who may read the certificates and keys that the URL stands for.
        done = program.run(
            ourselves(),
            chosen.bin / "pg_dump",
            "--format=directory",
            f"--jobs={max(1, jobs)}",
            f"--file={into.absolute()}",
            f"--lock-wait-timeout={LOCK_WAIT_SECONDS}s",
            *(("--no-blobs", *(f"--exclude-table-data={name}" for name in rows_of)) if schema_only else ()),
            # The archive is read once, here, and soon: the least compression takes the least of production's time.
            "--compress=1",
            "--no-password",
            f"--dbname={connects}",
            environ=environ,
            polled=told,
        )
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)  # half of production is of no use to anybody
        raise
    if done.status != 0:
        shutil.rmtree(into, ignore_errors=True)
        remedy = next((remedy for sign, remedy in _REMEDIES if sign in done.said), None)
        raise RestoreFailed(f"{production.name}: pg_dump {chosen.version} says: {done.last_words}", hint=remedy)
    return dumps.recognise(into)


def _written(folder: Path) -> int:
    """How many bytes lie in the folder so far."""
    with os.scandir(folder) as entries:
        return sum(entry.stat().st_size for entry in entries)
