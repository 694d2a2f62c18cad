"""Where the application's queries come from: what --queries names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.rehearsal.queries import query, statistics

if TYPE_CHECKING:
    from kernel.rehearsal.queries.query import Query


def read(asked: str, prod_db: str | None) -> tuple[Query, ...]:
    """The queries of a file, or with pg_stat_statements those that the database at `prod_db` runs most often.

    Raises FilesInvalid; UsageError without PROD_DB; DatabaseRefused and DatabaseUnreachable of PROD_DB.
    """
    if asked != statistics.EXTENSION:
        return query.of_file(Path(asked))
    if not prod_db:
        raise UsageError(f"--queries {asked}: they are read from production; set PROD_DB, or give a file")
    return statistics.of_production(prod_db)
