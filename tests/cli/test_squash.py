"""db.squash: one file in place of the older ones, on databases that have all of them, some of them, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Project

pytestmark = pytest.mark.slow

TEXTS = {
    "001_create_users.sql": (
        "CREATE TABLE users (id serial PRIMARY KEY, name text);\nGRANT SELECT ON users TO squash_reader;\n"
    ),
    "002_add_names.sql": "INSERT INTO users (name) VALUES ('a'), (E'b\\\\\\n\\tc');\n",
    "003_index_names.sql": "CREATE INDEX CONCURRENTLY users_name ON users (name);\n",
}
REVERTS = {"001_create_users.sql": "DROP TABLE users;\n"}
AFTER = {"004_add_age.sql": "ALTER TABLE users ADD COLUMN age int;\n"}


@pytest.fixture
def history(project: Project, role: str) -> Project:
    """A project with three files to squash, and one after them; the files expect a role."""
    for name, text in (TEXTS | AFTER).items():
        project.write(name, text.replace("squash_reader", role))
    for name, text in REVERTS.items():
        project.write(f"revert/{name}", text)
    return project


def names(project: Project) -> list[str]:
    return sorted(str(path.relative_to(project.migrations)) for path in project.migrations.rglob("*.sql"))


@pytest.fixture
def fresh(project: Project) -> Iterator[str]:
    """The URL of another, empty database."""
    name = f"{project.value('SELECT current_database()')}_fresh"
    project.rows(f"CREATE DATABASE {name}")
    yield project.url_with(dbname=name)
    project.rows(f"DROP DATABASE {name} WITH (FORCE)")


def test_one_file_replaces_the_older_ones_and_makes_the_same_database(history: Project, role: str, fresh: str) -> None:
    assert history.inv("db.migrate").code == 0
    squashed = history.inv("db.squash", "all_users", "--to", "3")
    assert squashed.code == 0, squashed.err
    assert squashed.out.splitlines() == [
        (
            "migrations/003_all_users.sql: replaces 001 to 003 (3 files), with the 2 rows that they insert; "
            "both make the same database"
        ),
        "moved the older files to migrations/replaced/003_all_users/, for databases that have only some of them",
    ]
    assert f"the files expect the role {role}, which a database needs for the new file too" in squashed.err
    assert names(history) == [
        "003_all_users.sql",
        "004_add_age.sql",
        "replaced/003_all_users/001_create_users.sql",
        "replaced/003_all_users/002_add_names.sql",
        "replaced/003_all_users/003_index_names.sql",
        "replaced/003_all_users/revert/001_create_users.sql",
    ]
    assert history.inv("db.verify", "--offline").code == 0
    assert history.inv("db.migrate", DATABASE_URL=fresh).code == 0
    with psycopg.connect(fresh) as connection:
        rows = connection.execute("SELECT * FROM users ORDER BY id").fetchall()
        assert rows == history.rows("SELECT * FROM users ORDER BY id")
        assert connection.execute("SELECT nextval('users_id_seq')").fetchone() == (3,)


def test_where_all_replaced_files_are_applied_the_file_is_recorded_and_not_run(history: Project) -> None:
    assert history.inv("db.migrate", "--to", "3").code == 0
    history.inv("db.squash", "all_users", "--to", "3")
    before = history.state()
    status = history.inv("db.status", "--json").document
    assert [one["state"] for one in status["migrations"]] == ["applied", "pending"]
    assert history.inv("db.migrate", "--dry-run").out.startswith("003_all_users.sql: would be recorded, not run")
    assert history.state() == before
    migrated = history.inv("db.migrate", "--json").document
    assert [one["version"] for one in migrated["applied"]] == ["004"]
    assert migrated["recorded"] == [{"version": "003", "filename": "003_all_users.sql"}]
    assert history.rows("SELECT version, filename FROM schema_migrations ORDER BY version") == [
        ("001", "001_create_users.sql"),
        ("002", "002_add_names.sql"),
        ("003", "003_all_users.sql"),
        ("004", "004_add_age.sql"),
    ]
    after = history.state()
    assert history.inv("db.migrate").out.endswith("2 of 2 applied\n")
    assert history.inv("db.status", "--check").code == 0
    assert history.inv("db.verify").code == 0
    assert history.state() == after


def test_a_role_that_may_not_update_the_record_is_refused(history: Project, role: str) -> None:
    assert history.inv("db.migrate").code == 0
    history.rows(f"GRANT SELECT, INSERT ON schema_migrations TO {role}")
    history.inv("db.squash", "all_users", "--to", "3")
    refused = history.inv("db.migrate", DATABASE_URL=history.url_with(user=role))
    assert refused.code == 7
    assert "no privilege for UPDATE on public.schema_migrations" in refused.err


def test_the_record_is_made_with_nothing_else_to_apply(history: Project) -> None:
    assert history.inv("db.migrate").code == 0
    history.inv("db.squash", "all_users", "--to", "3")
    migrated = history.inv("db.migrate")
    assert migrated.out.startswith("003_all_users.sql: recorded, not run: the files 001 to 003 that it replaces are")
    assert history.value("SELECT filename FROM schema_migrations WHERE version = '003'") == "003_all_users.sql"


def test_where_some_are_applied_the_run_is_refused_and_the_remedy_works(history: Project) -> None:
    assert history.inv("db.migrate", "--to", "2").code == 0
    history.inv("db.squash", "all_users", "--to", "3")
    before = history.state()
    refused = history.inv("db.migrate")
    assert refused.code == 4
    assert "of which 003 is not applied here" in refused.err
    assert history.inv("db.status", "--check").code == 4
    assert history.inv("db.verify").code == 4
    assert history.state() == before
    folder = "migrations/replaced/003_all_users"
    assert f"KERNEL_MIGRATIONS_DIR={folder} inv db.migrate" in refused.err
    assert history.inv("db.migrate", KERNEL_MIGRATIONS_DIR=folder).code == 0
    assert history.inv("db.migrate").code == 0
    assert history.inv("db.status", "--check").code == 0


def test_a_replaced_file_that_was_recorded_with_other_content_is_accepted_by_the_user_only(history: Project) -> None:
    assert history.inv("db.migrate").code == 0
    history.rows("UPDATE schema_migrations SET checksum = repeat('a', 64) WHERE version = '002'")
    history.inv("db.squash", "all_users", "--to", "3")
    refused = history.inv("db.migrate")
    assert refused.code == 4
    assert "of which 002 is recorded here with other content" in refused.err
    assert history.inv("db.repair", "--accept", "3").code == 0
    assert history.inv("db.migrate").code == 0
    assert history.inv("db.status", "--check").code == 0


def test_the_record_of_a_squash_file_is_not_rolled_back(history: Project) -> None:
    history.inv("db.squash", "all_users", "--to", "3")
    assert history.inv("db.migrate").code == 0
    refused = history.inv("db.rollback", "--steps", "2")
    assert (refused.code, history.recorded()) == (2, ["003", "004"])
    assert "003_all_users.sql: stands for the files 001 to 003, so its record stays" in refused.err
    assert history.inv("db.rollback").code == 0


def test_a_baseline_records_the_squash_file(history: Project) -> None:
    history.inv("db.squash", "all_users", "--to", "3")
    assert history.inv("db.baseline", "--to", "3").code == 0
    assert history.recorded() == ["003"]


def test_files_squashed_twice_are_known_by_a_database_that_saw_neither(history: Project) -> None:
    assert history.inv("db.migrate").code == 0
    history.inv("db.squash", "all_users", "--to", "3")
    assert history.inv("db.squash", "all_again", "--to", "4").code == 0
    assert history.inv("db.migrate").code == 0
    assert history.inv("db.status", "--check").code == 0
    assert history.value("SELECT filename FROM schema_migrations WHERE version = '004'") == "004_all_again.sql"


def test_a_file_that_another_branch_added_below_the_number_gets_the_next_free_number(history: Project) -> None:
    history.inv("db.squash", "all_users", "--to", "3")
    assert history.inv("db.migrate").code == 0
    history.write("002_of_a_branch.sql", "CREATE TABLE of_a_branch (id int);\n")
    refused = history.inv("db.migrate")
    assert refused.code == 2
    assert "give it the next free number with: inv db.renumber 002_of_a_branch.sql" in refused.err
    assert history.inv("db.renumber", "002_of_a_branch.sql").out == "migrations/005_of_a_branch.sql\n"
    assert history.inv("db.migrate").code == 0
    assert "of_a_branch" in history.tables()


def test_a_file_without_a_statement_can_be_replaced(history: Project) -> None:
    assert history.inv("db.new", "nothing").out == "migrations/005_nothing.sql\n"
    assert history.inv("db.migrate", "--allow-empty").code == 0
    assert history.inv("db.squash", "all_users", "--to", "5").code == 0
    assert history.inv("db.migrate").code == 0
    assert history.recorded() == ["001", "002", "003", "004", "005"]


def test_a_dry_run_proves_and_changes_no_file(history: Project) -> None:
    before = names(history)
    proved = history.inv("db.squash", "all_users", "--to", "3", "--dry-run", "--json").document
    assert (proved["path"], proved["rows"], proved["dry_run"]) == ("migrations/003_all_users.sql", 2, True)
    assert [one["version"] for one in proved["replaced"]] == ["001", "002", "003"]
    assert names(history) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALTER TABLE users OWNER TO {role};\n", "table public.users: owner {role} -> "),
        (
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''3MB''', current_database()); END $$;\n",
            "database: setting work_mem",
        ),
        ("CREATE ROLE {role}_login LOGIN PASSWORD 'x';\n", "role {role}_login: made or changed by the older files"),
        ("COMMENT ON ROLE {role} IS 'reads';\n", "comment on role {role}: made or changed by the older files"),
        ("ALTER SYSTEM SET work_mem = '3MB';\n", "setting of the server work_mem: made or changed by the older files"),
        ("SELECT 1 FROM nowhere;\n", '004_add_age.sql:1: relation "nowhere" does not exist'),
    ],
)
def test_what_the_file_would_not_carry_is_refused_and_nothing_is_moved(
    history: Project, role: str, text: str, expected: str
) -> None:
    history.write("004_add_age.sql", text.format(role=role) if "{role}" in text else text)
    before = names(history)
    refused = history.inv("db.squash", "all_users", "--to", "4")
    assert refused.code == 2
    assert expected.format(role=role) in refused.err
    assert names(history) == before


def test_roles_that_the_files_make_are_made_by_the_new_file(history: Project, role: str) -> None:
    made = f"CREATE ROLE {role}_made LOGIN CONNECTION LIMIT 3;\nGRANT {role} TO {role}_made;\n"
    history.write("004_add_age.sql", made)
    squashed = history.inv("db.squash", "all_users", "--to", "4")
    assert squashed.code == 0, squashed.err
    text = (history.migrations / "004_all_users.sql").read_text()
    assert f"CREATE ROLE {role}_made LOGIN CONNECTION LIMIT 3;" in text
    assert f"GRANT {role} TO {role}_made;" in text


def test_a_signal_leaves_the_files_as_they_were(history: Project) -> None:
    history.write("002_add_names.sql", "SELECT pg_sleep(60);\n")
    before = names(history)
    child = history.start("db.squash", "all_users", "--to", "3")
    assert child.stderr is not None
    assert child.stderr.readline().startswith("running 001 to 003 on PostgreSQL ")
    child.terminate()
    stopped = history.ended(child)
    assert (stopped.code, stopped.err.splitlines()[-1]) == (143, "error: terminated; no file was changed")
    assert names(history) == before


def test_a_directory_that_cannot_take_the_older_files_is_left_as_it_was(history: Project) -> None:
    (history.migrations / "replaced").write_text("a file where the folder would be")
    before = names(history)
    refused = history.inv("db.squash", "all_users", "--to", "3")
    assert refused.code == 2
    assert "cannot be written" in refused.err
    assert names(history) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("all_users",), "db.squash: needs the last version to replace: --to 040"),
        (("all_users", "--to", "9"), "--to 9: no migration file has this version"),
        (("all_users", "--to", "1"), "001_create_users.sql would replace itself only"),
        (("index_names", "--to", "3"), "003_index_names.sql: exists; choose another name"),
        (("--users", "--to", "3"), "name: begins with -, like a flag"),
    ],
)
def test_wrong_arguments_are_refused(history: Project, arguments: tuple[str, ...], expected: str) -> None:
    refused = history.inv("db.squash", *arguments)
    assert refused.code == 2
    assert expected in refused.err


def test_the_record_of_a_deleted_file_is_forgotten(three: Project) -> None:
    assert three.inv("db.migrate").code == 0
    there = three.inv("db.repair", "--forget", "2")
    assert (there.code, three.recorded()) == (2, ["001", "002", "003"])
    assert "--forget 2: 002_two.sql is there, and db.migrate would run it again" in there.err
    (three.migrations / "002_two.sql").unlink()
    assert three.inv("db.migrate").code == 4
    unconfirmed = three.inv("db.repair", "--forget", "2", KERNEL_STORAGE_MODE="SUPABASE")
    assert (unconfirmed.code, three.recorded()) == (2, ["001", "002", "003"])
    forgotten = three.inv("db.repair", "--forget", "2", "--yes", "--json", KERNEL_STORAGE_MODE="SUPABASE").document
    assert forgotten["forgotten"]["filename"] == "002_two.sql"
    assert three.recorded() == ["001", "003"]
    assert three.inv("db.migrate").code == 0
    assert "two" in three.tables()


def test_a_record_that_is_not_there_cannot_be_forgotten(three: Project) -> None:
    assert three.inv("db.migrate").code == 0
    refused = three.inv("db.repair", "--forget", "9")
    assert refused.code == 2
    assert "has no record of this version; see inv db.status" in refused.err
    both = three.inv("db.repair", "--forget", "9", "--accept", "9")
    assert both.code == 2
    assert "the one whose record to remove, --forget 009" in both.err


def test_forgetting_the_newest_record_warns_that_a_newer_release_may_have_its_file(three: Project) -> None:
    assert three.inv("db.migrate").code == 0
    (three.migrations / "003_three.sql").unlink()
    forgotten = three.inv("db.repair", "--forget", "3")
    assert forgotten.code == 0
    assert "warning: newer than every file here; a release that has 003_three.sql will run it again" in forgotten.err


def test_a_record_of_which_the_version_is_no_number_is_forgotten_by_its_text(three: Project) -> None:
    assert three.inv("db.migrate").code == 0
    three.rows("INSERT INTO schema_migrations VALUES ('v1.2', 'old.sql', now(), 'none')")
    assert three.inv("db.migrate").code == 4
    assert three.inv("db.repair", "--forget", "v1.2").code == 0
    assert three.inv("db.migrate").code == 0


def test_a_record_that_a_squash_file_needs_is_not_forgotten(history: Project) -> None:
    assert history.inv("db.migrate").code == 0
    history.inv("db.squash", "all_users", "--to", "3")
    refused = history.inv("db.repair", "--forget", "1")
    assert refused.code == 2
    assert "003_all_users.sql replaces this version; run inv db.migrate first" in refused.err
    assert history.inv("db.migrate").code == 0
    assert history.inv("db.repair", "--forget", "1").code == 0
    assert history.inv("db.status", "--check").code == 0
