"""A migration that failed on data: all the rows in its way are counted, and a query lists them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import Failure
from kernel.migrations.script import parse_script
from kernel.rehearsal.data.violations import find_violations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.postgres.cluster import Server
    from kernel.rehearsal.result import Violation

ROWS = (
    "CREATE TABLE parents (id int PRIMARY KEY)",
    "INSERT INTO parents VALUES (1), (2)",
    'CREATE TABLE rows (id int, parent int, "Name" text, amount numeric, note text)',
    "INSERT INTO rows VALUES (1, 1, 'a', 1, '1'), (2, 9, 'a', -1, 'x')",
    "INSERT INTO rows VALUES (2, 8, 'A', -2, NULL), (NULL, NULL, NULL, 400, '12345')",
)


def failed(url: str, statement: str, *ahead: str) -> tuple[Violation, ...]:
    """What is found of a statement that really fails on these rows, whatever ran ahead of it being rolled back."""
    with psycopg.connect(url) as connection:
        for one in ahead:
            connection.execute(one.encode())
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(statement.encode())
        connection.rollback()
    failure = Failure(file="001_a.sql", statement=statement, sqlstate=caught.value.sqlstate)
    found = find_violations(url, failure, ahead=[one.encode() for one in ahead])
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_class WHERE relname IN ('rows', 'parents')").fetchone() == (
            2,
        )
    return found


def listed(url: str, found: Violation) -> int:
    with psycopg.connect(url) as connection:
        *ahead, query = found.query.split(";\nSELECT")
        for one in ahead:
            connection.execute(one.encode())
            query = f"SELECT{query}"
        rows = len(connection.execute(query.encode()).fetchall())
        connection.rollback()  # else the server drops the temporary function after we left, while the next test runs
        return rows


def filled(url: str) -> str:
    with psycopg.connect(url) as connection:
        for statement in ROWS:
            connection.execute(statement.encode())
    return url


@pytest.fixture
def rows(database: str) -> str:
    return filled(database)


@pytest.fixture(scope="module")
def kept_rows(server: Server, administrator: psycopg.Connection) -> Iterator[str]:
    """The same for tests that leave nothing behind."""
    administrator.execute("CREATE DATABASE kept_rows")
    yield filled(make_conninfo(server.conninfo, dbname="kept_rows"))
    administrator.execute("DROP DATABASE kept_rows WITH (FORCE)")


@pytest.mark.parametrize(
    ("statement", "constraint", "number"),
    [
        ("ALTER TABLE rows ALTER COLUMN id SET NOT NULL", "id NOT NULL", 1),
        ('ALTER TABLE ONLY public.rows ALTER "Name" SET NOT NULL;', '"Name" NOT NULL', 1),
        ("ALTER TABLE rows ADD PRIMARY KEY (parent)", "parent NOT NULL", 1),
        ("ALTER TABLE rows ADD COLUMN fresh int NOT NULL", "fresh NOT NULL", 4),
        ("ALTER TABLE rows ADD CONSTRAINT key UNIQUE (id)", "UNIQUE (id)", 2),
        ("CREATE UNIQUE INDEX ON rows (id)", "unique index on (id)", 2),
        ("CREATE UNIQUE INDEX IF NOT EXISTS fresh ON rows (id) INCLUDE (note)", "unique index on (id)", 2),
        ('CREATE UNIQUE INDEX known ON rows (lower("Name")) WHERE amount < 100', 'unique index on (lower("Name"))', 3),
        ("ALTER TABLE rows ADD CHECK (amount > 0)", "rows_amount_check", 2),
        ("ALTER TABLE rows ADD CONSTRAINT c CHECK (amount > 0), ADD CONSTRAINT d CHECK (amount < 9)", "c", 2),
        ("ALTER TABLE rows ADD CONSTRAINT f FOREIGN KEY (parent) REFERENCES parents", "f", 2),
        ("ALTER TABLE rows ALTER note TYPE int USING note::int", "note int", 1),
        ("ALTER TABLE rows ALTER COLUMN note SET DATA TYPE varchar(4)", "note varchar(4)", 1),
        ("ALTER TABLE rows ALTER amount TYPE numeric(3, 1)", "amount numeric(3, 1)", 1),
        ("ALTER TABLE rows ALTER amount TYPE smallint USING (rows.amount * 1000)", "amount smallint", 1),
    ],
)
def test_all_rows_in_the_way_are_counted_and_listed(
    kept_rows: str, statement: str, constraint: str, number: int
) -> None:
    found = failed(kept_rows, statement)
    assert (found[0].constraint, found[0].rows) == (constraint, number)
    assert found[0].relation == "public.rows"
    assert listed(kept_rows, found[0]) == number


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE rows ALTER id SET NOT NULL",
        "ALTER TABLE rows ADD CONSTRAINT key UNIQUE (id)",
        "ALTER TABLE rows ADD CONSTRAINT f FOREIGN KEY (parent) REFERENCES parents",
        'ALTER TABLE rows ADD CONSTRAINT "of two\nlines" CHECK (amount > 0)',
    ],
)
def test_a_check_for_the_top_of_the_file_finds_what_the_migration_fails_on(
    kept_rows: str, tmp_path: Path, statement: str
) -> None:
    (found,) = failed(kept_rows, statement)
    path = tmp_path / "001_a.sql"
    path.write_text(f"{found.check}\n{statement};\n", encoding="utf-8")
    (check,) = parse_script(path, path.name).checks
    assert check.message.startswith("no row of public.rows violates ")
    with psycopg.connect(kept_rows) as connection:
        assert connection.execute(found.check.encode()).fetchall() == [(False,)]


def test_there_is_no_check_for_what_the_file_itself_makes(rows: str) -> None:
    (found,) = failed(rows, "ALTER TABLE rows ADD UNIQUE (size)", "ALTER TABLE rows RENAME id TO size")
    assert (found.rows, found.check) == (2, "")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE rows ADD CONSTRAINT key UNIQUE (note)",
        "ALTER TABLE rows ADD PRIMARY KEY (note)",
        "CREATE UNIQUE INDEX ON rows (note)",
        "CREATE UNIQUE INDEX ON rows (lower(note)) WHERE note IS NOT NULL",
    ],
)
def test_duplicates_are_counted_as_rows_and_as_keys_that_they_share(rows: str, statement: str) -> None:
    with psycopg.connect(rows) as connection:
        connection.execute("DELETE FROM rows WHERE note IS NULL")
        connection.execute("INSERT INTO rows (note) VALUES ('1'), ('1'), ('x'), ('alone')")
    (found,) = failed(rows, statement)
    assert (found.rows, found.groups) == (5, 2)
    assert found.counts == "5 rows with 2 duplicated keys"
    assert listed(rows, found) == 5


def test_a_constraint_that_cannot_be_validated_counts_its_rows(rows: str) -> None:
    with psycopg.connect(rows) as connection:
        connection.execute('ALTER TABLE rows ADD CONSTRAINT "Positive" CHECK (amount > 0) NOT VALID')
        connection.execute("ALTER TABLE rows ADD CONSTRAINT small CHECK (amount < 9) NOT VALID")
    (found,) = failed(rows, 'ALTER TABLE rows VALIDATE CONSTRAINT "Positive"')
    assert (found.constraint, found.rows) == ("Positive", 2)


def test_what_the_file_did_ahead_of_the_failure_counts(rows: str) -> None:
    (found,) = failed(
        rows,
        "ALTER TABLE rows ADD UNIQUE (amount)",
        "ALTER TABLE rows RENAME amount TO size",
        "ALTER TABLE rows RENAME size TO amount",
        "UPDATE rows SET amount = 7 WHERE id = 2",
    )
    assert found.rows == 2


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO parents VALUES (1)",
        "UPDATE parents SET id = NULL",
        "INSERT INTO parents SELECT note::int FROM rows",
        "DO $$ BEGIN ALTER TABLE rows ALTER id SET NOT NULL; END $$",
        "ALTER TABLE rows ADD COLUMN two int, ALTER COLUMN two SET NOT NULL",
        "CREATE UNIQUE INDEX odd ON rows (note text_pattern_ops, (1))",
    ],
)
def test_an_unknown_shape_of_statement_has_no_violations(rows: str, statement: str) -> None:
    with psycopg.connect(rows) as connection:
        connection.execute("INSERT INTO rows SELECT 5, 1, 'z', 1, '1'")
    assert failed(rows, statement) == ()


def test_a_statement_that_was_cut_short_gives_nothing(rows: str) -> None:
    failure = Failure(file="001_a.sql", statement="ALTER TABLE rows ALTER id SET NOT NULL …", sqlstate="23502")
    assert find_violations(rows, failure) == ()
    whole = replace(failure, statement="ALTER TABLE rows ALTER id SET NOT NULL")
    assert [one.rows for one in find_violations(rows, whole)] == [1]


def test_statements_that_would_commit_are_not_run_again(rows: str) -> None:
    failure = Failure(file="001_a.sql", statement="ALTER TABLE rows ALTER id SET NOT NULL", sqlstate="23502")
    assert find_violations(rows, failure, ahead=[b"DROP TABLE parents", b"COMMIT"]) == ()
    with psycopg.connect(rows) as connection:
        assert connection.execute("SELECT count(*) FROM parents").fetchone() == (2,)
