"""A database that the TypeScript runner left: five of nine applied, as the specification's README shows it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

FILES = sorted((Path(__file__).parents[2] / "migrations").glob("*.sql"))

STATUS = """\
📊 Migration Status:

Total migrations: 9
Applied: 5
Pending: 4

Migrations:
  001 001_create_audit_ledger.sql          ✅ Applied
  008 008_create_business_terms.sql        ✅ Applied
  009 009_create_data_contracts.sql        ✅ Applied
  010 010_create_users.sql                 ✅ Applied
  011 011_create_field_dictionary.sql      ✅ Applied
  012 012_add_effective_from.sql           ⏳ Pending
  013 013_backfill_effective_from.sql      ⏳ Pending
  014 014_check_effective_from.sql         ⏳ Pending
  015 015_require_effective_from.sql       ⏳ Pending
"""

# The specification, "Migration Tracking Table".
TABLE = """
CREATE TABLE schema_migrations (
  version VARCHAR(255) PRIMARY KEY,
  filename VARCHAR(255) NOT NULL,
  applied_at TIMESTAMP NOT NULL DEFAULT NOW(),
  checksum VARCHAR(64) NOT NULL
);
"""


@pytest.fixture
def inherited(project: Project) -> Project:
    """What the old runner did for each file: its text, then the row with the SHA-256 of that text."""
    for path in FILES:
        shutil.copy(path, project.migrations)
    project.rows(TABLE)
    for path in FILES[:5]:
        text = path.read_text("utf-8")
        project.rows(text)
        checksum = hashlib.sha256(text.encode()).hexdigest()
        project.rows(
            "INSERT INTO schema_migrations (version, filename, checksum) "
            f"VALUES ('{path.name[:3]}', '{path.name}', '{checksum}')"
        )
    return project


def test_the_old_runners_database_shows_as_in_the_specification_and_goes_on_from_there(inherited: Project) -> None:
    rows = "SELECT xmin::text, m.* FROM schema_migrations m WHERE version < '012' ORDER BY version"
    before = inherited.rows(rows)

    status = inherited.inv("db.status")
    assert (status.code, status.out) == (0, STATUS)
    assert status.err.startswith("database: ")

    migrate = inherited.inv("db.migrate")
    assert migrate.code == 0
    assert [line.split()[1] for line in migrate.out.splitlines()[:4]] == [path.name for path in FILES[5:]]
    assert inherited.rows(rows) == before
    assert inherited.recorded() == [path.name[:3] for path in FILES]

    again = inherited.inv("db.migrate")
    assert again.code == 0
    assert again.out.startswith("nothing to apply to ")
    assert again.out.endswith("9 of 9 applied\n")


def test_the_table_is_created_as_the_specification_writes_it(project: Project) -> None:
    project.write("001_one.sql")
    project.call("db.migrate")
    columns = """
        SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = 'schema_migrations'::regclass AND attnum > 0 ORDER BY attnum
    """
    keys = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'schema_migrations'::regclass"
    made = project.rows(columns), project.rows(keys)
    project.rows("DROP TABLE schema_migrations")
    project.rows(TABLE)
    assert made == (project.rows(columns), project.rows(keys))


def test_the_time_of_a_record_is_utc_whatever_the_session_says(project: Project) -> None:
    project.write("001_one.sql")
    project.call("db.migrate", PGTZ="Asia/Kolkata")
    age = "SELECT abs(extract(epoch FROM applied_at - clock_timestamp() AT TIME ZONE 'UTC')) FROM schema_migrations"
    assert project.value(age) < 60
    (entry,) = project.call("db.status", "--json").document["migrations"]
    assert entry["applied_at"] == project.value(
        """SELECT to_char(applied_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM schema_migrations"""
    )
