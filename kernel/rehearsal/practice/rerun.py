"""Safe to re-run: each pending file runs a second time, by the very code of db.migrate, and must change nothing.

Source: the specification, "Idempotent Migrations", and "Migration Already Applied": the record is removed by hand, and
the migrations run again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel import database, ledger, migrate
from kernel.apply import progress
from kernel.errors import MigrationFailed
from kernel.files import script
from kernel.rehearsal.practice import again, counters
from kernel.rehearsal.practice.fault import Checked, Fault, checked, told, unheard
from kernel.rehearsal.schema import difference, snapshot
from kernel.sql import tokens
from kernel.sql.part import Kind

if TYPE_CHECKING:
    from collections.abc import Collection

    from kernel.apply.runner import Patience
    from kernel.database import Session
    from kernel.files.migration import Migration
    from kernel.rehearsal.practice.counters import Count
    from kernel.rehearsal.practice.fault import DataChanged
    from kernel.rehearsal.schema.difference import Line

NAME = "safe to re-run"
_LINES = 5  # of a schema's difference; the rest is counted
_REMEDY = "make it do nothing where it has run before"
_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE", "WITH", "DO", "CALL", "SELECT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Second:
    """What a file's second run did: the error that stopped it, what it changed in the schema, the rows it wrote."""

    one: Migration
    error: MigrationFailed | None
    changes: tuple[Line, ...]
    written: tuple[Count, ...] | None


def check(
    url: str,
    files: tuple[Migration, ...],
    pending: Collection[Migration],
    *,
    patience: Patience,
    before_url: str = "",
    data_changed: DataChanged | None = None,
) -> Checked:
    """Run each of the `pending` among the `files` a second time in the clone at `url`, which is never the same after.

    A file that is not applied there yet is applied first, and runs again at once: on a clone of the golden copy each is
    judged in the state that it leaves. Where all are applied already, each runs in the state that the last one left.
    `data_changed` compares the rows of the database at `before_url`, which is as `url` was, with those of `url`. It is
    asked only if counters say that rows were written. Without it nobody knows what was written, and the practice is
    neither held nor broken. Raises DatabaseUnreachable; MigrationFailed when a file fails the first time.
    """
    with database.session(url) as session:
        seconds = [_second(session, files, one, patience) for one in pending]
    faults = [fault for second in seconds for fault in _faults(second)]
    wrote = [second for second in seconds if second.error is None and second.written != ()]
    if data_changed and before_url:
        differing = data_changed(before_url, url) if wrote else ()
        if differing:
            faults += [_wrote(second) for second in wrote]
            return checked(NAME, faults, notes=differing)
        return checked(NAME, faults, notes=[f"{_note(second)}, with the values they have" for second in wrote])
    faults += [_wrote(second) for second in wrote if _grew(second)]
    unknown = [second for second in wrote if not _grew(second)]
    notes = [f"{_note(second)}; nobody compared them" for second in unknown]
    return checked(NAME, faults, notes=notes, untested=bool(unknown))


def _second(session: Session, files: tuple[Migration, ...], one: Migration, patience: Patience) -> _Second:
    wish = migrate.Wish(to=one.version, allow_out_of_order=True, patience=patience)
    where = ledger.find(session)
    if not where.exists or not ledger.has(session, where, one.version):
        migrate.migrate(session, files, wish, unheard)
        where = ledger.find(session)
    before, counts = snapshot.read(session), counters.read(session, where)
    session.connection.execute(ledger.remove(session.connection, where, one.version))
    failed: MigrationFailed | None = None
    try:
        migrate.migrate(session, files, wish, unheard)
    except MigrationFailed as error:
        failed = error
        if session.connection.broken:
            raise
        _record(session, where, one)
        if error.rolled_back:
            return _Second(one=one, error=failed, changes=(), written=())
    after, counts_now = snapshot.read(session), counters.read(session, where)
    written = counters.between(counts, counts_now) if counts is not None and counts_now is not None else None
    # A table dropped and made again is as it was, but for its rows, which no counter tells of.
    return _Second(one=one, error=failed, changes=difference.lines(before, after), written=written)


def _record(session: Session, where: ledger.Ledger, one: Migration) -> None:
    """Put the record of a file back that failed the second time, so that the next one runs as if it had not."""
    connection = session.connection
    connection.execute(ledger.claim(connection, where, one))
    if one.version in progress.of_all(session, where):
        connection.execute(progress.remove(connection, where, one.version))
        progress.drop_when_empty(session, where)


def _faults(second: _Second) -> list[Fault]:
    """What the second run itself shows; what it wrote is for the data to say."""
    faults = []
    if error := second.error:
        place = error.failure
        remedy = again.remedy(place.sqlstate, place.statement or "")
        stopped = _fault(second.one, f"the second run fails: {told(error)}", line=place.line, remedy=remedy)
        faults.append(replace(stopped, unchanged=second.changes == () and second.written == ()))
    faults += [
        _fault(second.one, f"run again, it changes the schema: {change.text}", line=_maker(second.one, change.kind))
        for change in second.changes[:_LINES]
    ]
    if (more := len(second.changes) - _LINES) > 0:
        faults.append(_fault(second.one, f"run again, it changes the schema in {more} more places"))
    return faults


def _fault(one: Migration, message: str, *, line: int | None = None, remedy: str = _REMEDY) -> Fault:
    return Fault(message=message, remedy=remedy, version=one.version, filename=one.filename, line=line)


def _wrote(second: _Second) -> Fault:
    """That a second run wrote rows, with the line of the statement that did, if only one can have."""
    lines = [line for line, words in _statements(second.one) if words[:1] and words[0] in _WRITES]
    if second.written is None:
        message = "run again, it may write rows, of which this version of PostgreSQL does not tell"
    else:
        message = f"run again, it {', '.join(str(count) for count in second.written)}"
    return _fault(second.one, message, line=lines[0] if len(lines) == 1 else None)


def _note(second: _Second) -> str:
    return str(replace(_wrote(second), remedy=""))


def _grew(second: _Second) -> bool:
    """Whether a table must have more rows now, or fewer."""
    return any(count.inserted != count.deleted and not count.file for count in second.written or ())


def _maker(one: Migration, kind: str) -> int | None:
    """The line of the statement that changed an object of this kind, if only one of the file's speaks of such."""
    word = kind.split(maxsplit=1)[0].upper()
    speaks = {"CONSTRAINT": "ADD", "COLUMN": "ALTER"}.get(word, word)
    lines = [line for line, words in _statements(one) if speaks in words]
    return lines[0] if len(lines) == 1 else None


def _statements(one: Migration) -> list[tuple[int, tuple[str, ...]]]:
    """(line, first words) of each statement."""
    with script.reading(script.survey(one.path, one.filename), one.path) as reading:
        return [(part.line, tokens.words(part.sql, limit=40)) for part in reading.parts if part.kind is Kind.STATEMENT]
