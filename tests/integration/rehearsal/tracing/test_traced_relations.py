"""What each kind of statement does to the relations that were there: locks, rewrites, scans, writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.integration.rehearsal.tracing.conftest import facts

if TYPE_CHECKING:
    from tests.integration.rehearsal.tracing.conftest import Clone

pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

STEPS = "-- migrate: no-transaction\n"
ROLLED_BACK = "RAISE EXCEPTION 'x'; EXCEPTION WHEN raise_exception THEN NULL;"


class Case(NamedTuple):
    """A migration, and everything that may be seen of it."""

    sql: str
    facts: tuple[str, ...] = ()


# orders has 20,000 rows and two indexes, customers 1,000 rows, lines 2,000; `lines` refers to `orders`.
CASES = {
    "a query": Case("SELECT count(*) FROM customers;", ("scan customers 1000",)),
    "a view": Case("CREATE VIEW v AS SELECT * FROM orders;"),
    "a type that rewrites": Case(
        "ALTER TABLE orders ALTER COLUMN total TYPE bigint;",
        (
            "ACCESS EXCLUSIVE orders",
            "ACCESS EXCLUSIVE orders_note",
            "ACCESS EXCLUSIVE orders_pkey",
            "rewrite orders",
            "scan orders 60000 under ACCESS EXCLUSIVE",  # once to rewrite it, once for each index
        ),
    ),
    "a type that rewrites nothing": Case(
        "ALTER TABLE orders ALTER COLUMN note TYPE text;",
        ("ACCESS EXCLUSIVE orders", "ACCESS EXCLUSIVE orders_note"),
    ),
    "a type that rebuilds an index": Case(
        'ALTER TABLE orders ALTER COLUMN note TYPE varchar(40) COLLATE "POSIX";',
        (
            "ACCESS EXCLUSIVE orders",
            "ACCESS EXCLUSIVE orders_note",
            "rebuild orders_note",
            "scan orders 20000 under ACCESS EXCLUSIVE",
        ),
    ),
    "a stable default": Case(
        "ALTER TABLE orders ADD COLUMN z timestamptz DEFAULT now();", ("ACCESS EXCLUSIVE orders",)
    ),
    "a volatile default": Case(
        "ALTER TABLE lines ADD COLUMN z timestamptz DEFAULT clock_timestamp();",
        (
            "ACCESS EXCLUSIVE lines",
            "ACCESS EXCLUSIVE lines_order",
            "ACCESS EXCLUSIVE lines_pkey",
            "rewrite lines",
            "scan lines 6000 under ACCESS EXCLUSIVE",
        ),
    ),
    "SET UNLOGGED": Case("ALTER TABLE log SET UNLOGGED;", ("ACCESS EXCLUSIVE log", "rewrite log")),
    "CREATE INDEX": Case("CREATE INDEX ON orders (total);", ("SHARE orders", "scan orders 20000 under SHARE")),
    "CREATE INDEX CONCURRENTLY": Case("CREATE INDEX CONCURRENTLY ON orders (total);", ("scan orders 40000",)),
    "DROP INDEX": Case("DROP INDEX orders_note;", ("ACCESS EXCLUSIVE orders", "ACCESS EXCLUSIVE orders_note")),
    "DROP INDEX CONCURRENTLY": Case("DROP INDEX CONCURRENTLY orders_note;"),
    "REINDEX": Case(
        "REINDEX INDEX orders_note;",
        ("ACCESS EXCLUSIVE orders_note", "SHARE orders", "rebuild orders_note", "scan orders 20000 under SHARE"),
    ),
    "REINDEX CONCURRENTLY": Case(
        "REINDEX INDEX CONCURRENTLY orders_note;",
        ("rebuild orders_note", "scan orders 40000"),
    ),
    "VACUUM": Case("VACUUM orders;"),
    "VACUUM that gives room back": Case(
        STEPS + "DELETE FROM customers WHERE id > 20;\nVACUUM customers;",
        ("ACCESS EXCLUSIVE customers", "scan customers 1000", "write customers +0 ~0 -980"),
    ),
    "VACUUM FULL": Case(
        "VACUUM FULL customers;",
        (
            "ACCESS EXCLUSIVE customers",
            "ACCESS EXCLUSIVE customers_pkey",
            "rewrite customers",
            "scan customers 2000 under ACCESS EXCLUSIVE",
        ),
    ),
    "CLUSTER": Case(
        "SET enable_indexscan = off;\nCLUSTER customers USING customers_pkey;",
        (
            "ACCESS EXCLUSIVE customers",
            "ACCESS EXCLUSIVE customers_pkey",
            "rewrite customers",
            "scan customers 2000 under ACCESS EXCLUSIVE",
        ),
    ),
    "REFRESH MATERIALIZED VIEW": Case(
        "REFRESH MATERIALIZED VIEW names;",
        (
            "ACCESS EXCLUSIVE names",
            "rewrite names",
            "scan customers 1000",
            "write names +1000 ~0 -0",
        ),
    ),
    "SET NOT NULL": Case(
        "ALTER TABLE orders ALTER COLUMN customer SET NOT NULL;",
        ("ACCESS EXCLUSIVE orders", "scan orders 20000 under ACCESS EXCLUSIVE"),
    ),
    "SET NOT NULL that a CHECK proves": Case(
        "ALTER TABLE paid ALTER COLUMN amount SET NOT NULL;", ("ACCESS EXCLUSIVE paid",)
    ),
    "ADD FOREIGN KEY": Case(
        "ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers;",
        (
            "SHARE ROW EXCLUSIVE customers",
            "SHARE ROW EXCLUSIVE orders",
            "scan customers 1000 under SHARE ROW EXCLUSIVE",
            "scan orders 20000 under SHARE ROW EXCLUSIVE",
        ),
    ),
    "ADD FOREIGN KEY NOT VALID": Case(
        "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (customer) REFERENCES customers NOT VALID;",
        ("SHARE ROW EXCLUSIVE customers", "SHARE ROW EXCLUSIVE orders"),
    ),
    "VALIDATE CONSTRAINT": Case(
        "ALTER TABLE paid VALIDATE CONSTRAINT later;",
        ("SHARE UPDATE EXCLUSIVE paid", "scan paid 300 under SHARE UPDATE EXCLUSIVE"),
    ),
    "DROP TABLE of a child": Case(
        "DROP TABLE lines;",
        (
            "ACCESS EXCLUSIVE lines",
            "ACCESS EXCLUSIVE lines_order",
            "ACCESS EXCLUSIVE lines_pkey",
            "ACCESS EXCLUSIVE orders",
        ),
    ),
    "a renamed table": Case(
        "ALTER TABLE log RENAME TO diary;\nDROP TABLE diary;",
        ("ACCESS EXCLUSIVE log",),
    ),
    "DDL in a DO block": Case(
        "DO $$ BEGIN ALTER TABLE customers ADD COLUMN a int; EXECUTE 'CREATE INDEX ON lines (id)'; END $$;",
        ("ACCESS EXCLUSIVE customers", "SHARE lines", "scan lines 2000 under SHARE"),
    ),
    "a lock rolled back in a DO block": Case(
        f"DO $$ BEGIN LOCK TABLE log IN ACCESS EXCLUSIVE MODE; {ROLLED_BACK} END $$;", ("ACCESS EXCLUSIVE log",)
    ),
    "a rewrite rolled back to a savepoint": Case(
        "SAVEPOINT s;\nALTER TABLE paid ALTER COLUMN amount TYPE bigint;\nROLLBACK TO s;\n"
        "LOCK TABLE paid IN SHARE MODE;",
        ("ACCESS EXCLUSIVE paid", "SHARE paid", "rewrite paid", "scan paid 300 under ACCESS EXCLUSIVE"),
    ),
    "a DO block that commits": Case(
        STEPS + "DO $$ BEGIN LOCK TABLE log IN ACCESS EXCLUSIVE MODE; COMMIT; UPDATE paid SET amount = 2; END $$;",
        ("ACCESS EXCLUSIVE log", "scan paid 300", "write paid +0 ~300 -0"),
    ),
    "cascades and triggers": Case(
        "DELETE FROM orders WHERE id <= 10;",
        ("write lines +0 ~0 -10", "write log +10 ~0 -0", "write orders +0 ~0 -10"),
    ),
    "deferred triggers": Case(
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON paid DEFERRABLE INITIALLY DEFERRED\n"
        "  FOR EACH ROW EXECUTE FUNCTION logging();\nUPDATE paid SET amount = 2;",
        (
            "SHARE ROW EXCLUSIVE paid",
            "scan paid 300 under SHARE ROW EXCLUSIVE",
            "write log +300 ~0 -0",
            "write paid +0 ~300 -0",
        ),
    ),
    "TRUNCATE": Case(
        "TRUNCATE lines;",
        (
            "ACCESS EXCLUSIVE lines",
            "ACCESS EXCLUSIVE lines_order",
            "ACCESS EXCLUSIVE lines_pkey",
            "write lines +0 ~0 -2000",
        ),
    ),
    "TRUNCATE in a DO block": Case(
        "DO $$ BEGIN TRUNCATE paid; END $$;", ("ACCESS EXCLUSIVE paid", "write paid +0 ~0 -300")
    ),
    "ATTACH PARTITION": Case(
        "ALTER TABLE readings ATTACH PARTITION readings_new FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');",
        (
            "ACCESS EXCLUSIVE readings_new",
            "ACCESS EXCLUSIVE readings_old",
            "SHARE UPDATE EXCLUSIVE readings",
            "scan readings_new 700 under ACCESS EXCLUSIVE",
            "scan readings_old 500 under ACCESS EXCLUSIVE",
        ),
    ),
    "a new partition next to a default one": Case(
        "CREATE TABLE later PARTITION OF readings FOR VALUES FROM ('2040-01-01') TO ('2041-01-01');",
        (
            "ACCESS EXCLUSIVE readings",
            "ACCESS EXCLUSIVE readings_old",
            "scan readings_old 500 under ACCESS EXCLUSIVE",
        ),
    ),
    "COPY data": Case("COPY log FROM stdin;\na\nb\n\\.\n", ("write log +2 ~0 -0",)),
    "INSERTs": Case("INSERT INTO log VALUES ('x');\n" * 700, ("write log +500 ~0 -0", "write log +200 ~0 -0")),
    "ALTER SEQUENCE": Case("ALTER SEQUENCE numbers RESTART WITH 5;", ("SHARE ROW EXCLUSIVE numbers",)),
    "a transaction of its own": Case("BEGIN;\nALTER TABLE log ADD COLUMN a int;\nCOMMIT;\n", ("ACCESS EXCLUSIVE log",)),
    "several transactions of its own": Case(
        STEPS
        + "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSET TRANSACTION READ WRITE;\nALTER TABLE log ADD COLUMN a int;\n"
        "COMMIT;\nBEGIN;\nALTER TABLE paid ALTER amount TYPE bigint;\nROLLBACK;\nUPDATE paid SET amount = 2;",
        (
            "ACCESS EXCLUSIVE log",
            "ACCESS EXCLUSIVE paid",
            "rewrite paid",
            "scan paid 300 under ACCESS EXCLUSIVE",
            "scan paid 300",
            "write paid +0 ~300 -0",
        ),
    ),
    "as a role that may do little": Case(
        "CREATE TEMP TABLE t (a int);\nSET ROLE pg_monitor;\nSET search_path = '';\nSELECT 1;\n"
        "RESET ROLE;\nALTER TABLE public.log ADD COLUMN a int;",
        ("ACCESS EXCLUSIVE log",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_exactly_what_a_migration_does_is_seen(clone: Clone, name: str) -> None:
    run = clone.run(CASES[name].sql)
    assert run.failed is None
    assert facts(run) == sorted(CASES[name].facts)
