"""pg_restore and vacuumdb at work on an archive, connected as the role that loads it, and in no account of a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.errors import DumpUnreadable, RestoreFailed
from kernel.rehearsal.dump import complaints, libpq, program, reach

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.database import Connection
    from kernel.rehearsal.dump.archive import Archive
    from kernel.rehearsal.dump.complaints import Complaint

# Brought by a superuser from the schema's SQL, or left out because they would reach another server.
_NOT_RESTORED = (
    *("EXTENSION ", "EVENT TRIGGER ", "COMMENT - EVENT TRIGGER ", "ACL ", "DEFAULT ACL "),
    *("SUBSCRIPTION ", "USER MAPPING "),
)
# What pg_restore says when it is the archive that keeps it from going on.
_OF_THE_ARCHIVE = ("read", "compress", "archive", "block", "tar ", "end of file", "input file", "data file")
_SETTINGS = {"statement_timeout": "0"}  # whatever the role's own is


def restore(
    archive: Archive, own: Connection, *, jobs: int, schema_only: bool, polled: Callable[[], None]
) -> list[Complaint]:
    """Restore the archive to where `own` is connected, as who it is; what pg_restore complained of.

    `polled` is called now and then. Raises DumpUnreadable when the archive, RestoreFailed when anything else made it
    give up.
    """
    with (
        reach.whole(archive.dump, archive.account, jobs=jobs) as (place, source),
        reach.written(archive.listing.without(*_NOT_RESTORED, rows=not schema_only), archive.account) as list_file,
    ):
        done = program.run(
            archive.account,
            archive.reader.bin / "pg_restore",
            f"--dbname={libpq.plain(own)}",
            f"--use-list={list_file}",
            *(("--jobs", str(jobs)) if jobs > 1 else ()),
            *("--no-owner", "--no-privileges", "--no-subscriptions", "--no-tablespaces", "--no-security-labels"),
            "--no-password",
            *place,
            environ=libpq.environment(own, _SETTINGS, name="inv db.snapshot-test: restoring"),
            source=source,
            polled=polled,
        )
    if done.status != 0 and not complaints.survived(done.said):
        raise _gave_up(archive, done.last_words)
    return list(complaints.read(done.said))


def analyze(archive: Archive, own: Connection, *, jobs: int) -> str:
    """ANALYZE every table of the role that `own` is; what went wrong, or "".

    By that role and no other: an index's expressions are evaluated with the rights of the table's owner.
    """
    done = program.run(
        archive.account,
        archive.reader.bin / "vacuumdb",
        *("--analyze-only", f"--jobs={jobs}", "--no-password", f"--dbname={libpq.plain(own)}"),
        environ=libpq.environment(own, _SETTINGS, name="inv db.snapshot-test: statistics"),
    )
    return done.last_words if done.status != 0 else ""


def _gave_up(archive: Archive, last_words: str) -> DumpUnreadable | RestoreFailed:
    path = archive.dump.path
    if any(word in last_words for word in _OF_THE_ARCHIVE) and "server" not in last_words:
        return DumpUnreadable(f"{path}: cut short or damaged: pg_restore says: {last_words}; dump or copy it again")
    return RestoreFailed(f"{path}: pg_restore gave up: {last_words}", hint="see the server's log")
