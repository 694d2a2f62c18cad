"""The GRANT blocks of docs/production.md: with them a task works; without one of them its output has that statement."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.cli.conftest import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Completed, Project

ROLES = ("kernel_deploy", "kernel_status", "kernel_dump", "kernel_app", "former_login", "kernel_owner")
MIGRATE, STATUS, SESSIONS = "Migrate", "Read the status", "Look at other sessions"
DUMP, APPLICATION = "Dump for a rehearsal", "The application"


@cache
def blocks(heading: str) -> tuple[tuple[str, ...], ...]:
    """The SQL blocks below a heading of the page, each as its statements."""
    page = (CHECKOUT / "docs/production.md").read_text(encoding="utf-8")
    level = "#" * (2 if heading == "Roles and privileges" else 3)
    section = re.split(r"^##+ ", page.partition(f"\n{level} {heading}\n")[2], flags=re.MULTILINE)[0]
    found = re.findall(r"^```sql\n(.+?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found, heading
    without_comments = (re.sub(r"^--.*\n", "", text, flags=re.MULTILINE) for text in found)
    return tuple(
        tuple(" ".join(statement.split()) for statement in text.split(";") if statement.strip())
        for text in without_comments
    )


@dataclass(frozen=True, kw_only=True)
class GrantSet:
    """Blocks of the page, the task that they are for, and what is in the database before.

    The blocks are (heading, number); the statements of the last one are left out in turn, as those of the others are in
    sets of their own. `before` is SQL, `migrated_by` has applied a first file, and `pending` is what the task finds.
    """

    name: str
    blocks: tuple[tuple[str, int], ...]
    user: str
    task: tuple[str, ...]
    environ: tuple[tuple[str, str], ...] = ()
    pending: str = "CREATE TABLE orders (id int);"
    before: str = ""
    migrated_by: str = ""
    verify: str = ""
    test_db: bool = False
    expected: str = ""

    @property
    def tested(self) -> tuple[str, ...]:
        heading, number = self.blocks[-1]
        return blocks(heading)[number]


AS_OWNER = (("KERNEL_ROLE", "kernel_owner"),)
SETS = (
    GrantSet(name="migrate", blocks=((MIGRATE, 0),), user="kernel_deploy", task=("db.migrate",), environ=AS_OWNER),
    GrantSet(
        name="status", blocks=((STATUS, 0),), task=("db.status",), user="kernel_status", migrated_by="administrator"
    ),
)
FURTHER_SETS = (
    GrantSet(
        name="migrate with schemas",
        blocks=((MIGRATE, 0), (MIGRATE, 1)),
        user="kernel_deploy",
        task=("db.migrate",),
        environ=AS_OWNER,
        pending="CREATE SCHEMA shop;\nCREATE TABLE shop.orders (id int);",
    ),
    GrantSet(
        name="migrate tables of a former login",
        blocks=((MIGRATE, 0), (MIGRATE, 2)),
        user="kernel_deploy",
        task=("db.migrate",),
        environ=AS_OWNER,
        pending="ALTER TABLE customers ADD COLUMN note text;",
        before="SET ROLE former_login; CREATE TABLE customers (id int); RESET ROLE",
        # The ledger is the runner's already; what lacks is the table.
        migrated_by="kernel_owner",
        expected="must be owner of table customers .* GRANT former_login TO kernel_owner",
    ),
    GrantSet(
        name="sessions",
        blocks=((STATUS, 0), (SESSIONS, 0)),
        task=("db.preflight",),
        pending="ALTER TABLE customers ADD COLUMN note text;",
        before="CREATE TABLE customers (id int)",
        user="kernel_status",
        migrated_by="administrator",
    ),
    GrantSet(
        name="dump", blocks=((DUMP, 0),), user="kernel_dump", task=("db.snapshot-test",), migrated_by="administrator"
    ),
    GrantSet(
        name="dump of row security",
        blocks=((DUMP, 0), (DUMP, 1)),
        user="kernel_dump",
        task=("db.snapshot-test",),
        before="CREATE TABLE secrets (id int); ALTER TABLE secrets ENABLE ROW LEVEL SECURITY",
        migrated_by="administrator",
    ),
    GrantSet(
        name="schema",
        blocks=((STATUS, 0),),
        task=("db.verify", "--schema"),
        user="kernel_status",
        migrated_by="administrator",
    ),
)


def cases(sets: tuple[GrantSet, ...]) -> list[object]:
    """The sets, whole and without each statement. The progress of files is what db.status shows, and not db.verify."""
    return [
        pytest.param(one, left_out, id=f"{one.name}, without {left_out or 'nothing'}")
        for one in sets
        for left_out in (None, *one.tested)
        if not (one.name == "schema" and "progress" in (left_out or ""))
    ]


@pytest.fixture
def prepared(project: Project) -> Iterator[Project]:
    """The roles of the page, in a database that is closed to everybody."""
    project.rows("CREATE ROLE former_login LOGIN")
    run(project, blocks("Roles and privileges")[0])
    project.rows("GRANT USAGE, CREATE ON SCHEMA public TO former_login")
    yield project
    for name in ("copy", "copy_golden"):
        project.rows(f"DROP DATABASE IF EXISTS {project.connection.info.dbname}_{name} WITH (FORCE)")
    roles = ", ".join(ROLES)
    project.rows(f"DROP OWNED BY {roles} CASCADE; DROP ROLE {roles}")


def run(project: Project, statements: tuple[str, ...]) -> None:
    """Run statements of the page as an administrator, on the database of the test."""
    for statement in statements:
        project.rows(statement.replace("DATABASE kernel ", f"DATABASE {project.connection.info.dbname} "))


def shown(project: Project, result: Completed) -> str:
    """What a task printed, in the words of the page: its database, and names without schema and quotes."""
    text = f"{result.out}\n{result.err}".replace(f"DATABASE {project.connection.info.dbname} ", "DATABASE kernel ")
    return " ".join(text.replace('"', "").replace("public.", "").split())


def attempt(project: Project, grants: GrantSet, left_out: str | None) -> Completed:
    """Grant all but one statement, and run the task."""
    project.write("001_first.sql", "SELECT 1;")
    if grants.migrated_by == "kernel_owner":
        for heading, number in grants.blocks[:-1]:
            run(project, blocks(heading)[number])
    if grants.migrated_by:
        environ = {"KERNEL_ROLE": "kernel_owner"} if grants.migrated_by == "kernel_owner" else {}
        assert project.call("db.migrate", **environ).code == 0
    if grants.before:
        project.rows(grants.before)
    if grants.verify:
        project.write("verify/001_first.sql", grants.verify)
    project.write("002_second.sql", grants.pending)
    for heading, number in grants.blocks:
        run(project, tuple(one for one in blocks(heading)[number] if one != left_out))
    url = "PROD_DB" if grants.task == ("db.snapshot-test",) else "DATABASE_URL"
    environ = {url: project.url_with(user=grants.user), **dict(grants.environ)}
    if url == "PROD_DB":
        environ["DATABASE_URL"] = ""
    if grants.test_db:
        environ["TEST_DB"] = project.url_with(user=grants.user, dbname=f"{project.connection.info.dbname}_copy")
    return project.call(*grants.task, **environ)


def check(project: Project, grants: GrantSet, left_out: str | None) -> None:
    result = attempt(project, grants, left_out)
    text = shown(project, result)
    if left_out is None:
        assert result.code == 0, text
        assert not any(one in text for one in grants.tested), text
        return
    assert re.search(grants.expected or re.escape(left_out), text), text
    only_warns = "progress" in left_out or "pg_read_all_stats" in left_out
    assert result.code in ((0,) if only_warns else (4, 6, 7)), text


@pytest.mark.parametrize(("grants", "left_out"), cases(SETS))
def test_a_task_works_with_its_grants_and_names_the_one_that_is_missing(
    prepared: Project, grants: GrantSet, left_out: str | None
) -> None:
    check(prepared, grants, left_out)


@pytest.mark.slow
@pytest.mark.parametrize(("grants", "left_out"), cases(FURTHER_SETS))
def test_the_less_common_tasks_too(prepared: Project, grants: GrantSet, left_out: str | None) -> None:
    check(prepared, grants, left_out)


def test_the_application_reads_and_writes_what_later_migrations_create_and_not_the_ledger(prepared: Project) -> None:
    first, afterwards = blocks(APPLICATION)
    run(prepared, blocks(MIGRATE)[0])
    run(prepared, first)
    prepared.write("001_orders.sql", "CREATE TABLE orders (id serial PRIMARY KEY, note text);")
    deploy = {"DATABASE_URL": prepared.url_with(user="kernel_deploy"), "KERNEL_ROLE": "kernel_owner"}
    assert prepared.inv("db.migrate", **deploy).code == 0
    run(prepared, afterwards)
    assert (
        prepared.value("SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'") == "kernel_owner"
    )
    with psycopg.connect(prepared.url_with(user="kernel_app"), autocommit=True) as application:
        application.execute("INSERT INTO orders (note) VALUES ('a'); UPDATE orders SET note = 'b'; DELETE FROM orders")
        for statement in (
            "DELETE FROM schema_migrations",
            "SELECT FROM schema_migrations_progress",
            "ALTER TABLE orders ADD COLUMN total int",
            "CREATE TABLE mine (id int)",
            "TRUNCATE orders",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                application.execute(statement.encode())


def test_the_queries_for_watching_a_run_are_valid(project: Project) -> None:
    page = (CHECKOUT / "docs/production.md").read_text(encoding="utf-8")
    (block,) = re.findall(
        r"```sql\n(.+?)^```", page.partition("\n## What to watch\n")[2].partition("\n## ")[0], re.DOTALL | re.MULTILINE
    )
    queries = [one for one in block.split(";") if one.strip()]
    assert len(queries) == 4
    for query in queries:
        assert project.connection.execute(query.encode()).description
