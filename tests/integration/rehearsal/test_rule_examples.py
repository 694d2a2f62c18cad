"""The examples of the rules run on a real server: the good ones succeed, the bad ones as far as they can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.db.connection import open_session
from kernel.errors import FilesInvalid, MigrationFailed
from kernel.lint.rules import ALL_RULES, EXAMPLE_SCHEMA, NEXT_FILE_LINE, REVERT_FILE_LINE
from kernel.migrations.migration import discover_migrations
from kernel.operations.migrate import MigrateOptions, migrate

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.lint.rules import Rule

pytestmark = pytest.mark.slow

# What a bad example ends with, where the hazard is that it fails; the others do their harm and succeed.
FAILING = {
    "add-required-column": "23502",
    "constraint-violated": "23514",
    "data-does-not-fit": "22001",
    "enum-value-used-at-once": "55P04",
    "migration-failed": "42P01",
}
REFUSED = {"concurrently-in-transaction", "transaction-in-file", "psql-meta-command", "range-not-repeatable"}


def applied(folder: Path, url: str, script: str) -> None:
    for number, text in enumerate(script.split(NEXT_FILE_LINE), start=1):
        (folder / f"{number:03}_file.sql").write_text(text.partition(REVERT_FILE_LINE)[0])
    with open_session(url) as session:
        migrate(session, discover_migrations(folder), MigrateOptions(), lambda _event: None)


def given(url: str, rule: Rule) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(EXAMPLE_SCHEMA.encode())
        connection.execute(rule.setup.encode() or b"SELECT")
        # The ledger, empty: these tables are known to be there.
        connection.execute(
            "CREATE TABLE schema_migrations (version varchar(255) PRIMARY KEY, filename varchar(255) NOT NULL, "
            "applied_at timestamp NOT NULL DEFAULT now(), checksum varchar(64) NOT NULL)"
        )


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.id)
def test_the_good_example_is_applied(rule: Rule, database: str, tmp_path: Path) -> None:
    given(database, rule)
    applied(tmp_path, database, rule.good)


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.id)
def test_the_bad_example_is_applied_or_fails_as_the_rule_says(rule: Rule, database: str, tmp_path: Path) -> None:
    given(database, rule)
    if rule.id in REFUSED:
        with pytest.raises(FilesInvalid):
            applied(tmp_path, database, rule.bad)
    elif rule.id in FAILING:
        with pytest.raises(MigrationFailed) as failed:
            applied(tmp_path, database, rule.bad)
        assert failed.value.failure.sqlstate == FAILING[rule.id]
    else:
        applied(tmp_path, database, rule.bad)
