from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import DatabaseRefused, UsageError
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.queries.corpus import read_queries

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def production(administrator: psycopg.Connection) -> Iterator[str]:
    """A server that keeps statistics of its queries, with some run."""
    bindir = os.environ.get("KERNEL_PG_BINDIR")
    found = find_programs(Path(bindir) if bindir else None)
    if not administrator.execute("SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements'").rowcount:
        pytest.skip("this PostgreSQL has no pg_stat_statements")
    with throwaway_server(found, settings={"shared_preload_libraries": "pg_stat_statements"}) as server:
        with psycopg.connect(server.conninfo, autocommit=True) as connection:
            connection.execute(
                'CREATE SCHEMA "the Statistics"; CREATE EXTENSION pg_stat_statements SCHEMA "the Statistics"'
            )
            connection.execute("CREATE TABLE people (id int, name text)")
            for name in ("Ada", "Grace", "Emmy"):
                connection.execute(f"INSERT INTO people VALUES (1, '{name}')")
            connection.execute("SELECT name FROM people WHERE id = 7")
            connection.execute("CREATE ROLE reader LOGIN")
            connection.execute('GRANT USAGE ON SCHEMA "the Statistics" TO reader')
        yield server.conninfo


def test_production_s_queries_come_without_their_values_the_most_frequent_first(production: str) -> None:
    texts = [one.text for one in read_queries("pg_stat_statements", production)]
    assert texts.index("INSERT INTO people VALUES ($1, $2)") < texts.index("SELECT name FROM people WHERE id = $1")
    assert not [text for text in texts if "Ada" in text or text.startswith("CREATE")]


def test_a_role_that_may_not_see_queries_gets_the_grant_to_run(production: str) -> None:
    with pytest.raises(DatabaseRefused, match="hides the queries of others; as a superuser: GRANT pg_read_all_stats"):
        read_queries("pg_stat_statements", make_conninfo(production, user="reader"))


def test_a_production_without_the_extension_gets_the_way_to_install_it(database: str) -> None:
    with pytest.raises(DatabaseRefused, match="pg_stat_statements is not there; CREATE EXTENSION pg_stat_statements"):
        read_queries("pg_stat_statements", database)


def test_pg_stat_statements_needs_prod_db() -> None:
    with pytest.raises(UsageError, match=r"^--queries pg_stat_statements: they are read from production; set PROD_DB"):
        read_queries("pg_stat_statements", None)


def test_anything_else_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "queries.sql").write_text("SELECT 1;")
    assert [one.text for one in read_queries(str(tmp_path / "queries.sql"), None)] == ["SELECT 1"]
