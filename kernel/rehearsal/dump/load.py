"""Load a plain dump: its schema in order, rows and indexes and keys side by side, and say what did not come along."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from psycopg import sql

from kernel import database
from kernel.rehearsal.dump import hand, keys, order, role, rows, tables
from kernel.rehearsal.dump.dump import Restored
from kernel.rehearsal.dump.index import Rows, Statement
from kernel.rehearsal.dump.order import Manner
from kernel.rehearsal.dump.shape import Kind
from kernel.rehearsal.dump.site import Site
from kernel.rehearsal.dump.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.dump.dump import Report
    from kernel.rehearsal.dump.index import Index
    from kernel.rehearsal.dump.order import Order, Stretch


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
            site = Site(index, loading, session, hands, progress)
            _all(site, plan)
        # The role is gone; nothing of ours may run DDL from here on.
        for statement in plan.event_triggers:
            site.assist(statement)
    return Restored(
        bytes=index.text.size_bytes,
        seconds=time.monotonic() - begun,
        harmless=site.losses.harmless,
        lost=site.losses.lost,
    )


def _all(site: Site, plan: Order) -> None:
    for item in site.index.items:
        if isinstance(item, Statement) and item.kind is Kind.REMOTE:
            site.losses.left_out(item)
    _extensions(site, plan.first)
    statistics = Statistics()
    for stretch in plan.stretches:
        _stretch(site, stretch, statistics)
    if not site.main.idle:
        site.main.run(b"ROLLBACK")
        site.losses.transaction()
    site.tell("statistics")
    site.crew.work(statistics.of_all(site.main))
    site.tell("owners and privileges")
    for statement in (*site.late, *plan.rights):
        site.assist(statement)


def _extensions(site: Site, statements: Sequence[Statement]) -> None:
    for statement in statements:
        if statement.kind is Kind.EXTENSION:
            site.assist(statement)
        else:
            site.run(site.main, statement)
    if site.loading.assisted:
        # What a superuser made, nobody else may use; the role's end takes it away again.
        superuser = site.assistant.connection
        for (name,) in superuser.execute("SELECT fdwname::text FROM pg_foreign_data_wrapper").fetchall():
            superuser.execute(
                sql.SQL("GRANT USAGE ON FOREIGN DATA WRAPPER {} TO {}").format(
                    sql.Identifier(name), sql.Identifier(site.loading.role)
                )
            )


def _stretch(site: Site, stretch: Stretch, statistics: Statistics) -> None:
    statements = [item for item in stretch.items if isinstance(item, Statement)]
    if not site.main.idle or stretch.manner is Manner.IN_ORDER:
        # In a transaction of the dump's own, no other connection would see what it made so far.
        for item in stretch.items:
            if isinstance(item, Rows):
                tables.fill_one(site, site.main, [item], rows.Target())
            else:
                site.run(site.main, item)
    elif stretch.manner is Manner.ROWS:
        tables.fill(site, [item for item in stretch.items if isinstance(item, Rows)])
    elif stretch.manner is Manner.BUILDS:
        site.tell("indexes")
        keys.build(site, statements)
    else:
        site.tell("foreign keys")
        keys.check(site, statements, besides=statistics.of_tables(site.main) if stretch.settled else ())
    for statement in stretch.after:
        site.run(site.main, statement)
