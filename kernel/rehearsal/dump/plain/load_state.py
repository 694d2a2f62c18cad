"""The state of one load: its connections, how they run a statement, the progress, and what the server refused."""

from __future__ import annotations

import re
import threading
from collections import Counter
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.rehearsal.dump.common.model import DumpProgress
from kernel.rehearsal.dump.plain.classify import (
    HARMLESS_KINDS,
    SUMMARY_LENGTH,
    StatementKind,
    is_safe_for_superuser,
    summarise_statement,
)
from kernel.rehearsal.dump.plain.contents import RowBlock
from kernel.rehearsal.dump.plain.workers import DEADLOCK_DETECTED, INSUFFICIENT_PRIVILEGE, LoadConnection, WorkerPool

if TYPE_CHECKING:
    from kernel.db.connection import Session
    from kernel.rehearsal.dump.common.model import ProgressCallback
    from kernel.rehearsal.dump.common.roles import LoadingRole
    from kernel.rehearsal.dump.plain.contents import DumpIndex, DumpStatement
    from kernel.rehearsal.dump.plain.workers import Refusal


# Duplicate schema and duplicate object: a new database has a schema public already, and the language plpgsql.
_ALREADY_EXISTS = frozenset({"42P06", "42710"})
_CREATE_LANGUAGE = re.compile(rb"CREATE (?:OR REPLACE )?(?:TRUSTED )?(?:PROCEDURAL )?LANGUAGE ")
_BEGINNING_BYTES = 4 * SUMMARY_LENGTH
# The assistant needs no other settings: its statements only name things.
_ASSISTANT_SETTINGS = (b"search_path", b"client_encoding")


class LoadState:
    """`main` is the first of the `connections`, which log in as the loading role.

    `assistant` logs in as the session's user, a superuser where the loading role is a temporary one. `deferred` are
    statements that the loading role was refused and the assistant is to run at the end.
    """

    def __init__(
        self,
        index: DumpIndex,
        loading: LoadingRole,
        session: Session,
        connections: list[LoadConnection],
        progress: ProgressCallback | None,
    ) -> None:
        self.index = index
        self.loading = loading
        self.main = connections[0]
        self.assistant = LoadConnection(session.connection, index.settings, only=_ASSISTANT_SETTINGS)
        self.assistant_lock = threading.Lock()
        self.workers = WorkerPool(connections)
        self.losses = LoadLosses(index)
        self.deferred: list[DumpStatement] = []
        self.table_bytes: Counter[bytes] = Counter()  # of rows in the dump, by the table's name as the dump writes it
        for item in index.items:
            if isinstance(item, RowBlock):
                self.table_bytes[item.table] += item.length
        self._progress = progress
        self._progress_lock = threading.Lock()
        self._done_bytes = 0

    def run(
        self, connection: LoadConnection, statement: DumpStatement, deadlocked: list[DumpStatement] | None = None
    ) -> None:
        """Run a statement as the loading role, and record a refusal; a deadlock only in `deadlocked`."""
        self.apply_settings(connection, statement.settings_state)
        text = self.index.sql(statement)
        refusal = connection.run(text) if text else None
        if refusal is None:
            return
        if refusal.sqlstate == DEADLOCK_DETECTED and deadlocked is not None:
            deadlocked.append(statement)
        elif (
            refusal.sqlstate == INSUFFICIENT_PRIVILEGE
            and self.loading.has_superuser
            # A sequence may belong to an extension.
            and (statement.kind is StatementKind.SEQUENCE or is_safe_for_superuser(text))
        ):
            self.deferred.append(statement)
        elif not self.workers.stopped:
            self.losses.add_statement(statement, refusal)

    def run_as_assistant(self, statement: DumpStatement) -> None:
        """Run a statement as the assistant, and record a refusal."""
        self.apply_settings(self.assistant, statement.settings_state)
        if refusal := self.assistant.run_single(self.index.sql(statement), statement.authorization):
            self.losses.add_statement(statement, refusal)

    def apply_settings(self, connection: LoadConnection, state: int) -> None:
        """Apply the session settings of a state, and record those that the server refused."""
        for statement, refusal in connection.apply_settings(state):
            self.losses.harmless.setdefault(f"{summarise_statement(statement)}: {refusal}")  # the data is the same

    def report_progress(self, activity: str, length: int = 0) -> None:
        """Report the current activity, and `length` more bytes of the dump as done."""
        with self._progress_lock:
            self._done_bytes += length
            if self._progress:
                self._progress(
                    DumpProgress(done_bytes=self._done_bytes, total_bytes=self.index.text.size_bytes, activity=activity)
                )


class LoadLosses:
    """What the server refused of a dump: what a copy can do without, and what is missing from it. Thread-safe."""

    def __init__(self, index: DumpIndex) -> None:
        self._index = index
        self._lost: list[tuple[int, str]] = []
        self.harmless: dict[str, None] = {}
        """Sentences about what a copy can do without, each once."""

    @property
    def lost(self) -> tuple[Problem, ...]:
        """What is missing, in the order of the dump."""
        ordered = sorted(self._lost)
        lines = self._index.text.line_numbers([offset for offset, _sentence in ordered])
        return tuple(
            Problem(message=sentence, file=self._index.text.name, line=line)
            for (_offset, sentence), line in zip(ordered, lines, strict=True)
        )

    def add_statement(self, statement: DumpStatement, refusal: Refusal) -> None:
        """Record the refusal of a statement."""
        beginning = self._index.text.read(statement.offset, min(statement.length, _BEGINNING_BYTES))
        comment = statement.kind is StatementKind.INDEX_PROPERTY and beginning.startswith(b"COMMENT")
        exists = refusal.sqlstate in _ALREADY_EXISTS and (
            statement.kind is StatementKind.SCHEMA or _CREATE_LANGUAGE.match(beginning)
        )
        sentence = f"{summarise_statement(beginning)}: {refusal}"
        if statement.kind in HARMLESS_KINDS or comment or exists:
            self.harmless.setdefault(sentence)
        else:
            self._lost.append((statement.offset, sentence))

    def add_rows(self, block: RowBlock, offset: int, refusal: Refusal) -> None:
        """Record that the row at `offset` was refused: with it all rows of a COPY, only this one of INSERTs."""
        table = block.table.decode(errors="replace") or "COPY"
        what = "its rows" if block.statement_length else "a row"
        self._lost.append((offset, f"{table}: {what} could not be loaded: {refusal}"))

    def add_open_transaction(self) -> None:
        """Record that the dump began a transaction and did not end it."""
        self._lost.append((self._index.text.size_bytes, "the dump ends inside of a transaction"))
