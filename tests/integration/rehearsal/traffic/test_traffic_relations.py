"""Relations of every kind are probed as an application would use them, also after changes, and are not written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from kernel.rehearsal.result import Relation
from tests.integration.rehearsal.traffic.conftest import about

if TYPE_CHECKING:
    from kernel.apply.events import Event
    from tests.integration.rehearsal.traffic.conftest import Clone

pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

HOLD = "SELECT pg_sleep(0.3);"
SESSIONS = "SELECT FROM pg_stat_activity WHERE application_name ~ 'traffic' AND datname = current_database()"


@pytest.mark.parametrize(
    ("made", "name", "written"),
    [
        ("CREATE TABLE it ()", "it", True),
        ('CREATE TABLE "it; DROP TABLE orders --" (id int)', '"it; DROP TABLE orders --"', True),
        ('CREATE TABLE "%s {} ""it""" (id int)', '"%s {} ""it"""', True),
        ("CREATE TABLE it (id int) PARTITION BY RANGE (id)", "it", True),
        (
            "CREATE TABLE it (id int) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF it DEFAULT",
            "it",
            True,
        ),
        ("CREATE TABLE it (id int); ALTER TABLE it ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", "it", True),
        ("CREATE TABLE it (id int); CREATE TABLE heir () INHERITS (it)", "it", True),
        ("CREATE UNLOGGED TABLE it (id int GENERATED ALWAYS AS IDENTITY)", "it", True),
        ("CREATE VIEW it AS SELECT id FROM orders", "it", False),
        ("CREATE VIEW it AS SELECT count(*) FROM orders", "it", False),
        ("CREATE MATERIALIZED VIEW it AS SELECT id FROM orders", "it", False),
        (
            """CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
            CREATE FOREIGN TABLE it () SERVER s""",
            "it",
            False,
        ),
    ],
)
def test_a_standstill_is_measured_for_every_kind_of_relation(clone: Clone, made: str, name: str, written: bool) -> None:
    clone.connection.execute(made.encode())
    standstill = clone.standstill(f"ALTER TABLE {name} OWNER TO CURRENT_USER;\n{HOLD}", name)
    assert standstill.reads_longest_seconds == about(0.3)
    assert standstill.writes_longest_seconds == (about(0.3) if written else 0)


def test_a_lock_on_an_index_blocks_its_table(clone: Clone) -> None:
    standstill = clone.standstill(f"ALTER INDEX orders_pkey SET TABLESPACE pg_default;\n{HOLD}", "orders")
    assert standstill.reads_longest_seconds == about(0.3)
    assert standstill.writes_longest_seconds == about(0.3)


def test_a_lock_on_a_partition_blocks_reads_of_the_whole_table(clone: Clone) -> None:
    clone.connection.execute(
        "CREATE TABLE whole (id int) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF whole DEFAULT"
    )
    standstill = clone.standstill(f"ALTER TABLE part OWNER TO CURRENT_USER;\n{HOLD}", "whole")
    assert standstill.reads_longest_seconds == about(0.3)
    assert standstill.writes_longest_seconds == about(0.3)


def test_probes_write_nothing_and_fire_nothing(clone: Clone) -> None:
    clone.connection.execute(
        """
        CREATE TABLE log (what text);
        CREATE FUNCTION logging() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN INSERT INTO log VALUES (TG_OP); RETURN NULL; END $$;
        CREATE TRIGGER before BEFORE INSERT OR UPDATE OR DELETE ON orders FOR EACH STATEMENT EXECUTE FUNCTION logging();
        CREATE TRIGGER after AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH STATEMENT EXECUTE FUNCTION logging();
        ALTER TABLE orders ENABLE ALWAYS TRIGGER after;
        CREATE TABLE ruled (id int);
        CREATE RULE ruling AS ON DELETE TO ruled DO ALSO INSERT INTO log VALUES ('ruled');
        CREATE SEQUENCE numbers;
        CREATE TABLE numbered (id int DEFAULT nextval('numbers'));
        """
    )
    rows = "SELECT id, note, xmin, ctid FROM orders ORDER BY id"
    before = clone.rows(rows)
    clone.standstill("SELECT pg_sleep(0.3);", "orders", "ruled", "numbered")
    assert clone.rows("SELECT what FROM log") == []
    assert clone.rows("SELECT is_called FROM numbers") == [(False,)]
    assert clone.rows(rows) == before


