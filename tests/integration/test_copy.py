"""COPY … FROM stdin with its data, as pg_dump writes it: a dump can be the first migration."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server
    from tests.integration.conftest import Project

ROWS = "SELECT a, b FROM t ORDER BY a"


@pytest.mark.parametrize(
    ("copy", "rows"),
    [
        ("COPY t FROM stdin;\n1\tone\n2\t\\N\n\\.\n", [(1, "one"), (2, None)]),
        ("COPY t (b, a) FROM STDIN;\nit's; -- $$\t1\n\\.\n", [(1, "it's; -- $$")]),
        ('COPY t FROM stdin (FORMAT csv);\n1,"a;\nb"\n\\.\n', [(1, "a;\nb")]),
        ("COPY t FROM stdin;\n\\.\n", []),
        ("COPY t FROM stdin; -- one\n1\tone\n\\.\n", [(1, "one")]),
        ("COPY t FROM stdin;\r\n1\tone\r\n\\.\r\n", [(1, "one")]),
        ("COPY t FROM stdin;\n1\tgröße 𝄞\n\\.\n", [(1, "größe 𝄞")]),
        ("COPY t FROM stdin;\n1\tback\\\\slash\\ttab\n\\.\n", [(1, "back\\slash\ttab")]),
    ],
)
def test_the_data_behind_copy_are_its_rows(project: Project, copy: str, rows: list[tuple[int, str]]) -> None:
    project.put("001_a.sql", f"CREATE TABLE t (a int, b text);\n{copy}INSERT INTO t VALUES (9, 'behind');")
    project.migrate()
    assert project.rows(ROWS) == [*rows, (9, "behind")]


def test_data_larger_than_any_buffer_go_through(project: Project) -> None:
    line = "x" * 1000
    data = "".join(f"{number}\t{line}\n" for number in range(9000))  # more than is kept of a file between two readings
    project.put("001_a.sql", f"CREATE TABLE t (a int, b text);\nCOPY t FROM stdin;\n{data}\\.\nSELECT 1;")
    project.migrate()
    assert project.rows("SELECT count(*), sum(a), min(length(b)) FROM t") == [(9000, 9000 * 8999 // 2, 1000)]


def test_rows_that_are_refused_early_in_much_data_undo_the_file(project: Project) -> None:
    data = "not a number\n" + "1\n" * 400_000
    project.put("001_a.sql", f"CREATE TABLE t (a int);\nCOPY t FROM stdin;\n{data}\\.\nINSERT INTO t VALUES (2);")
    assert project.failure().failure.sqlstate == "22P02"
    assert (project.recorded(), project.has("t")) == ([], False)


def test_what_copy_sends_is_passed_over(project: Project) -> None:
    project.put(
        "001_a.sql",
        "CREATE TABLE t (a int, b text);\nINSERT INTO t SELECT g, 'x' FROM generate_series(1, 20000) AS g;\n"
        "COPY t TO STDOUT;\nDELETE FROM t WHERE a > 1;",
    )
    project.migrate()
    assert project.rows(ROWS) == [(1, "x")]


def test_copy_into_a_table_that_is_not_there_fails_and_its_data_are_no_statements(project: Project) -> None:
    project.put("001_a.sql", "SELECT 1;\nCOPY absent FROM stdin;\nDROP TABLE schema_migrations;\n\\.\n")
    failed = project.failure()
    assert (failed.failure.line, failed.failure.sqlstate) == (2, "42P01")
    assert project.has("schema_migrations")


@pytest.fixture
def source(server: Server, administrator: psycopg.Connection, database: str) -> Iterator[str]:
    """A database with a bit of everything, to dump."""
    name = f"{database.rpartition('dbname=')[2].split()[0]}_source"
    identifier = sql.Identifier(name)
    administrator.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    yield make_conninfo(server.conninfo, dbname=name)
    administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def test_a_plain_dump_is_a_migration(project: Project, source: str, server: Server) -> None:
    program = server.programs.bin / "pg_dump"
    pg_dump = program if program.exists() else shutil.which("pg_dump")
    if pg_dump is None:
        pytest.skip("these programs of PostgreSQL come without pg_dump")
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute(
            """
            CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
            CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b text DEFAULT ';', m mood);
            COMMENT ON TABLE t IS 'a; b -- c';
            INSERT INTO t (b, m) VALUES (E'tab\\t; newline\\n \\\\. end', 'sad'), (NULL, 'it''s ok');
            CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.b := ';'; RETURN NEW; END $$;
            CREATE TRIGGER f BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();
            CREATE FUNCTION g() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END;
            CREATE VIEW v AS SELECT * FROM t;
            CREATE MATERIALIZED VIEW w AS SELECT count(*) AS n FROM t;
            CREATE TABLE empty (a int);
            """
        )
        expected = connection.execute("SELECT * FROM t ORDER BY a").fetchall()
    dump = subprocess.run([pg_dump, "--no-owner", "--dbname", source], capture_output=True, check=True).stdout
    project.put("001_dump.sql", dump)
    project.put("002_next.sql", "INSERT INTO t (b, m) VALUES ('next', 'sad'); CREATE TABLE u (a int);")
    project.migrate()
    assert project.recorded() == ["001", "002"]
    assert project.rows("SELECT a, b, m::text FROM public.t ORDER BY a") == [*expected, (3, "next", "sad")]
    assert project.rows("SELECT n, g(), obj_description('t'::regclass) FROM public.w") == [(2, 2, "a; b -- c")]
    assert project.has("public.u")
