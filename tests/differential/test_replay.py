"""Dumps as migrations: what pg_dump writes of a database makes that database again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from tests.differential import cases

if TYPE_CHECKING:
    from tests.differential.twins import Twins

_SCRIPTS = {case.name: case for case in cases.ALL}
# Scripts whose names do not meet, so that together they are one schema with data, in which much depends on much.
_MUSEUM = (
    *("001_tables", "005_identity_columns", "006_generated_columns", "009_list_and_hash_partitions"),
    *("012_check_constraints", "013_foreign_keys", "016_exclusion_constraints", "019_domains", "021_composite_types"),
    *("024_sequences", "025_views", "026_materialized_views", "030_triggers", "034_rules", "037_begin_atomic"),
    *("039_aggregates", "044_foreign_data", "047_grants", "050_comments_on_everything", "060_types_of_columns"),
    *("110_copy_text", "141_strings", "146_unicode"),
)
_MUSEUM_SCRIPT = b"\n".join(_SCRIPTS[name].script for name in _MUSEUM)

_OPTIONS = {
    "as it comes": (),
    "cleaning up first": ("--clean", "--if-exists"),
    "with INSERTs": ("--inserts", "--quote-all-identifiers"),
    "with INSERTs of several rows": ("--column-inserts", "--rows-per-insert=3", "--disable-dollar-quoting"),
    "without triggers": ("--disable-triggers", "--no-comments"),
}


@pytest.mark.parametrize("options", _OPTIONS.values(), ids=_OPTIONS.keys())
def test_a_dump_of_a_whole_schema_with_data_makes_it_again(twins: Twins, options: tuple[str, ...]) -> None:
    assert twins.run_psql(twins.put(_MUSEUM_SCRIPT)).error is None
    twins.put(twins.dump(twins.theirs, *options))
    assert twins.migrate().error is None
    left = ("--no-comments",) if "--no-comments" in options else ()
    assert twins.left(twins.ours, *left) == twins.left(twins.theirs, *left)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in _SCRIPTS.items() if not case.fails and not case.refusals])
def test_a_dump_of_what_a_script_leaves_behind_does_what_it_does_with_psql(
    twins: Twins, database: str, name: str
) -> None:
    """Some of what pg_dump writes does not make the same again, or anything; but then not with psql either."""
    case = _SCRIPTS[name]
    made = twins.run_psql(twins.put(case.script), one_transaction=bool(case.one_transaction), conninfo=database)
    if made.error:
        pytest.skip(f"this PostgreSQL cannot run it: {made.error.message}")
    dump = twins.dump(database)
    # pg_dump gives each large object a transaction of its own.
    script = twins.put(b"-- migrate: no-transaction\n" + dump if b"lo_open" in dump else dump)
    theirs, ours = twins.run_psql(script).error, twins.migrate().error
    assert (ours and str(ours)) == (theirs and theirs.message)
    if not theirs:
        assert twins.left(twins.ours) == twins.left(twins.theirs)


def test_a_dump_with_large_objects_is_refused_with_the_remedy_that_makes_it_run(twins: Twins) -> None:
    twins.run_psql(twins.put(_SCRIPTS["120_large_objects"].script))
    dump = twins.dump(twins.theirs)
    twins.put(dump)
    with pytest.raises(FilesInvalid, match="begin the file with -- migrate: no-transaction"):
        twins.migrate()
    assert twins.untouched()
    twins.put(b"-- migrate: no-transaction\n" + dump)
    assert twins.migrate().error is None
    assert twins.left(twins.ours) == twins.left(twins.theirs)
