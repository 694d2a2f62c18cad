"""Which files may pass one that waits for --phase after, by their texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.migrations.migration import discover_migrations
from kernel.migrations.passing import find_conflict

if TYPE_CHECKING:
    from pathlib import Path


def conflict(directory: Path, waiting: str, later: str) -> str:
    """The conflict of two files with these statements."""
    (directory / "001_waiting.sql").write_text(f"-- migrate: phase=after\n{waiting}\n")
    (directory / "002_later.sql").write_text(f"{later}\n")
    return find_conflict(*discover_migrations(directory))


def test_a_table_may_not_be_created_in_a_schema_that_a_waiting_file_drops(tmp_path: Path) -> None:
    waiting = "DROP SCHEMA staging CASCADE;\nCREATE SCHEMA staging;"
    assert conflict(tmp_path, waiting, "CREATE TABLE staging.batches (id int);") == (
        "it names staging.batches, and line 2 of that file schema staging"
    )
    assert conflict(tmp_path, "ALTER TABLE staging.batches ADD a int;", "DROP SCHEMA staging;") == (
        "it names schema staging, and line 2 of that file staging.batches"
    )


@pytest.mark.parametrize(
    "later",
    [
        "CREATE TABLE copy AS TABLE users;",
        "CREATE VIEW v AS TABLE users;",
        "CREATE VIEW v AS SELECT 1 FROM ((users JOIN a ON true) JOIN b ON true);",
        "CREATE VIEW v AS SELECT 1 FROM ONLY (users);",
        "CREATE VIEW v AS SELECT 1 FROM f(1) a, users;",
        "ALTER TABLE p ATTACH PARTITION users FOR VALUES IN (1);",
        "ALTER SEQUENCE s OWNED BY users.id;",
        "CREATE PUBLICATION p FOR TABLE a, users;",
        "CREATE RULE r AS ON INSERT TO users DO INSTEAD NOTHING;",
        "SET search_path = public; CREATE TABLE users (id int);",
    ],
)
def test_a_file_that_uses_a_table_of_a_waiting_file_may_not_pass_it(tmp_path: Path, later: str) -> None:
    reason = "it names users, as line 2 of that file does"
    assert conflict(tmp_path, "ALTER TABLE users DROP COLUMN name;", later) == reason


def test_a_column_of_a_type_that_a_waiting_file_changes_may_not_be_added_first(tmp_path: Path) -> None:
    waiting = "DROP TYPE mood CASCADE; CREATE TYPE mood AS ENUM ('sad');"
    assert conflict(tmp_path, waiting, "ALTER TABLE users ADD COLUMN m mood;")
    assert conflict(tmp_path, waiting, "CREATE TABLE users (m public.mood);")


@pytest.mark.parametrize(
    ("waiting", "later"),
    [
        ("DROP SCHEMA staging CASCADE;", "CREATE TABLE archive.batches (id int);"),
        ("DROP SCHEMA staging CASCADE;", "CREATE TABLE batches (id int);"),
        ("GRANT USAGE ON SCHEMA public TO bob;", "CREATE TABLE archive.batches (id int);"),
        ("ALTER TABLE users DROP COLUMN name;", "CREATE EXTENSION pg_trgm WITH SCHEMA public;"),
        ("ALTER TABLE users DROP COLUMN name;", "CREATE TABLE orders (users int, type text);"),
        ("ALTER TABLE users DROP COLUMN name;", "SELECT count(*) AS n, users FROM orders WHERE type = 1;"),
        ("CREATE VIEW v AS TABLE users;", "CREATE VIEW w AS TABLE users;"),
    ],
)
def test_a_file_that_shares_no_changed_object_with_a_waiting_one_may_pass_it(
    tmp_path: Path, waiting: str, later: str
) -> None:
    assert conflict(tmp_path, waiting, later) == ""


def test_a_schema_public_is_in_conflict_with_every_name_without_a_schema(tmp_path: Path) -> None:
    assert conflict(tmp_path, "DROP SCHEMA public CASCADE;", "CREATE TABLE batches (id int);")
    assert conflict(tmp_path, "DROP SCHEMA public CASCADE;", "CREATE TABLE public.batches (id int);")
