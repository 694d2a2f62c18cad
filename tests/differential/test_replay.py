"""Dumps as migrations: the output of pg_dump creates the same database again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.differential import cases

if TYPE_CHECKING:
    from tests.differential.databases import DatabasePair

pytestmark = pytest.mark.slow

_SCRIPTS = {case.name: case for case in cases.ALL}
# Scripts without common names: together they are one schema with data and many dependencies.
_COMBINED = (
    *("001_tables", "005_identity_columns", "006_generated_columns", "009_list_and_hash_partitions"),
    *("012_check_constraints", "013_foreign_keys", "016_exclusion_constraints", "019_domains", "021_composite_types"),
    *("024_sequences", "025_views", "026_materialized_views", "030_triggers", "034_rules", "037_begin_atomic"),
    *("039_aggregates", "044_foreign_data", "047_grants", "050_comments_on_everything", "060_types_of_columns"),
    *("110_copy_text", "141_strings", "146_unicode"),
)
_COMBINED_SCRIPT = b"\n".join(_SCRIPTS[name].script for name in _COMBINED)

_OPTIONS = {
    "without options": (),
    "with DROP statements": ("--clean", "--if-exists"),
    "with INSERTs": ("--inserts", "--quote-all-identifiers"),
    "with INSERTs of several rows": ("--column-inserts", "--rows-per-insert=3", "--disable-dollar-quoting"),
    "without triggers": ("--disable-triggers", "--no-comments"),
}


@pytest.mark.parametrize("options", _OPTIONS.values(), ids=_OPTIONS.keys())
def test_a_dump_of_a_schema_with_data_creates_the_same_database(
    databases: DatabasePair, options: tuple[str, ...]
) -> None:
    assert databases.run_psql(databases.write_script(_COMBINED_SCRIPT)).error is None
    databases.write_script(databases.dump(databases.psql_conninfo, *options))
    assert databases.migrate().error is None
    compared = ("--no-comments",) if "--no-comments" in options else ()
    assert databases.dump_contents(databases.kernel_conninfo, *compared) == databases.dump_contents(
        databases.psql_conninfo, *compared
    )


@pytest.mark.parametrize("name", [name for name, case in _SCRIPTS.items() if not case.fails and not case.refusals])
def test_a_dump_of_every_script_has_the_same_effects_as_with_psql(
    databases: DatabasePair, database: str, name: str
) -> None:
    """Some output of pg_dump cannot be restored; then psql fails in the same way."""
    case = _SCRIPTS[name]
    created = databases.run_psql(
        databases.write_script(case.script), one_transaction=bool(case.one_transaction), conninfo=database
    )
    if created.error:
        pytest.skip(f"this PostgreSQL cannot run it: {created.error.message}")
    dump = databases.dump(database)
    script = databases.write_script(dump)
    psql_error, error = databases.run_psql(script).error, databases.migrate().error
    assert (error and str(error)) == (psql_error and psql_error.message)
    if not psql_error:
        assert databases.dump_contents(databases.kernel_conninfo) == databases.dump_contents(databases.psql_conninfo)


def test_a_dump_with_large_objects_runs_as_it_is(databases: DatabasePair) -> None:
    databases.run_psql(databases.write_script(_SCRIPTS["120_large_objects"].script))
    databases.write_script(databases.dump(databases.psql_conninfo))
    assert databases.migrate().error is None
    assert databases.dump_contents(databases.kernel_conninfo) == databases.dump_contents(databases.psql_conninfo)