def test_a_renamed_table_is_followed(clone: Clone) -> None:
    clone.put("001_it.sql", "ALTER TABLE orders RENAME TO purchases;")
    clone.put("002_it.sql", "SELECT pg_sleep(0.2);")
    clone.put("003_it.sql", f"ALTER TABLE purchases ADD COLUMN region text;\n{HOLD}")
    traffic = clone.measure("orders")
    (standstill,) = traffic.standstills
    assert (standstill.relation, traffic.notes) == ("public.orders", ())
    assert standstill.reads_longest_seconds == about(0.3)
    assert standstill.writes_longest_seconds == about(0.3)


def test_the_replacement_of_a_table_is_probed_in_its_place(clone: Clone) -> None:
    clone.put("001_it.sql", "ALTER TABLE orders RENAME TO purchases; CREATE VIEW orders AS SELECT * FROM purchases;")
    clone.put("002_it.sql", "SELECT pg_sleep(0.2);")
    clone.put("003_it.sql", f"ALTER VIEW orders OWNER TO CURRENT_USER;\n{HOLD}")
    traffic = clone.measure("orders")
    (standstill,) = traffic.standstills
    assert traffic.notes == ()
    assert standstill.reads_longest_seconds == about(0.3)
    assert standstill.writes_longest_seconds == about(0.3)


def test_a_dropped_table_is_no_longer_probed(clone: Clone) -> None:
    clone.put("001_it.sql", f"DROP TABLE orders;\n{HOLD}")
    clone.put("002_it.sql", "SELECT pg_sleep(0.2);")
    traffic = clone.measure("orders", "quiet")
    standstill = next(one for one in traffic.standstills if one.relation == "public.orders")
    assert standstill.reads_longest_seconds == about(0.3)
    assert traffic.notes == ("public.orders: reads and writes were sent until it was dropped",)


def test_missing_relations_and_sequences_are_not_probed(clone: Clone) -> None:
    clone.put("001_it.sql", "SELECT 1;")
    clone.connection.execute("CREATE SEQUENCE numbers")
    assert clone.measure("orders_pkey", "numbers").standstills == ()
    assert clone.measure().standstills == ()


def test_a_relation_known_by_its_name_only_is_found(clone: Clone) -> None:
    clone.relation = lambda name: Relation(oid=0, name=f"public.{name}")  # type: ignore[method-assign]  # as Shut has it
    standstill = clone.standstill(f"ALTER TABLE orders ADD COLUMN region text;\n{HOLD}", "orders")
    assert standstill.reads_longest_seconds == about(0.3)


def test_sessions_that_a_migration_ends_come_back(clone: Clone) -> None:
    clone.put("001_it.sql", f"SELECT pg_terminate_backend(pid) {SESSIONS.removeprefix('SELECT')};")
    clone.put("002_it.sql", "SELECT pg_sleep(0.3);")
    clone.put("003_it.sql", f"ALTER TABLE orders ADD COLUMN region text;\n{HOLD}")
    traffic = clone.measure("orders")
    assert traffic.notes == ()
    assert traffic.standstills[0].reads_longest_seconds == about(0.3)


def test_timeouts_among_the_settings_of_the_database_do_not_end_a_wait(clone: Clone) -> None:
    ((name,),) = clone.rows("SELECT quote_ident(current_database())")
    for setting in ("statement_timeout = 50", "lock_timeout = 50", "idle_in_transaction_session_timeout = 50"):
        clone.connection.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    text = "-- migrate: lock_timeout=0\nALTER TABLE orders ADD COLUMN region text;"
    standstill = clone.standstill(text, "orders", reader_seconds=0.4)
    assert standstill.reads_longest_seconds == about(0.4)


@pytest.mark.parametrize("reader_seconds", [0, 30])
def test_an_interrupt_leaves_no_session_behind(clone: Clone, reader_seconds: float) -> None:
    def interrupt(_event: Event) -> None:
        raise KeyboardInterrupt

    clone.observer = interrupt
    clone.put("001_it.sql", "CREATE TABLE fresh (id int);")
    with pytest.raises(KeyboardInterrupt):
        clone.measure("orders", reader_seconds=reader_seconds)
    deadline = time.monotonic() + 5
    while clone.connection.execute(SESSIONS).rowcount:  # the server takes a moment to see them gone
        assert time.monotonic() < deadline
        time.sleep(0.01)
