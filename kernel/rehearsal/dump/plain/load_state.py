"""Whether the server that takes the copy is one of our own, made for this one load, and what is allowed there only.

Such a server is thrown away when it crashes, or when loading fails. So the load may write into its catalogs, as a
superuser, where the long way to the same state takes longer; and what a crash would cost is no loss.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.rehearsal.dump.identify import DumpProgress
from kernel.rehearsal.dump.plain.classify import StatementKind, is_safe_for_superuser
from kernel.rehearsal.dump.plain.contents import DumpStatement, RowBlock
from kernel.rehearsal.dump.plain.workers import DEADLOCK_DETECTED, INSUFFICIENT_PRIVILEGE, LoadConnection, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.db.connection import Connection, Session
    from kernel.rehearsal.dump.identify import ProgressCallback
    from kernel.rehearsal.dump.plain.contents import DumpIndex
    from kernel.rehearsal.dump.plain.workers import Refusal
    from kernel.rehearsal.dump.roles import LoadingRole


# The value of cluster_name, which is set when a server starts and which no session and no dump can change.
LOADING_CLUSTER_NAME = "aibos_loading"


def is_loading_server(connection: Connection) -> bool:
    """Whether the server was started with the settings for loading (golden.tuning.loading)."""
    row = connection.execute("SHOW cluster_name").fetchone()
    return row == (LOADING_CLUSTER_NAME,)


@contextmanager
def catalog_transaction(superuser: Connection) -> Iterator[None]:
    """A transaction in which names and operators are PostgreSQL's own, whatever the dump has brought (CVE-2018-1058).

    Its search path holds for nothing else. The connection is in autocommit.
    """
    with superuser.transaction():
        superuser.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        yield


# What the server refused of a dump: what a copy can do without, told apart from what is missing from it.


_HARMLESS_KINDS = frozenset(
    {StatementKind.COMMENT, StatementKind.PRIVILEGES, StatementKind.PUBLICATION, StatementKind.DROP}
)
# Duplicate schema and duplicate object: a fresh database has a schema public already, and the language plpgsql.
_ALREADY_EXISTS = frozenset({"42P06", "42710"})
_CREATE_LANGUAGE = re.compile(rb"CREATE (?:OR REPLACE )?(?:TRUSTED )?(?:PROCEDURAL )?LANGUAGE ")
_SUMMARY_LENGTH = 60
_BEGINNING_BYTES = 4 * _SUMMARY_LENGTH
# What follows may be a password, or the address of a server.
_SECRET_CLAUSES = re.compile(r"\b(?:OPTIONS|CONNECTION)\b")


class LoadLosses:
    """Kept by several threads at once."""

    def __init__(self, index: DumpIndex) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._harmless: dict[str, None] = {}
        self._lost: list[tuple[int, str]] = []

    @property
    def harmless(self) -> tuple[str, ...]:
        """Sentences about what a copy can do without, each once."""
        return tuple(self._harmless)

    @property
    def lost(self) -> tuple[Problem, ...]:
        """What is missing, in the order of the dump."""
        ordered = sorted(self._lost)
        lines = self._index.text.line_numbers([offset for offset, _sentence in ordered])
        return tuple(
            Problem(message=sentence, file=self._index.text.name, line=line)
            for (_offset, sentence), line in zip(ordered, lines, strict=True)
        )

    def add_left_out(self, statement: DumpStatement) -> None:
        """A statement that would reach another server was not run."""
        self._add_harmless(
            f"{_summarise_statement(self._beginning(statement))}: left out, a copy does not reach other servers"
        )

    def add_setting(self, statement: bytes, refused: Refusal) -> None:
        """A session setting was refused, which changes nothing of the data."""
        self._add_harmless(f"{_summarise_statement(statement)}: {refused}")

    def add_statement(self, statement: DumpStatement, refused: Refusal) -> None:
        """A statement was refused."""
        beginning = self._beginning(statement)
        comment = statement.kind is StatementKind.INDEX_PROPERTY and beginning.startswith(b"COMMENT")
        exists = refused.sqlstate in _ALREADY_EXISTS and (
            statement.kind is StatementKind.SCHEMA or _CREATE_LANGUAGE.match(beginning)
        )
        sentence = f"{_summarise_statement(beginning)}: {refused}"
        if statement.kind in _HARMLESS_KINDS or comment or exists:
            self._add_harmless(sentence)
        else:
            self._add_lost(statement.offset, sentence)

    def add_rows(self, block: RowBlock, offset: int, refused: Refusal) -> None:
        """Rows were refused because of the one at `offset`: all of a COPY, or of INSERTs that one."""
        table = block.table.decode(errors="replace") or "COPY"
        what = "its rows" if block.statement_length else "a row"
        self._add_lost(offset, f"{table}: {what} could not be loaded: {refused}")

    def add_open_transaction(self) -> None:
        """The dump began a transaction and did not end it."""
        self._add_lost(self._index.text.size_bytes, "the dump ends inside of a transaction")

    def _beginning(self, statement: DumpStatement) -> bytes:
        return self._index.text.read(statement.offset, min(statement.length, _BEGINNING_BYTES))

    def _add_harmless(self, sentence: str) -> None:
        with self._lock:
            self._harmless.setdefault(sentence)

    def _add_lost(self, offset: int, sentence: str) -> None:
        with self._lock:
            self._lost.append((offset, sentence))


def _summarise_statement(statement: bytes) -> str:
    """The beginning of a statement, on one line."""
    text = " ".join(_SECRET_CLAUSES.split(statement.decode(errors="replace"), maxsplit=1)[0].split()).rstrip(" ;")
    return text if len(text) <= _SUMMARY_LENGTH else f"{text[:_SUMMARY_LENGTH]}…"


# What everybody at work on a load shares: the connections, the way to run a statement, what was lost, who is told.


# The assistant needs no other settings: its statements name things, and nothing else.
_ASSISTANT_SETTINGS = (b"search_path", b"client_encoding")


class LoadState:
    """`main` is the first of the `hands`, which load; `assistant` is the session's user, a superuser where it assists.

    With `ours` it may write into the catalogs (see the module of that name). `late` are statements that the assistant
    is to run in the place of the role that loads.
    """

    def __init__(
        self,
        index: DumpIndex,
        loading: LoadingRole,
        session: Session,
        hands: list[LoadConnection],
        progress: ProgressCallback | None,
    ) -> None:
        self.index = index
        self.loading = loading
        self.main = hands[0]
        self.assistant = LoadConnection(session.connection, index.settings, only=_ASSISTANT_SETTINGS)
        self.assistant_lock = threading.Lock()
        self.may_write_catalog = loading.has_superuser and is_loading_server(session.connection)
        self.workers = WorkerPool(hands)
        self.losses = LoadLosses(index)
        self.deferred: list[DumpStatement] = []
        self._progress = progress
        self._progress_lock = threading.Lock()
        self._done_bytes = 0
        self._table_bytes: dict[bytes, int] = {}
        for item in index.items:
            if isinstance(item, RowBlock):
                self._table_bytes[item.table] = self._table_bytes.get(item.table, 0) + item.length

    def table_bytes(self, table: bytes) -> int:
        """What the rows of a table take in the dump, 0 when it has none; `table` as the dump writes it."""
        return self._table_bytes.get(table, 0)

    def run(self, one: LoadConnection, statement: DumpStatement, deadlocked: list[DumpStatement] | None = None) -> None:
        """Run a statement as the loading role, and note what became of it; a deadlock only in `deadlocked`."""
        self.apply_settings(one, statement.settings_state)
        text = self.index.sql(statement)
        refused = one.run(text)
        if refused is None:
            return
        if refused.sqlstate == DEADLOCK_DETECTED and deadlocked is not None:
            deadlocked.append(statement)
        elif refused.sqlstate == INSUFFICIENT_PRIVILEGE and self.loading.has_superuser and is_safe_for_superuser(text):
            self.deferred.append(statement)
        elif (
            refused.sqlstate == INSUFFICIENT_PRIVILEGE
            and self.loading.has_superuser
            and statement.kind is StatementKind.SEQUENCE
        ):
            self.deferred.append(statement)  # an extension's
        elif not self.workers.stopped:
            self.losses.add_statement(statement, refused)

    def run_as_assistant(self, statement: DumpStatement) -> None:
        """Run a statement as the assistant, and note what became of it."""
        one = self.assistant
        self.apply_settings(one, statement.settings_state)
        text = self.index.sql(statement)
        refused = None
        if statement.authorization:
            one.run_single(b"SET SESSION AUTHORIZATION " + statement.authorization)
            refused = one.run_single(text)
            one.run_single(b"RESET SESSION AUTHORIZATION")
        if refused or not statement.authorization:  # who could grant it there may own nothing here
            refused = one.run_single(text)
        if refused:
            self.losses.add_statement(statement, refused)

    def apply_settings(self, one: LoadConnection, state: int) -> None:
        """Bring about the settings of a state; what the server refuses of them is noted."""
        for statement, refused in one.apply_settings(state):
            self.losses.add_setting(statement, refused)

    def report_progress(self, what: str, length: int = 0) -> None:
        """Tell what comes now, or that so many bytes of the dump are done."""
        with self._progress_lock:
            self._done_bytes += length
            if self._progress:
                self._progress(
                    DumpProgress(done_bytes=self._done_bytes, total_bytes=self.index.text.size_bytes, activity=what)
                )
