"""The schema that files make: which file made and changed each object, what is left out, and the cache."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from kernel.errors import ProgramsMissing
from kernel.migrations.migration import require_migrations
from kernel.postgres.cache import cache_folder
from kernel.schema import BuildTarget, build_history, build_schema

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.migrations.migration import Migration
    from kernel.schema import BuiltSchema

FIRST = "CREATE TABLE users (id int PRIMARY KEY, email text); CREATE VIEW emails AS SELECT email FROM users;"
FILES = {
    "001_users.sql": FIRST,
    "002_orders.sql": "CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users, total numeric);",
    "003_required.sql": "ALTER TABLE users ALTER email SET NOT NULL; COMMENT ON COLUMN orders.total IS 'net';",
    "004_renamed.sql": "ALTER TABLE orders RENAME total TO net; CREATE INDEX by_user ON orders (user_id);",
    "005_again.sql": "DROP VIEW emails; CREATE VIEW emails AS SELECT email FROM users;",
    "006_grant.sql": "GRANT SELECT ON users TO some_reader;",
}


def write_files(folder: Path, files: dict[str, str]) -> tuple[Migration, ...]:
    """Migrations whose content no build has had yet."""
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n-- {uuid.uuid4()}\n")
    return require_migrations(folder)


def build(migrations: tuple[Migration, ...]) -> BuiltSchema:
    return build_schema(migrations, BuildTarget(), bindir=None)


def test_each_object_and_column_has_the_files_that_made_and_changed_it(tmp_path: Path) -> None:
    history = build_history(write_files(tmp_path, FILES))
    found = {name: (one.made[:3], one.changed[:3]) for (_kind, name), one in history.items()}
    assert found["public.users"] == ("001", "006")
    assert found["public.users.id"] == ("001", "001")
    assert found["public.users.email"] == ("001", "003")
    # A foreign key and an index write to the row of the table in the catalog, and change nothing of it.
    assert found["public.orders"] == ("002", "002")
    assert found["public.orders.net"] == ("002", "004")
    assert found["public.by_user"] == ("004", "004")
    assert found["public.emails"] == ("005", "005")
    assert found["orders_user_id_fkey on public.orders"] == ("002", "002")


@pytest.mark.slow
def test_files_that_cannot_run_are_left_out_with_the_reason_and_the_others_run(tmp_path: Path) -> None:
    files = {
        **FILES,
        "002_orders.sql": "CREATE EXTENSION no_such_extension;",
        "003_required.sql": "COPY users FROM PROGRAM 'echo';",
        "004_renamed.sql": "CREATE TABLE notes (id int);",
    }
    built = build(write_files(tmp_path, files))
    assert [(one.file, one.line) for one in built.left_out] == [("002_orders.sql", 1), ("003_required.sql", 1)]
    assert "no_such_extension" in built.left_out[0].message
    assert "PROGRAM" in built.left_out[1].message
    assert {"public.users", "public.notes"} <= {one.name for one in built.schema.objects}


@pytest.mark.slow
def test_no_file_runs_after_one_that_is_partly_done(tmp_path: Path) -> None:
    text = "-- migrate: no-transaction\nCREATE TABLE half (id int);\nSELECT 1 / 0;"
    built = build(write_files(tmp_path, {"001_half.sql": text, "002_next.sql": "CREATE TABLE next (id int);"}))
    assert [one.file for one in built.left_out] == ["001_half.sql", "002_next.sql"]
    assert "partly done" in built.left_out[1].message


@pytest.mark.slow
def test_a_schema_of_the_search_path_may_be_made_by_a_file(tmp_path: Path) -> None:
    migrations = write_files(tmp_path, {"001_app.sql": "CREATE SCHEMA app; CREATE TABLE t (id int);"})
    built = build_schema(migrations, BuildTarget(search_path=("app", "other"), database="shop"), bindir=None)
    assert not built.left_out
    assert "app.t" in {one.name for one in built.schema.objects}


@pytest.mark.slow
def test_a_stored_build_is_used_until_it_is_damaged_or_others_can_write_it(tmp_path: Path) -> None:
    table = f"t_{uuid.uuid4().hex}"
    migrations = write_files(tmp_path, {"001_a.sql": f"CREATE TABLE {table} (a varchar CHECK (a IN ('x', 'y')));"})
    built = build(migrations)
    (path,) = [one for one in (cache_folder() / "schemas").glob("*.json") if table.encode() in one.read_bytes()]
    assert path.stat().st_mode & 0o077 == 0
    inode = path.stat().st_ino
    assert build(migrations) == built
    assert path.stat().st_ino == inode
    assert any("ARRAY" in str(text) for facts in built.restored.values() for text in facts.values())
    content = path.read_bytes()
    for damage in (content[:-9], content.replace(b"CHECK", b"check"), b"", b"[]", b"\xff" * 99):
        path.write_bytes(damage)
        assert build(migrations) == built
        assert path.read_bytes() == content
    path.chmod(0o622)
    assert build(migrations) == built
    assert path.stat().st_mode & 0o077 == 0


def column_default(built: BuiltSchema, name: str) -> object:
    (column,) = [one for one in built.schema.objects if one.kind == "column" and one.name == name]
    return column.fact("default")


@pytest.mark.slow
def test_a_time_zone_is_part_of_what_a_stored_build_is_for(tmp_path: Path) -> None:
    migrations = write_files(tmp_path, {"001_a.sql": "CREATE TABLE t (a timestamptz DEFAULT '2020-01-01');"})
    # The last is a zone in the form of POSIX, with letters that an option of a connection has to escape.
    zones = {"UTC": "2020-01-01 00:00", "Asia/Tokyo": "2019-12-31 15:00", r"<a \b>-1": "2019-12-31 23:00"}
    for zone, utc in zones.items():
        built = build_schema(migrations, BuildTarget(literal_settings=(("TimeZone", zone),)), bindir=None)
        assert utc in str(column_default(built, "public.t.a"))


@pytest.mark.slow
def test_a_time_zone_that_a_file_gives_the_database_is_that_of_the_files_after_it(tmp_path: Path) -> None:
    table = "CREATE TABLE {} (a timestamptz DEFAULT '2020-01-01');"
    files = {
        "001_before.sql": table.format("before"),
        "002_zone.sql": "ALTER DATABASE shop SET timezone = 'Asia/Tokyo';",
        "003_after.sql": table.format("after"),
    }
    target = BuildTarget(database="shop", literal_settings=(("TimeZone", "Asia/Tokyo"),))
    built = build_schema(write_files(tmp_path, files), target, bindir=None)
    assert "2020-01-01 00:00:00+00" in str(column_default(built, "public.before.a"))
    assert "2019-12-31 15:00:00+00" in str(column_default(built, "public.after.a"))


@pytest.mark.slow
def test_a_time_zone_that_the_programs_do_not_know_is_named_with_a_remedy(tmp_path: Path) -> None:
    migrations = write_files(tmp_path, {"001_a.sql": "SELECT 1;"})
    with pytest.raises(ProgramsMissing, match=r"does not know TimeZone = Mars/Olympus.*; install .* KERNEL_PG_BINDIR"):
        build_schema(migrations, BuildTarget(literal_settings=(("TimeZone", "Mars/Olympus"),)), bindir=None)
