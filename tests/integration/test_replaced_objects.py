"""Objects that a repeatable file drops and makes again, while another session does the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.apply import replaced_objects
from kernel.db.dependants import read_dependants, restore_statements

if TYPE_CHECKING:
    import pytest

    from kernel.db.connection import Connection
    from kernel.db.dependants import Dependant, ObjectIds
    from tests.integration.conftest import Project

# The change of another session, which also grants.
_MADE_AGAIN = (
    "DROP VIEW base CASCADE; CREATE VIEW base AS SELECT 1 AS one, 3 AS three; "
    "CREATE VIEW second AS SELECT one FROM base; GRANT SELECT ON base TO PUBLIC"
)


def test_objects_that_another_session_makes_again_meanwhile_keep_what_it_gave_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.put("001_nothing.sql", "SELECT 1;")
    project.put("repeatable/base.sql", "CREATE OR REPLACE VIEW base AS SELECT 1 AS one, 2 AS two;")
    project.put("repeatable/second.sql", "CREATE OR REPLACE VIEW second AS SELECT one FROM base;")
    project.migrate()
    changes = [_MADE_AGAIN]

    def before_change(connection: Connection, one: Dependant) -> tuple[str, ...]:
        found = restore_statements(connection, one)
        while changes:
            project.rows(changes.pop())
        return found

    monkeypatch.setattr(replaced_objects, "restore_statements", before_change)
    project.put("repeatable/base.sql", "CREATE OR REPLACE VIEW base AS SELECT 2 AS two, 1 AS one;")
    result = project.migrate()
    assert [event.migration.filename for event in result.repeated] == ["repeatable/base.sql", "repeatable/second.sql"]
    assert project.rows("SELECT two, one FROM base") == [(2, 1)]
    assert project.rows("SELECT one FROM second") == [(1,)]
    assert project.rows("SELECT has_table_privilege('pg_monitor', 'base', 'SELECT')") == [(True,)]


def test_an_object_that_is_gone_between_two_queries_of_the_catalog_is_no_error(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.put("001_nothing.sql", "SELECT 1;")
    project.put("repeatable/base.sql", "CREATE OR REPLACE VIEW base AS SELECT 1 AS one, 2 AS two;")
    project.migrate()
    changes = [_MADE_AGAIN]

    def after_change(connection: Connection, objects: ObjectIds) -> tuple[Dependant, ...]:
        while changes:
            project.rows(changes.pop())
        return read_dependants(connection, objects)

    monkeypatch.setattr(replaced_objects, "read_dependants", after_change)
    project.put("repeatable/base.sql", "CREATE OR REPLACE VIEW base AS SELECT 2 AS two, 1 AS one;")
    failed = project.failure()
    assert "view second depends on it, and no file in repeatable/ makes it" in str(failed.hint)
