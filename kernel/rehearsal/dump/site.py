"""What everybody at work on a load shares: the connections, the way to run a statement, what was lost, who is told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kernel.rehearsal.dump import crew, ours, shape
from kernel.rehearsal.dump.dump import Progress
from kernel.rehearsal.dump.hand import DEADLOCK, INSUFFICIENT_PRIVILEGE, Hand
from kernel.rehearsal.dump.index import Rows, Statement
from kernel.rehearsal.dump.losses import Losses
from kernel.rehearsal.dump.shape import Kind

if TYPE_CHECKING:
    from kernel.database import Session
    from kernel.rehearsal.dump.dump import Report
    from kernel.rehearsal.dump.index import Index
    from kernel.rehearsal.dump.role import Loading

# The assistant needs no other settings: its statements name things, and nothing else.
_NAMING = (b"search_path", b"client_encoding")


class Site:
    """`main` is the first of the `hands`, which load; `assistant` is the session's user, a superuser where it assists.

    With `ours` it may write into the catalogs (see the module of that name). `late` are statements that the assistant
    is to run in the place of the role that loads.
    """

    def __init__(
        self, index: Index, loading: Loading, session: Session, hands: list[Hand], progress: Report | None
    ) -> None:
        self.index = index
        self.loading = loading
        self.main = hands[0]
        self.assistant = Hand(session.connection, index.settings, only=_NAMING)
        self.assisting = threading.Lock()
        self.ours = loading.assisted and ours.is_ours(session.connection)
        self.crew = crew.Crew(hands)
        self.losses = Losses(index)
        self.late: list[Statement] = []
        self._progress = progress
        self._telling = threading.Lock()
        self._done_bytes = 0
        self._bytes_of: dict[bytes, int] = {}
        for item in index.items:
            if isinstance(item, Rows):
                self._bytes_of[item.table] = self._bytes_of.get(item.table, 0) + item.length

    def bytes_of(self, table: bytes) -> int:
        """What the rows of a table take in the dump, 0 when it has none; `table` as the dump writes it."""
        return self._bytes_of.get(table, 0)

    def run(self, one: Hand, statement: Statement, deadlocked: list[Statement] | None = None) -> None:
        """Run a statement as the loading role, and note what became of it; a deadlock only in `deadlocked`."""
        self.settle(one, statement.settings)
        text = self.index.sql(statement)
        refused = one.run(text)
        if refused is None:
            return
        if refused.sqlstate == DEADLOCK and deadlocked is not None:
            deadlocked.append(statement)
        elif refused.sqlstate == INSUFFICIENT_PRIVILEGE and self.loading.assisted and shape.vetted(text):
            self.late.append(statement)
        elif refused.sqlstate == INSUFFICIENT_PRIVILEGE and self.loading.assisted and statement.kind is Kind.SEQUENCE:
            self.late.append(statement)  # an extension's
        elif not self.crew.stopped:
            self.losses.statement(statement, refused)

    def assist(self, statement: Statement) -> None:
        """Run a statement as the assistant, and note what became of it."""
        one = self.assistant
        self.settle(one, statement.settings)
        text = self.index.sql(statement)
        refused = None
        if statement.authorization:
            one.alone(b"SET SESSION AUTHORIZATION " + statement.authorization)
            refused = one.alone(text)
            one.alone(b"RESET SESSION AUTHORIZATION")
        if refused or not statement.authorization:  # who could grant it there may own nothing here
            refused = one.alone(text)
        if refused:
            self.losses.statement(statement, refused)

    def settle(self, one: Hand, state: int) -> None:
        """Bring about the settings of a state; what the server refuses of them is noted."""
        for statement, refused in one.settle(state):
            self.losses.setting(statement, refused)

    def tell(self, what: str, length: int = 0) -> None:
        """Tell what comes now, or that so many bytes of the dump are done."""
        with self._telling:
            self._done_bytes += length
            if self._progress:
                self._progress(Progress(done_bytes=self._done_bytes, total_bytes=self.index.text.size_bytes, what=what))
