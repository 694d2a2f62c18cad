"""An INVALID index never counts as built, whatever its name and whatever stopped the build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.apply.events import IndexBuildProgressed
from kernel.errors import FilesInvalid, MigrationFailed

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytestmark = pytest.mark.slow

HEAD = "-- migrate: no-transaction\n"
INDEXES = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 't'::regclass ORDER BY 1"
LONG = "idx_customer_subscription_invoices_on_organization_id_and_created_at_desc"
UMLAUTS = "i" + "ü" * 40  # 81 bytes, cut in the middle of a character at 63


@pytest.fixture(autouse=True)
def _table(project: Project) -> None:
    """A migrated database with a table `t` of one column that is not unique."""
    project.put("001_t.sql", "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1);")
    project.migrate()


NAMES = [
    LONG,
    f'"{LONG.upper()} {LONG}"',
    UMLAUTS,
    f'"{UMLAUTS}"',
    '"a""b"',
    '"a.b"',
    '"%s"',
    "i$",
    r'U&"\0061\0442"',
    "U&\"!0061!+01F600!!\" UESCAPE '!'",
    "MixedCase",
    "",
]


@pytest.mark.parametrize("if_not_exists", ["", "IF NOT EXISTS "])
def test_an_index_that_a_failed_build_left_is_dropped_and_built_again(project: Project, if_not_exists: str) -> None:
    for number, name in enumerate(filter(None, NAMES) if if_not_exists else NAMES, start=2):
        project.put(f"{number:03}_b.sql", f"CREATE UNIQUE INDEX CONCURRENTLY {if_not_exists}{name} ON public.t (a);")
        failed = project.failure()
        assert failed.failure.sqlstate == "23505", name
        assert failed.aftermath.endswith("is left INVALID; the next run drops it and builds it again")
        (left,) = project.rows(INDEXES)
        assert left[1] is False, name
        assert project.failure().failure.sqlstate == "23505", f"{name} is not taken for built"
        project.rows("DELETE FROM t WHERE ctid = '(0,1)'")
        project.migrate()
        assert project.rows(INDEXES) == [(left[0], True)], name
        assert project.recorded()[-1] == f"{number:03}"
        project.rows(f"DROP INDEX {left[0]}; TRUNCATE t; INSERT INTO t VALUES (1), (1)")


def test_an_invalid_index_that_the_runner_may_not_drop_is_named_with_what_drops_it(project: Project) -> None:
    project.put("002_b.sql", "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a);")
    project.failure()
    project.rows(
        "CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'dropping indexes is forbidden here'; END $$; "
        "CREATE EVENT TRIGGER forbid ON ddl_command_start WHEN TAG IN ('DROP INDEX') EXECUTE FUNCTION forbid()"
    )
    failed = project.failure()
    assert str(failed) == (
        "public.i was left INVALID, and the runner cannot drop it: dropping indexes is forbidden here"
    )
    assert failed.hint == ("let a role that may run: DROP INDEX CONCURRENTLY public.i; then run inv db.migrate again")


def test_an_invalid_index_of_another_origin_is_refused_by_any_name(project: Project) -> None:
    for name in filter(None, NAMES):
        with pytest.raises(psycopg.errors.UniqueViolation):
            project.rows(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON t (a)")
        (left,) = project.rows(INDEXES)
        project.put("002_b.sql", f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {name} ON t (a);")
        for _ in range(2):
            assert f"public.{left[0]} exists and is INVALID" in str(project.failure())
        assert project.rows(INDEXES) == [left]
        assert project.recorded() == ["001"]
        project.rows(f"DROP INDEX {left[0]}")


def test_an_invalid_index_is_not_taken_for_built_by_a_build_that_blocks_writes(project: Project) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        project.rows("CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a)")
    for number, text in enumerate(("CREATE INDEX IF NOT EXISTS t_a ON t (a);", "BEGIN;{};COMMIT;")):
        project.put("002_b.sql", HEAD + text.format("CREATE INDEX IF NOT EXISTS t_a ON t (a)"))
        failed = project.failure()
        assert "public.t_a exists and is INVALID, as a build that failed leaves it" in str(failed), number
        assert "drop it with DROP INDEX public.t_a, then" in str(failed)
    assert project.recorded() == ["001"]


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("CREATE INDEX IF NOT EXISTS t_a ON t (a);", True),
        ("SELECT 1;\nBEGIN;\nCREATE INDEX t_a ON t (a);\nCOMMIT;", False),
        ('BEGIN;\nCREATE INDEX IF NOT EXISTS "t_a" ON public.t (a);\nCOMMIT;', True),
        ("CREATE UNIQUE INDEX IF NOT EXISTS t_b ON t (a, ctid);", False),
        (
            "CREATE SCHEMA s;SET search_path = s;\nCREATE TABLE t (a int);\nCREATE INDEX IF NOT EXISTS t_a ON t (a);",
            False,
        ),
        ("DROP INDEX t_a;\nCREATE INDEX IF NOT EXISTS t_a ON t (a);", False),
        ("DROP TABLE t;\nCREATE TABLE t (a int);\nCREATE INDEX IF NOT EXISTS t_a ON t (a);", False),
        ("DO $$ BEGIN EXECUTE 'REINDEX INDEX t_a'; END $$;\nCREATE INDEX IF NOT EXISTS t_a ON t (a);", False),
        ("CREATE INDEX i ON a.b.c.d (a);\nCREATE INDEX IF NOT EXISTS t_a ON t (a);", True),
    ],
)
def test_a_file_in_a_transaction_is_refused_before_it_takes_an_invalid_index_for_built(
    project: Project, text: str, refused: bool
) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        project.rows("CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a)")
    project.put("002_b.sql", text)
    message = ""
    try:
        project.migrate()
    except FilesInvalid as error:
        message = str(error)
    except MigrationFailed:
        pass
    assert ("public.t_a exists and is INVALID" in message) is refused


def test_a_file_that_is_not_kept_in_memory_is_checked_for_invalid_indexes_too(project: Project) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        project.rows("CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a)")
    project.put("002_b.sql", "CREATE INDEX IF NOT EXISTS t_a ON t (a);")
    with pytest.raises(FilesInvalid, match=r"public\.t_a exists and is INVALID"):
        project.migrate(memory_bytes=0)


def test_a_statement_that_never_took_effect_is_no_more_done_at_the_second_run(project: Project) -> None:
    project.rows("CREATE INDEX t_a ON t (a)")
    project.put("002_b.sql", "CREATE INDEX CONCURRENTLY t_a ON t (a);")
    assert [project.failure().failure.sqlstate for _ in range(2)] == ["42P07"] * 2
    project.put("002_b.sql", "DROP INDEX CONCURRENTLY absent;")
    assert [project.failure().failure.sqlstate for _ in range(2)] == ["42704"] * 2
    assert project.recorded() == ["001"]


def test_what_a_failed_build_left_goes_even_when_its_statement_was_changed_since(project: Project) -> None:
    project.put("002_b.sql", "CREATE UNIQUE INDEX CONCURRENTLY t_unique ON t (a);")
    project.failure()
    project.put("002_b.sql", "CREATE INDEX CONCURRENTLY t_plain ON t (a);")
    project.migrate()
    assert project.rows(INDEXES) == [("t_plain", True)]


def test_a_valid_index_made_by_hand_in_the_meantime_is_not_taken_for_the_one_without_a_name(project: Project) -> None:
    project.put("002_b.sql", "CREATE UNIQUE INDEX CONCURRENTLY ON t (a);")
    project.failure()
    project.rows("DELETE FROM t WHERE ctid = '(0,1)'; CREATE INDEX by_hand ON t (a)")
    project.migrate()
    assert project.rows(INDEXES) == [("by_hand", True), ("t_a_idx", True)]


@pytest.mark.parametrize("table", ["app.t2", '"App"."T 2"', r'U&"\0061pp"."t2"', "t2"])
def test_the_table_is_found_by_any_name_and_search_path(project: Project, table: str) -> None:
    project.rows('CREATE SCHEMA app; CREATE SCHEMA "App"')
    path = "" if "." in table else "SET search_path = app;\n"
    project.put("002_a.sql", f"{path}CREATE TABLE {table} (a int); INSERT INTO {table} VALUES (1), (1);")
    project.migrate()
    project.put("003_b.sql", f"{HEAD}{path}CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON {table} (a);")
    assert "i is left INVALID; the next run drops it and builds it again" in project.failure().aftermath
    assert project.failure().failure.sqlstate == "23505"
    assert project.rows("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(1,)]


PARTITIONED = (
    "CREATE TABLE m (id int, d date) PARTITION BY RANGE (d);\n"
    "CREATE TABLE m1 PARTITION OF m FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');\n"
    "INSERT INTO m VALUES (1, '2024-02-01'), (1, '2024-02-01');\n"
)


def test_an_index_of_a_partition_is_dropped_and_built_again_and_attached(project: Project) -> None:
    project.put("002_m.sql", PARTITIONED)
    project.migrate()
    path = project.put(
        "003_b.sql",
        HEAD + "CREATE UNIQUE INDEX IF NOT EXISTS m_d ON ONLY m (id, d);\n"
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS m1_d ON m1 (id, d);\n"
        "ALTER INDEX m_d ATTACH PARTITION m1_d;\n",
    )
    failed = project.failure()
    assert failed.aftermath == (
        "statement 1, down to line 2, committed and kept; the next run goes on with statement 2; "
        "public.m1_d is left INVALID; the next run drops it and builds it again"
    )
    project.rows("DELETE FROM m WHERE ctid = '(0,1)'")
    project.migrate()
    valid = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE NOT indisprimary AND indisunique "
    assert project.rows(valid + "AND indexrelid::regclass::text LIKE 'm%' ORDER BY 1") == [
        ("m1_d", True),
        ("m_d", True),
    ]
    assert path.exists()


def test_what_an_interrupted_reindex_of_a_partitioned_table_left_is_dropped(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    project.put("002_m.sql", PARTITIONED + "CREATE INDEX m_d ON m (d);")
    project.migrate()
    project.rows("CREATE TABLE n (a int); CREATE INDEX n_ccnew ON n (a)")
    project.rows("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'n_ccnew'::regclass")
    project.put("003_b.sql", "REINDEX TABLE CONCURRENTLY m;")
    other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    other.execute("SELECT 1")  # a snapshot that the new index must not be used with

    def stop(event: object) -> None:
        if isinstance(event, IndexBuildProgressed):
            project.rows(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'inv db.migrate%'"
            )

    project.react = stop
    failed = project.failure()
    assert "public.m1_d_idx_ccnew is left INVALID; the next run drops it" in failed.aftermath
    other.rollback()
    project.react = lambda _event: None
    project.migrate()
    invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
    assert project.rows(invalid) == [("n_ccnew",)], "an index that was INVALID before stays"


def test_an_index_that_another_session_is_building_is_not_dropped(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    project.put("002_b.sql", "CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a);")
    project.failure()
    project.rows("DELETE FROM t WHERE ctid = '(0,1)'")
    other.execute("INSERT INTO t VALUES (7)")  # the build by hand waits for this transaction
    with psycopg.connect(project.url, autocommit=True) as builder:
        builder.pgconn.send_query(b"CREATE INDEX CONCURRENTLY by_hand ON t (a)")
        project.until("SELECT FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'")
        project.react = lambda _event: other.commit()
        project.migrate()
        while builder.pgconn.get_result():
            pass
    assert project.rows(INDEXES) == [("by_hand", True), ("t_a", True)]
