"""Load a plain dump: its schema in order, rows and indexes and keys side by side, and say what did not come along."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from psycopg import sql

from kernel import database
from kernel.rehearsal.dump import crew, hand, order, role, rows, shape, split
from kernel.rehearsal.dump.crew import Job, Stopped
from kernel.rehearsal.dump.dump import Progress, Restored
from kernel.rehearsal.dump.hand import DEADLOCK, INSUFFICIENT_PRIVILEGE, Hand
from kernel.rehearsal.dump.index import Rows, Statement
from kernel.rehearsal.dump.losses import Losses
from kernel.rehearsal.dump.order import Manner
from kernel.rehearsal.dump.shape import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.dump.dump import Report
    from kernel.rehearsal.dump.index import Index
    from kernel.rehearsal.dump.order import Stretch
    from kernel.rehearsal.dump.role import Loading

# The assistant needs no other settings: its statements name things, and nothing else.
_NAMING = (b"search_path", b"client_encoding")
# A partitioned table brings its partitions along.
_ANALYZED = """
SELECT quote_ident(nspname) || '.' || quote_ident(relname), relpages
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'm', 'p') AND NOT relispartition AND relpersistence <> 't'
  AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%' AND pg_has_role(relowner, 'USAGE')
"""


def load(
    index: Index, url: str, *, jobs: int = 2, schema_only: bool = False, progress: Report | None = None
) -> Restored:
    """Load the dump into the database at `url`, over `jobs` connections, and ANALYZE it.

    What the server refuses is skipped and told, as psql would go on. Raises DatabaseUnreachable, RestoreFailed when
    the server cannot go on, DatabaseRefused (see role). The database is to be fresh: nothing in it is dropped.
    """
    begun = time.monotonic()
    plan = order.of(index.items, schema_only=schema_only)
    with database.session(url) as session:
        with role.loading(session) as loading, ExitStack() as stack:
            hands = [stack.enter_context(hand.connected(loading.url, index.settings)) for _ in range(max(1, jobs))]
            work = _Load(index, loading, Hand(session.connection, index.settings, only=_NAMING), hands, progress)
            work.all(plan)
        work.event_triggers(plan)
    return Restored(
        bytes=index.text.size_bytes,
        seconds=time.monotonic() - begun,
        harmless=work.losses.harmless,
        lost=work.losses.lost,
    )


class _Load:
    """A load under way."""

    def __init__(
        self, index: Index, loading: Loading, assistant: Hand, hands: list[Hand], progress: Report | None
    ) -> None:
        self._index = index
        self._loading = loading
        self._main = hands[0]
        self._assistant = assistant
        self._crew = crew.Crew(hands)
        self._progress = progress
        self._telling = threading.Lock()
        self._assisting = threading.Lock()
        self._done_bytes = 0
        self._late: list[Statement] = []
        self._bytes_of: dict[bytes, int] = {}
        self.losses = Losses(index)

    def all(self, plan: order.Order) -> None:
        for item in self._index.items:
            if isinstance(item, Statement) and item.kind is Kind.REMOTE:
                self.losses.left_out(item)
            elif isinstance(item, Rows):
                self._bytes_of[item.table] = self._bytes_of.get(item.table, 0) + item.length
        self._extensions(plan.first)
        for stretch in plan.stretches:
            self._stretch(stretch)
        if not self._main.idle:
            self._main.run(b"ROLLBACK")
            self.losses.transaction()
        self._analyze()
        self._tell("owners and privileges")
        for statement in (*self._late, *plan.rights):
            self._assisted(statement)

    def event_triggers(self, plan: order.Order) -> None:
        """Create them; nothing of ours may run DDL from here on."""
        for statement in plan.event_triggers:
            self._assisted(statement)

    def _extensions(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            if statement.kind is Kind.EXTENSION:
                self._assisted(statement)
            else:
                self._one(self._main, statement)
        if self._loading.assisted:
            # What a superuser made, nobody else may use; the role's end takes it away again.
            wrappers = self._assistant.connection.execute(
                "SELECT fdwname::text FROM pg_foreign_data_wrapper"
            ).fetchall()
            for (name,) in wrappers:
                self._assistant.connection.execute(
                    sql.SQL("GRANT USAGE ON FOREIGN DATA WRAPPER {} TO {}").format(
                        sql.Identifier(name), sql.Identifier(self._loading.role)
                    )
                )

    def _stretch(self, stretch: Stretch) -> None:
        if not self._main.idle or stretch.manner is Manner.IN_ORDER:
            # In a transaction of the dump's own, no other connection would see what it made so far.
            for item in stretch.items:
                if isinstance(item, Rows):
                    self._rows(self._main, [item], rows.Target())
                else:
                    self._one(self._main, item)
        elif stretch.manner is Manner.ROWS:
            self._all_rows([item for item in stretch.items if isinstance(item, Rows)])
        else:
            self._tell("indexes" if stretch.manner is Manner.BUILDS else "foreign keys")
            statements = [item for item in stretch.items if isinstance(item, Statement)]
            deadlocked: list[Statement] = []
            self._crew.work([self._job(statement, deadlocked) for statement in statements])
            for statement in deadlocked:
                self._one(self._main, statement)
        for statement in stretch.after:
            self._one(self._main, statement)

    def _job(self, statement: Statement, deadlocked: list[Statement]) -> Job:
        _kind, match = shape.of(self._index.sql(statement))
        found = match.groupdict() if match else {}
        shared = {found[name] for name in ("table",) if found.get(name)}
        exclusive = {found[name] for name in ("exclusive", "other") if found.get(name)}
        return Job(
            cost=sum(self._bytes_of.get(table, 0) for table in shared | exclusive),
            run=lambda one: self._one(one, statement, deadlocked),
            shared=frozenset(shared),
            exclusive=frozenset(exclusive),
        )

    def _one(self, one: Hand, statement: Statement, deadlocked: list[Statement] | None = None) -> None:
        """Run a statement as the loading role, and note what became of it."""
        self._settle(one, statement.settings)
        text = self._index.sql(statement)
        refused = one.run(text)
        if refused is None:
            return
        if refused.sqlstate == DEADLOCK and deadlocked is not None:
            deadlocked.append(statement)
        elif refused.sqlstate == INSUFFICIENT_PRIVILEGE and self._loading.assisted and shape.vetted(text):
            self._late.append(statement)
        elif refused.sqlstate == INSUFFICIENT_PRIVILEGE and self._loading.assisted and statement.kind is Kind.SEQUENCE:
            self._late.append(statement)  # an extension's
        elif not self._crew.stopped:
            self.losses.statement(statement, refused)

    def _assisted(self, statement: Statement) -> None:
        one = self._assistant
        self._settle(one, statement.settings)
        text = self._index.sql(statement)
        refused = None
        if statement.authorization:
            one.alone(b"SET SESSION AUTHORIZATION " + statement.authorization)
            refused = one.alone(text)
            one.alone(b"RESET SESSION AUTHORIZATION")
        if refused or not statement.authorization:  # who could grant it there may own nothing here
            refused = one.alone(text)
        if refused:
            self.losses.statement(statement, refused)

    def _settle(self, one: Hand, state: int) -> None:
        for statement, refused in one.settle(state):
            self.losses.setting(statement, refused)

    def _all_rows(self, items: list[Rows]) -> None:
        of_table: dict[bytes, list[Rows]] = {}
        for item in items:
            of_table.setdefault(item.table, []).append(item)
        self._settle(self._main, items[0].settings)
        known = rows.targets(self._main, [table for table in of_table if table])
        together: list[tuple[list[Rows], rows.Target]] = []
        in_order: list[tuple[list[Rows], rows.Target]] = []
        for table, blocks in of_table.items():
            target = known.get(table, rows.Target())
            (in_order if target.triggered or not table else together).append((blocks, target))
        total = sum(block.length for blocks, _target in together for block in blocks)
        shared: list[tuple[list[Rows], rows.Target]] = []
        for blocks, target in together:
            parts = self._parts(blocks, target, total)
            shared += [(part, target if len(parts) == 1 else rows.Target()) for part in parts]
        self._crew.work([self._rows_job(blocks, target) for blocks, target in shared])
        for blocks, target in in_order:
            self._rows(self._main, blocks, target)

    def _parts(self, blocks: list[Rows], target: rows.Target, total_bytes: int) -> list[list[Rows]]:
        """The blocks of one table, in parts for all hands where it is most of what there is."""
        hands = self._crew.size
        if target.fresh and split.dominant(blocks, total_bytes, hands):
            return [[piece] for piece in split.pieces(self._index.text, blocks[0], hands)]
        return [blocks]

    def _rows_job(self, blocks: list[Rows], target: rows.Target) -> Job:
        cost = sum(block.length for block in blocks)
        return Job(cost=cost, run=lambda one: self._rows(one, blocks, target))

    def _rows(self, one: Hand, blocks: list[Rows], target: rows.Target) -> None:
        if target.extension and self._loading.assisted:
            with self._assisting:
                self._fill(self._assistant, blocks, target)
        else:
            self._fill(one, blocks, target)

    def _fill(self, one: Hand, blocks: list[Rows], target: rows.Target) -> None:
        self._settle(one, blocks[0].settings)
        name = blocks[0].table.decode(errors="replace")

        def told(length: int) -> None:
            if self._crew.stopped:
                raise Stopped
            self._tell(name, length)

        for offset, refused in rows.fill(one, self._index.text, blocks, target, told):
            self.losses.rows(blocks[0], offset, refused)

    def _analyze(self) -> None:
        self._tell("statistics")
        tables = self._main.connection.execute(_ANALYZED).fetchall()
        self._crew.work([_analysis(name, pages) for name, pages in tables])

    def _tell(self, what: str, length: int = 0) -> None:
        with self._telling:
            self._done_bytes += length
            if self._progress:
                self._progress(
                    Progress(done_bytes=self._done_bytes, total_bytes=self._index.text.size_bytes, what=what)
                )


def _analysis(table: str, pages: int) -> Job:
    def run(one: Hand) -> None:
        one.run(f"ANALYZE {table}".encode())  # as the table's owner, so that the worst it meets is a missing statistic

    return Job(cost=pages, run=run)
