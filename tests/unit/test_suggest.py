"""Rewriting a migration: what each statement becomes, what stays as it is, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.lint.finding import Finding, Severity
from kernel.migrations.migration import Migration, parse_filename
from kernel.rehearsal.suggest.catalog import TableCatalog, TableInfo
from kernel.rehearsal.suggest.rewrite import MECHANICAL_RULES, rewrite_migration
from kernel.rehearsal.suggest.source import split_into_units

if TYPE_CHECKING:
    from kernel.rehearsal.result import Suggestion

ORDERS = TableInfo(
    schema="public",
    name="orders",
    quoted="public.orders",
    columns={"id": True, "total": False, "note": False},
    used_names=frozenset({"orders", "orders_pkey", "orders_total_check"}),
)
INDEX = "create-index-not-concurrently"
FACTS = TableCatalog(tables={'"orders"': ORDERS, '"public"."orders"': ORDERS}, server_version=150000)


def suggested(
    text: str, *rules: tuple[str, int], facts: TableCatalog = FACTS, filename: str = "016_orders.sql", first: int = 16
) -> Suggestion:
    """What becomes of a file with findings of these rules, at these lines."""
    migration = Migration(version="016", filename=filename, directory=Path("/nowhere"), checksum="")
    findings = [
        Finding(rule=rule, severity=Severity.ERROR, message="", remedy="", version="016", line=line, offset=end)
        for rule, line in rules
        for end in [len("".join(text.splitlines(keepends=True)[:line]).encode()) - 1]
    ]
    return rewrite_migration(split_into_units(migration, text.encode()), findings, facts, first=first)


def files(found: Suggestion) -> list[tuple[str, str]]:
    """Names and statements, comments left out."""
    return [
        (one.filename, "\n".join(line for line in one.text.splitlines() if line and not line.startswith("--")))
        for one in found.files
    ]


def with_table(**changed: object) -> TableCatalog:
    """The facts with another table of that name."""
    values = {name: getattr(ORDERS, name) for name in TableInfo.__slots__} | changed
    return TableCatalog(tables={'"orders"': TableInfo(**values)}, server_version=FACTS.server_version)


def test_an_index_is_built_concurrently_under_the_name_that_it_would_have_had() -> None:
    found = suggested("CREATE UNIQUE INDEX ON orders (total, lower(note)) WHERE id > 1;", (INDEX, 1))
    sql = (
        'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "orders_total_lower_idx" ON orders (total, lower(note))'
        " WHERE id > 1;"
    )
    assert files(found) == [("016_orders.sql", sql)]
    assert "-- migrate: no-transaction\n" in found.files[0].text


def test_statements_without_a_finding_stay_as_they_are_and_in_their_order() -> None:
    text = "-- first\nSELECT 1;  -- after it\nCREATE INDEX total_idx ON orders (total);\n/* last */ SELECT 'a;b' ;\n"
    found = suggested(text, (INDEX, 3))
    assert [one.filename for one in found.files] == ["016_orders.sql", "017_orders_index.sql", "018_orders.sql"]
    assert found.files[0].text.endswith("\n-- first\nSELECT 1;  -- after it\n")
    assert "CREATE INDEX CONCURRENTLY IF NOT EXISTS total_idx ON orders (total);\n" in found.files[1].text
    assert found.files[2].text.endswith("\n/* last */ SELECT 'a;b' ;\n")


def test_a_check_is_added_not_valid_and_validated_in_the_next_file() -> None:
    found = suggested("ALTER TABLE orders ADD CHECK (total >= 0);", ("check-validated-under-lock", 1))
    # orders_total_check is taken.
    assert files(found) == [
        ("016_orders.sql", 'ALTER TABLE orders ADD CONSTRAINT "orders_total_check1" CHECK (total >= 0) NOT VALID;'),
        ("017_orders_validate.sql", 'ALTER TABLE orders VALIDATE CONSTRAINT "orders_total_check1";'),
    ]


def test_a_comment_behind_a_constraint_does_not_swallow_what_is_appended() -> None:
    text = "ALTER TABLE orders ADD CONSTRAINT c CHECK (total > 0) -- why\n, SET (fillfactor = 70) -- too\n;"
    found = suggested(text, ("check-validated-under-lock", 1))
    assert files(found) == [
        ("016_orders.sql", "ALTER TABLE orders ADD CONSTRAINT c CHECK (total > 0) NOT VALID;"),
        ("017_orders_validate.sql", "ALTER TABLE orders VALIDATE CONSTRAINT c;"),
        ("018_orders.sql", "ALTER TABLE orders SET (fillfactor = 70);"),
    ]


def test_the_actions_of_a_statement_happen_in_the_order_of_postgresql() -> None:
    text = "ALTER TABLE orders ADD CONSTRAINT c CHECK (x > 0), ADD COLUMN x int, DROP COLUMN note;"
    found = suggested(text, ("check-validated-under-lock", 1))
    assert files(found)[0][1] == (
        "ALTER TABLE orders DROP COLUMN note, ADD COLUMN x int;\n"
        "ALTER TABLE orders ADD CONSTRAINT c CHECK (x > 0) NOT VALID;"
    )


def test_a_foreign_key_keeps_its_options() -> None:
    text = (
        'ALTER TABLE public.orders ADD CONSTRAINT "F" FOREIGN KEY (id) REFERENCES users ON DELETE CASCADE DEFERRABLE;'
    )
    found = suggested(text, ("foreign-key-validated-under-lock", 1))
    assert files(found)[0][1] == text.replace(" DEFERRABLE;", " DEFERRABLE NOT VALID;")
    assert files(found)[1][1] == 'ALTER TABLE public.orders VALIDATE CONSTRAINT "F";'


def test_a_unique_constraint_takes_over_an_index_built_before() -> None:
    text = "ALTER TABLE orders ADD UNIQUE NULLS NOT DISTINCT (total) INCLUDE (note) WITH (fillfactor = 70) DEFERRABLE;"
    found = suggested(text, ("unique-builds-index-under-lock", 1))
    name = '"orders_total_note_key"'
    assert files(found) == [
        (
            "016_orders_index.sql",
            (
                f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {name} ON orders (total) INCLUDE (note)"
                " NULLS NOT DISTINCT WITH (fillfactor = 70);"
            ),
        ),
        (
            "017_orders_constraint.sql",
            f"ALTER TABLE orders ADD CONSTRAINT {name} UNIQUE USING INDEX {name} DEFERRABLE;",
        ),
    ]


def test_a_primary_key_proves_first_that_its_columns_are_not_null() -> None:
    found = suggested("ALTER TABLE orders ADD PRIMARY KEY (id, total);", ("unique-builds-index-under-lock", 1))
    assert [sql for _, sql in files(found)] == [
        'ALTER TABLE orders ADD CONSTRAINT "orders_total_present" CHECK ("total" IS NOT NULL) NOT VALID;',
        'ALTER TABLE orders VALIDATE CONSTRAINT "orders_total_present";',
        (
            'ALTER TABLE orders ALTER COLUMN "total" SET NOT NULL;\n'
            'ALTER TABLE orders DROP CONSTRAINT "orders_total_present";'
        ),
        'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "orders_pkey1" ON orders (id, total);',
        'ALTER TABLE orders ADD CONSTRAINT "orders_pkey1" PRIMARY KEY USING INDEX "orders_pkey1";',
    ]


def test_a_volatile_default_holds_for_new_rows_first_and_is_filled_in_by_batches() -> None:
    text = "ALTER TABLE orders ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid();"
    found = suggested(text, ("volatile-default", 1))
    assert files(found)[0][1] == (
        "ALTER TABLE orders ADD COLUMN token uuid;\n"
        'ALTER TABLE orders ALTER COLUMN "token" SET DEFAULT gen_random_uuid();'
    )
    assert 'UPDATE public.orders SET "token" = DEFAULT' in files(found)[1][1]
    assert 'AND "token" IS NULL;\n        COMMIT;' in files(found)[1][1]
    assert files(found)[-1][1].startswith('ALTER TABLE orders ALTER COLUMN "token" SET NOT NULL;')
    assert found.nondeterministic_columns == (("public.orders", "token"),)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"has_inheritance": True}, "has partitions, parents or children"),
        ({"update_triggers": ("touch",)}, "would fire the trigger touch for every row"),
        ({"has_rules": True}, "has rules"),
        ({"kind": "p"}, "is not an ordinary table"),
        ({"columns": {"token": False}}, "the column exists before the migration"),
    ],
)
def test_a_backfill_that_is_not_mechanical_has_a_reason(changed: dict[str, object], reason: str) -> None:
    text = "ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid();"
    found = suggested(text, ("volatile-default", 1), facts=with_table(**changed))
    assert found.files == ()
    assert [(one.rule, one.line) for one in found.refused] == [("volatile-default", 1)]
    assert reason in found.refused[0].reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("BEGIN; CREATE INDEX i ON orders (id); SELECT 1; COMMIT;", "its own BEGIN and COMMIT"),
        ("SET search_path = other; CREATE INDEX i ON orders (id);", "SET in line 1 holds for later statements"),
        ("CREATE TEMP TABLE t (x int); CREATE INDEX i ON orders (id);", "creates a temporary table"),
        ("LOCK TABLE orders; CREATE INDEX i ON orders (id);", "LOCK in line 1"),
        ("CREATE INDEX ON orders ((total::text));", "give it a name"),
        ("CREATE INDEX i ON elsewhere (id);", "does not exist before the migration"),
        ("DO $$ BEGIN CREATE INDEX i ON orders (id); END $$;", "has a form that cannot be rewritten"),
    ],
)
def test_what_several_files_cannot_do_has_a_reason(text: str, reason: str) -> None:
    found = suggested(text, (INDEX, 1))
    assert found.files == ()
    assert reason in found.refused[0].reason


def test_a_constraint_inside_of_a_column_has_a_reason() -> None:
    found = suggested("ALTER TABLE orders ADD COLUMN x int CHECK (x > 0);", ("check-validated-under-lock", 1))
    assert found.files == ()
    assert "it is part of a column definition" in found.refused[0].reason


def test_one_statement_between_begin_and_commit_loses_nothing_by_being_alone() -> None:
    found = suggested("-- why\nBEGIN;\nCREATE INDEX i ON orders (id);\nCOMMIT;\n", (INDEX, 3))
    assert files(found) == [("016_orders.sql", "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON orders (id);")]
    assert "-- why\n" in found.files[0].text


def test_timeouts_hold_in_every_file_with_a_transaction() -> None:
    text = (
        "-- migrate: lock_timeout=2s\nSET LOCAL lock_timeout = '1s';\n"
        "ALTER TABLE orders ADD CONSTRAINT c CHECK (id > 0);\nCREATE INDEX i ON orders (id);"
    )
    found = suggested(text, ("check-validated-under-lock", 3), (INDEX, 4))
    assert [("SET LOCAL lock_timeout = '1s';" in one.text) for one in found.files] == [True, True, False]
    assert all(one.text.count("-- migrate: lock_timeout=2000ms\n") == 1 for one in found.files)


def test_a_file_that_runs_statement_by_statement_stays_one() -> None:
    text = "-- migrate: no-transaction\nALTER TABLE orders ADD CONSTRAINT c CHECK (id > 0);\nSELECT 1;"
    found = suggested(text, ("check-validated-under-lock", 2))
    (one,) = files(found)
    assert one[1].splitlines() == [
        "ALTER TABLE orders ADD CONSTRAINT c CHECK (id > 0) NOT VALID;",
        "ALTER TABLE orders VALIDATE CONSTRAINT c;",
        "SELECT 1;",
    ]


def test_tables_and_bulk_changes_are_put_apart() -> None:
    text = (
        "ALTER TABLE users ADD x int;\nALTER TABLE users ADD y int;\nUPDATE users SET x = 1;\n"
        "ALTER TABLE orders ADD x int;\nALTER TABLE lines ADD x int;\n"
    )
    found = suggested(text, ("schema-and-data-mixed", 3), ("several-tables-locked", 4))
    assert [sql.count(";") for _, sql in files(found)] == [2, 1, 1, 1]


def test_copied_rows_stay_with_their_statement() -> None:
    text = "COPY orders (id) FROM stdin;\n1\n2\n\\.\n\nCREATE INDEX i ON orders (id);\n"
    found = suggested(text, (INDEX, 6))
    assert found.files[0].text.endswith("\nCOPY orders (id) FROM stdin;\n1\n2\n\\.\n")


def test_no_name_can_end_a_comment_or_a_string() -> None:
    odd = "a'b\nDROP TABLE users; --"
    table = with_table(quoted=f'public."o\'r\n{odd}"').tables['"orders"']
    facts = TableCatalog(tables={'"orders"': table}, server_version=150000)
    text = f'ALTER TABLE orders ADD COLUMN "{odd}" uuid NOT NULL DEFAULT gen_random_uuid();'
    found = suggested(text, ("volatile-default", 1), facts=facts)
    assert len(found.files) == 5
    for one in found.files:
        units = split_into_units(
            Migration(version="1", filename=one.filename, directory=Path("/"), checksum=""), one.text.encode()
        ).units
        firsts = {unit.sql.split()[0] for unit in units}
        assert firsts <= {b"ALTER", b"DO"}


def test_a_default_that_begins_with_a_string_keeps_its_quotes() -> None:
    text = "ALTER TABLE orders ADD COLUMN token text DEFAULT E'a\\'b' || $x$;$x$ || random()::text;"
    found = suggested(text, ("volatile-default", 1))
    assert "SET DEFAULT E'a\\'b' || $x$;$x$ || random()::text;" in found.files[0].text


def test_a_statement_with_too_many_words_has_a_reason() -> None:
    text = f"CREATE INDEX i ON orders (id) WHERE id IN ({', '.join(['1'] * 4000)});"
    found = suggested(text, (INDEX, 1))
    assert (found.files, found.refused[0].reason) == ((), "the statement is too long")


def test_every_suggested_name_obeys_the_naming_rule() -> None:
    long = f"016_{'x' * 240}.sql"
    found = suggested(
        "ALTER TABLE orders ALTER note SET NOT NULL;", ("set-not-null-scans", 1), filename=long, first=998
    )
    assert [one.filename[:5] for one in found.files] == ["998_x", "999_x", "1000_"]
    for one in found.files:
        assert parse_filename(one.filename)
        assert len(one.filename) <= 255


def test_a_file_without_a_mechanical_finding_is_left_alone() -> None:
    assert "drop-column" not in MECHANICAL_RULES
    found = suggested("ALTER TABLE orders DROP COLUMN note;", ("drop-column", 1))
    assert (found.files, found.refused) == ((), ())
