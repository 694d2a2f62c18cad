"""Whether the lock, the records and the tables are still as a run left them, after a statement of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.db.advisory_lock import advisory_lock_key, find_lock_holder, try_lock_statement
from kernel.db.records import GUARDS, Record, fingerprint_query, read_records

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGresult

    from kernel.apply.executor import Executor


RESTORE_LEDGER = "put the table and its records back as they were, then run inv db.migrate again"
_GONE_SQLSTATES = ("42P01", "42703", "3F000")  # undefined table, column, schema
_CHANGES_SHOWN = 5


class LedgerGuard:
    """The records before the statements of a file.

    `statements` take the lock again, which a file may let go of, and return the records in short; a ledger without its
    columns makes them fail. Their results are for `keeps_lock` and `keeps_records`.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        connection, ledger = executor.session.connection, executor.ledger
        self._key = advisory_lock_key(ledger.schema, ledger.table)
        fingerprint = b"SELECT (%b) WHERE NOT EXISTS (SELECT FROM %b WHERE %b)" % (
            fingerprint_query(connection, ledger),
            ledger.identifier.as_bytes(connection),
            b" AND ".join(name.encode() + b" IS NULL" for name in Record._fields),
        )
        self.statements = (try_lock_statement(self._key), fingerprint)
        self._records = {record.version: record for record in read_records(executor.session, ledger)}
        self._fingerprint = executor.protocol.query(fingerprint)[-1].get_value(0, 0)

    def keeps_lock(self, locked: PGresult) -> bool:
        """Whether the run has the lock."""
        return locked.get_value(0, 0) == b"t"

    def keeps_records(self, fingerprint: PGresult) -> bool:
        """Whether the records are as before, and what decides whether the table takes the next one."""
        return fingerprint.get_value(0, 0) == self._fingerprint

    def keeps_former_records(self) -> bool:
        """Whether the records that were there before are, whatever was added; read now."""
        now = set(read_records(self._executor.session, self._executor.ledger))
        return now.issuperset(self._records.values())

    def lock_lost_message(self) -> str:
        """Say that another runner has the lock, and which."""
        holder = find_lock_holder(self._executor.session, self._key)
        return f"the file let go of the lock, and another runner has it now{f': {holder}' if holder else ''}"

    def describe_change(self, fingerprint: PGresult) -> str:
        """What is not as before, where `keeps_records` is false."""
        found, before = fingerprint.get_value(0, 0) or b"", self._fingerprint or b""
        is_record = found.rpartition(b" ")[2] == before.rpartition(b" ")[2]
        return f"{'the records in' if is_record else f'{GUARDS} of'} {self._executor.ledger.name}"

    def committed_change_message(self, fingerprint: PGresult) -> str:
        """Say what a statement that committed by itself has changed, and which records."""
        now = {record.version: record for record in read_records(self._executor.session, self._executor.ledger)}
        changes = [
            f"{version} is {'new' if version not in self._records else 'changed' if version in now else 'gone'}"
            for version in sorted(now.keys() | self._records.keys())
            if now.get(version) != self._records.get(version)
        ]
        shown = ", ".join(changes[:_CHANGES_SHOWN]) + (" …" if changes[_CHANGES_SHOWN:] else "")
        which = f" ({shown})" if shown else ""
        return f"it changed {self.describe_change(fingerprint)}{which}; leave that table to the runner"

    def tables_gone_message(self, error: psycopg.Error) -> str:
        """Say that the runner's own statements do not find a table or its columns; "" for any other error."""
        if error.sqlstate not in _GONE_SQLSTATES:
            return ""
        ledger = self._executor.ledger
        return (
            f"it drops or alters a table of the runner ({error.diag.message_primary}); "
            f"leave {ledger.name} and {ledger.progress_name} to the runner"
        )
