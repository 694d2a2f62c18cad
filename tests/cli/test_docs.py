"""db.docs as a user runs it: files from migrations, --check after a change, the database of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project


def test_a_changed_comment_makes_the_documentation_out_of_date(project: Project) -> None:
    first = project.migrations / "001_create_users.sql"
    first.write_text("CREATE TABLE users (id int);\nCOMMENT ON TABLE users IS 'People';\n")
    second = project.migrations / "002_add_mail.sql"
    second.write_text("ALTER TABLE users ADD COLUMN mail text;\n")
    written = project.call("db.docs")
    assert written.code == 0, written.err
    assert written.out == "docs/schema/schema.json\ndocs/schema/schema.sql\nmigrations/SCHEMA.md\n"
    text = (project.migrations / "SCHEMA.md").read_text()
    assert "| `mail` | `text` | yes | [002](002_add_mail.sql) |" in text
    assert project.call("db.docs", "--check").code == 0
    assert project.call("db.verify", "--offline").code == 0
    first.write_text(first.read_text().replace("People", "Persons"))
    stale = project.call("db.docs", "--check")
    assert stale.code == 4
    assert "-People\n+Persons\n" in stale.out
    assert "write it with: inv db.docs" in stale.err
    assert (project.migrations / "SCHEMA.md").read_text() == text


@pytest.mark.slow
def test_a_file_that_cannot_run_is_named_in_the_documentation(project: Project) -> None:
    (project.migrations / "001_create_users.sql").write_text("CREATE TABLE users (id int);\n")
    (project.migrations / "002_fail.sql").write_text("SELECT 1 / 0;\n")
    ended = project.call("db.docs")
    assert (ended.code, "002_fail.sql:1: division by zero" in ended.err) == (0, True)
    assert "empty database: [`002_fail.sql`](002_fail.sql)." in (project.migrations / "SCHEMA.md").read_text()


@pytest.mark.slow
def test_live_documents_what_is_in_the_database(project: Project) -> None:
    (project.migrations / "001_create_users.sql").write_text("CREATE TABLE users (id int);\n")
    project.connection.execute("CREATE TABLE users (id int, by_hand text)")
    ended = project.call("db.docs", "--live", "--output", "live")
    assert ended.code == 0, ended.err
    page = (project.root / "live/public.users.md").read_text()
    assert "| `by_hand` | `text` | yes |  |" in page
    assert "[001](../migrations/001_create_users.sql)" in page


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_refused_with_its_name(project: Project) -> None:
    (project.migrations / "001_create_users.sql").write_text("CREATE TABLE users (id int);\n")
    for output, reason in (
        ("", "empty"),
        ("tasks.py", "neither a folder nor a file"),
        ("migrations", "holds migrations"),
    ):
        refused = project.call("db.docs", "--output", output)
        assert (refused.code, refused.out) == (2, "")
        assert reason in refused.err
