"""A migration that a privilege stops names the statement that gives it: run as written, it lets the next run pass."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from kernel.errors import DatabaseRefused, DatabaseUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Project

# What the owner of the application has made: `limited` may use the schema app, and nothing in it.
OBJECTS = """
CREATE SCHEMA app AUTHORIZATION {owner};
SET ROLE {owner};
CREATE TABLE app.orders (id serial PRIMARY KEY, "Total" int);
CREATE TABLE app."Line items" (id int);
CREATE VIEW app.recent AS SELECT * FROM app.orders;
CREATE MATERIALIZED VIEW app.totals AS SELECT 1 AS total;
CREATE SEQUENCE app.numbers;
CREATE TYPE app.mood AS ENUM ('glad');
CREATE FUNCTION app.double(n int, m text DEFAULT '') RETURNS int LANGUAGE sql AS 'SELECT n * 2';
REVOKE ALL ON FUNCTION app.double FROM PUBLIC;
REVOKE ALL ON TYPE app.mood FROM PUBLIC;
CREATE SCHEMA hidden;
CREATE TABLE hidden.secret (id int PRIMARY KEY);
RESET ROLE;
GRANT USAGE ON SCHEMA app TO {limited};
GRANT CREATE ON SCHEMA public TO {limited};
"""
STATEMENTS = [
    ("SELECT count(*) FROM app.orders;", "GRANT SELECT ON TABLE app.orders TO {limited}"),
    ("UPDATE app.orders SET id = 2 WHERE id = 1;", "GRANT SELECT, UPDATE ON TABLE app.orders TO {limited}"),
    ("SELECT app.double(2);", "GRANT EXECUTE ON FUNCTION app.double(n integer, m text) TO {limited}"),
    ("SELECT * FROM hidden.secret;", "GRANT USAGE ON SCHEMA hidden TO {limited}"),
    ("CREATE TABLE app.mine (id int);", "GRANT CREATE ON SCHEMA app TO {limited}"),
    ("ALTER TABLE app.orders ADD COLUMN note text;", "GRANT {owner} TO {limited}"),
    (
        "DO $$ BEGIN INSERT INTO app.orders VALUES (1); END $$;",
        "GRANT INSERT ON TABLE app.orders TO {limited}",
    ),
]
FURTHER_STATEMENTS = [
    pytest.param("GRANT SELECT ON app.orders TO PUBLIC;", "GRANT {owner} TO {limited}", marks=pytest.mark.slow),
    pytest.param(
        'INSERT INTO app."Line items" VALUES (1);',
        'GRANT INSERT ON TABLE app."Line items" TO {limited}',
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "DELETE FROM ONLY app.orders WHERE id = 1;",
        "GRANT SELECT, DELETE ON TABLE app.orders TO {limited}",
        marks=pytest.mark.slow,
    ),
    pytest.param("TRUNCATE app.orders;", "GRANT TRUNCATE ON TABLE app.orders TO {limited}", marks=pytest.mark.slow),
    pytest.param(
        "COPY app.orders FROM stdin;\n1\t2\n\\.\n",
        "GRANT INSERT ON TABLE app.orders TO {limited}",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "CREATE TABLE mine AS SELECT * FROM app.orders;",
        "GRANT SELECT ON TABLE app.orders TO {limited}",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "CREATE TABLE mine (id int REFERENCES app.orders);",
        "GRANT REFERENCES ON TABLE app.orders TO {limited}",
        marks=pytest.mark.slow,
    ),
    pytest.param("SELECT * FROM app.recent;", "GRANT SELECT ON TABLE app.recent TO {limited}", marks=pytest.mark.slow),
    pytest.param("SELECT * FROM app.totals;", "GRANT SELECT ON TABLE app.totals TO {limited}", marks=pytest.mark.slow),
    pytest.param(
        "SELECT nextval('app.numbers');", "GRANT USAGE ON SEQUENCE app.numbers TO {limited}", marks=pytest.mark.slow
    ),
    pytest.param(
        "SELECT setval('app.numbers', 7);", "GRANT UPDATE ON SEQUENCE app.numbers TO {limited}", marks=pytest.mark.slow
    ),
    pytest.param(
        "CREATE TABLE mine (mood app.mood);", "GRANT USAGE ON TYPE app.mood TO {limited}", marks=pytest.mark.slow
    ),
    pytest.param("CREATE SCHEMA mine;", "GRANT CREATE ON DATABASE {database} TO {limited}", marks=pytest.mark.slow),
    pytest.param(
        "CREATE TEMPORARY TABLE mine (id int);",
        "GRANT TEMPORARY ON DATABASE {database} TO {limited}",
        marks=pytest.mark.slow,
    ),
    pytest.param("CREATE INDEX ON app.orders (id);", "GRANT {owner} TO {limited}", marks=pytest.mark.slow),
    pytest.param("DROP INDEX app.orders_pkey;", "GRANT {owner} TO {limited}", marks=pytest.mark.slow),
    pytest.param("DROP FUNCTION app.double;", "GRANT {owner} TO {limited}", marks=pytest.mark.slow),
    pytest.param("REFRESH MATERIALIZED VIEW app.totals;", "GRANT {owner} TO {limited}", marks=pytest.mark.slow),
    pytest.param("SET LOCAL ROLE {owner};", "GRANT {owner} TO {limited}", marks=pytest.mark.slow),
]
REMEDY = re.compile(r"let (?:its owner|an administrator|the owner of the database|a superuser|\w+) run: (.+)")


@pytest.fixture
def limited(project: Project) -> Iterator[Project]:
    """The project as a role with few privileges, next to the owner of the schemas app and hidden."""
    database = project.look.info.dbname
    limited, owner = f"limited_{database}", f"owner_{database}"
    project.rows(
        f"CREATE ROLE {limited} LOGIN; CREATE ROLE {owner}; REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"
    )
    project.rows(f"GRANT CREATE ON DATABASE {database} TO {owner}")
    project.rows(OBJECTS.format(owner=owner, limited=limited))
    yield project.reached(user=limited)
    project.rows(f"DROP OWNED BY {limited}, {owner} CASCADE; DROP ROLE {limited}, {owner}")


@pytest.mark.parametrize(("statement", "remedy"), [*STATEMENTS, *FURTHER_STATEMENTS])
def test_the_grant_in_the_message_is_what_lacked(
    project: Project, limited: Project, statement: str, remedy: str
) -> None:
    database = project.look.info.dbname
    names = {"limited": f"limited_{database}", "owner": f"owner_{database}", "database": database}
    if statement.startswith("REFRESH") and project.look.info.server_version >= 170000:
        remedy = "GRANT MAINTAIN ON TABLE app.totals TO {limited}"
    project.put("001_a.sql", statement.replace("{owner}", names["owner"]))
    hint = limited.failure().hint or ""
    assert hint.endswith(f"run: {remedy.format(**names)}")
    project.rows(remedy.format(**names))
    if "hidden" in statement:  # the table in the schema needs a privilege of its own
        found = REMEDY.search(limited.failure().hint or "")
        assert found
        project.rows(found[1])
    if "pkey" not in statement:  # which is a constraint's, and stays
        limited.migrate()


def test_a_table_of_a_superuser_changes_its_owner_instead_of_lending_the_role(
    project: Project, limited: Project
) -> None:
    project.rows("CREATE TABLE app.legacy (id int)")
    project.put("001_a.sql", "ALTER TABLE app.legacy ADD COLUMN note text;")
    found = REMEDY.search(limited.failure().hint or "")
    assert found
    assert found[1] == f"ALTER TABLE app.legacy OWNER TO limited_{project.look.info.dbname}"
    project.rows(found[1])
    limited.migrate()


def test_a_role_that_the_file_sets_is_not_taken_for_that_of_the_runner(project: Project, limited: Project) -> None:
    database = project.look.info.dbname
    project.rows(f"GRANT pg_monitor TO limited_{database}; GRANT SELECT ON app.orders TO limited_{database}")
    project.put("001_a.sql", "SET LOCAL ROLE pg_monitor;\nSELECT * FROM app.orders;")
    hint = limited.failure().hint or ""
    assert "GRANT USAGE ON SCHEMA app" not in hint
    assert "let the owner GRANT it" in hint


def test_a_step_outside_of_a_transaction_names_its_grant_too(project: Project, limited: Project) -> None:
    project.put("001_a.sql", "-- migrate: no-transaction\nSELECT 1;\nVACUUM;\nDELETE FROM app.orders;")
    assert "GRANT DELETE ON TABLE app.orders TO" in (limited.failure().hint or "")


def test_a_privilege_to_connect_is_granted_in_the_message(project: Project, limited: Project) -> None:
    database = project.look.info.dbname
    project.rows(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    project.put("001_a.sql", "SELECT 1;")
    with pytest.raises(DatabaseUnreachable) as refused:
        limited.migrate()
    found = REMEDY.search(refused.value.hint or "")
    assert found
    assert found[1] == f"GRANT CONNECT ON DATABASE {database} TO limited_{database}"
    project.rows(f"{found[1]}; ALTER ROLE limited_{database} NOLOGIN")
    with pytest.raises(DatabaseUnreachable) as refused:
        limited.migrate()
    found = REMEDY.search(refused.value.hint or "")
    assert found
    project.rows(found[1])
    limited.migrate()


def test_a_search_path_of_schemas_that_the_role_may_not_use_names_the_grant(project: Project, limited: Project) -> None:
    project.put("001_a.sql", "SELECT 1;")
    project.rows("REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO pg_monitor")
    project.rows(f"REVOKE ALL ON SCHEMA public FROM limited_{project.look.info.dbname}")
    with pytest.raises(DatabaseRefused, match="no privilege to use schema public; let its owner run: ") as refused:
        limited.states()
    project.rows(str(refused.value).partition("run: ")[2])
    assert list(limited.states()) == ["001"]
