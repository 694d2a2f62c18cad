"""What an interrupted statement outside of a transaction left behind: it is done, half done, or not begun.

Half done, it is taken away, so that the statement can run again: an index left INVALID, and the copies that REINDEX
makes beside the old index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.apply import index, progress
from kernel.apply.failed import refused

if TYPE_CHECKING:
    from kernel.apply.index import Build
    from kernel.apply.runner import Runner
    from kernel.files.migration import Migration
    from kernel.sql.part import Part


def done_before(runner: Runner, migration: Migration, part: Part, *, again: bool, aftermath: str) -> bool:
    """Whether a statement is done already; `again` tells that an interrupted run of this file had sent it.

    Raises MigrationFailed, with `aftermath`, for an INVALID index that is not this file's: IF NOT EXISTS would take it
    for the finished one.
    """
    connection = runner.session.connection
    if name := index.dropped(part.sql):
        return again and not index.exists(connection, name)
    if again and (name := index.rebuilt(part.sql)):
        for quoted in index.left_by_rebuild(connection, name):
            index.drop(connection, quoted)
    build = index.build(part.sql)
    if build is None:
        return False
    if build.name is None:
        return again and _built_unnamed(runner, migration, build)
    left = index.invalid(connection, build)
    if not left:
        return again and index.valid(connection, build)
    if not again:
        raise refused(
            migration,
            f"line {part.line}: {', '.join(left)} is INVALID, left behind by a build that failed; "
            f"drop it with DROP INDEX CONCURRENTLY {left[0]}, then run inv db.migrate again",
            aftermath=aftermath,
        )
    for quoted in left:
        index.drop(connection, quoted)
    return False


def _built_unnamed(runner: Runner, migration: Migration, build: Build) -> bool:
    """The same for an index that the server names: it is one that came after the note that the build begins."""
    connection = runner.session.connection
    begun = progress.xid(connection, runner.ledger, migration.version)
    since = index.younger(connection, build, begun)
    for quoted in (quoted for quoted, is_valid in since.items() if not is_valid):
        index.drop(connection, quoted)
    return any(since.values())
