"""The Kernel's own migrations on a real PostgreSQL: from nothing, twice, and back to nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors, sql

if TYPE_CHECKING:
    from collections.abc import Iterator

MIGRATIONS = Path(__file__).parents[2] / "migrations"
FILES = sorted(MIGRATIONS.glob("*.sql"))
EXAMPLES = re.findall(r"^```sql\n(.+?)^```$", (MIGRATIONS / "README.md").read_text(), re.DOTALL | re.MULTILINE)
REVERTS = sorted(MIGRATIONS.glob("revert/*.sql"), reverse=True)

A = "'00000000-0000-0000-0000-00000000000a'"
B = "'00000000-0000-0000-0000-00000000000b'"

# A row of tenant A for every table, in the order of the foreign keys. Columns with a default are left to it.
ROWS = {
    "tenants": f"INSERT INTO tenants (id, slug, name) VALUES ({A}, 'acme', 'Acme')",
    "audit_ledger": "INSERT INTO audit_ledger (tenant_id, actor, action, subject_type, subject_id)"
    f" VALUES ({A}, 'alice', 'tenant.created', 'tenant', 'acme')",
    "business_terms": f"INSERT INTO business_terms (id, tenant_id, name, definition) VALUES ({A}, {A}, 'Churn', '-')",
    "data_contracts": f"INSERT INTO data_contracts (id, tenant_id, name) VALUES ({A}, {A}, 'orders')",
    "users": f"INSERT INTO users (id, tenant_id, email, display_name) VALUES ({A}, {A}, 'alice@acme.test', 'Alice')",
    "field_dictionary": "INSERT INTO field_dictionary (id, tenant_id, name, data_type, business_term_id, steward_id)"
    f" VALUES ({A}, {A}, 'churned_at', 'timestamp', {A}, {A})",
    "field_aliases": "INSERT INTO field_aliases (id, tenant_id, field_id, source, alias)"
    f" VALUES ({A}, {A}, {A}, 'sap', 'KUNNR')",
}

# What an object is, after a first column that says which one it is: its OID, and its file where it has one.
CATALOGUE = (
    """
    SELECT format('%s %s', oid, relfilenode), oid::regclass::text, relkind::text, relacl::text, reloptions::text
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
    """,
    """
    SELECT a.attrelid::text, c.relname, a.attname, a.atttypid::regtype::text, a.attnotnull,
        pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped
    """,
    """
    SELECT oid::text, conrelid::regclass::text, conname, convalidated, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    """
    SELECT i.indexrelid::text, pg_get_indexdef(i.indexrelid), i.indisvalid
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relnamespace = 'public'::regnamespace
    """,
    """
    SELECT oid::text, pg_get_functiondef(oid), proacl::text
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    """,
    """
    SELECT t.oid::text, t.tgenabled::text, pg_get_triggerdef(t.oid)
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid AND c.relnamespace = 'public'::regnamespace
    WHERE NOT t.tgisinternal
    """,
    """
    SELECT objoid::text, pg_describe_object(classoid, objoid, objsubid), description
    FROM pg_description WHERE (pg_identify_object(classoid, objoid, objsubid)).schema = 'public'
    """,
)


def run(connection: psycopg.Connection, *files: Path) -> None:
    """Each file in a transaction of its own, as the runner does it."""
    for file in files:
        with connection.transaction():
            connection.execute(file.read_bytes())


def insert_missing_rows(connection: psycopg.Connection) -> None:
    for table, statement in ROWS.items():
        if table in tables(connection) and not connection.execute(f"SELECT FROM {table}".encode()).fetchall():
            connection.execute(statement.encode())


def tables(connection: psycopg.Connection) -> set[str]:
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    return {name for (name,) in found}


def objects(connection: psycopg.Connection) -> list[list[tuple[Any, ...]]]:
    """What is in the catalogue, OIDs included, in an order that does not depend on them."""
    return [sorted(connection.execute(query.encode()), key=lambda row: repr(row[1:])) for query in CATALOGUE]


def definitions(connection: psycopg.Connection) -> list[list[tuple[Any, ...]]]:
    """What is in the catalogue, whichever objects they are."""
    return [[row[1:] for row in rows] for rows in objects(connection)]


def contents(connection: psycopg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """The rows with their place and their transaction, which differ after a rewrite of even the same values."""
    query = sql.SQL("SELECT t.ctid::text, t.xmin::text, to_jsonb(t) FROM {} AS t ORDER BY t.ctid")
    return {table: connection.execute(query.format(sql.Identifier(table))).fetchall() for table in tables(connection)}


@pytest.fixture
def empty(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def kernel(empty: psycopg.Connection) -> psycopg.Connection:
    """A connection to a database that has all the migrations and one row in every table."""
    run(empty, *FILES)
    insert_missing_rows(empty)
    return empty


def number(version: int) -> Path:
    return next(file for file in FILES if file.name.startswith(f"{version:03}_"))


def up_to(version: int) -> list[Path]:
    return FILES[: FILES.index(number(version)) + 1]


def test_the_files_build_the_schema_from_an_empty_database(empty: psycopg.Connection) -> None:
    run(empty, *FILES)
    assert [file.name[:3] for file in FILES] == ["001", "008", "009", "010", "011", "012", "013", "014", "015"]
    assert tables(empty) == ROWS.keys() | {"audit_chain_heads"}


@pytest.mark.parametrize("file", FILES + REVERTS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_file_begins_with_the_header_of_its_name(file: Path) -> None:
    first, second, *_ = file.read_text().splitlines()
    version, _, words = file.stem.partition("_")
    kind = "Revert" if file.parent.name == "revert" else "Migration"
    assert first.casefold() == f"-- {kind}: {version} - {words.replace('_', ' ')}".casefold()
    assert re.fullmatch(r"-- Description: .+", second)


def test_running_each_file_twice_in_a_row_changes_nothing(empty: psycopg.Connection) -> None:
    for file in FILES:
        run(empty, file)
        insert_missing_rows(empty)
        before = objects(empty), contents(empty)
        run(empty, file)
        assert (objects(empty), contents(empty)) == before, file.name


def test_running_every_file_again_in_a_finished_schema_changes_nothing(kernel: psycopg.Connection) -> None:
    before = objects(kernel), contents(kernel)
    run(kernel, *FILES)
    assert (objects(kernel), contents(kernel)) == before


def test_each_revert_file_undoes_its_file_and_only_that_even_when_run_twice(empty: psycopg.Connection) -> None:
    before = []
    for file in FILES:
        before.append(definitions(empty))
        run(empty, file)
        insert_missing_rows(empty)
    assert [revert.name for revert in REVERTS] == [file.name for file in reversed(FILES)]
    for revert, expected in zip(REVERTS, reversed(before), strict=True):
        run(empty, revert)
        assert definitions(empty) == expected, revert.name
        run(empty, revert)
        assert definitions(empty) == expected, revert.name
    assert not any(definitions(empty))


def test_the_files_apply_again_after_they_were_reverted(kernel: psycopg.Connection) -> None:
    before = definitions(kernel)
    run(kernel, *REVERTS, *FILES)
    assert definitions(kernel) == before


def test_every_table_but_tenants_references_tenants_by_its_tenant_id(kernel: psycopg.Connection) -> None:
    found = kernel.execute(
        "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND confrelid = 'tenants'::regclass"
        " AND pg_get_constraintdef(oid) LIKE 'FOREIGN KEY (tenant\\_id) REFERENCES tenants(id)%'"
    )
    assert {table for (table,) in found} == tables(kernel) - {"tenants"}


def test_every_foreign_key_is_led_by_an_index_of_its_columns(kernel: psycopg.Connection) -> None:
    """An index counts when it covers all rows and begins with the columns of the key, in any order."""
    keys = kernel.execute(
        "SELECT f.conname, EXISTS (SELECT FROM pg_index i WHERE i.indrelid = f.conrelid AND i.indisvalid"
        " AND i.indpred IS NULL AND (i.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey)"
        " FROM pg_constraint f WHERE f.contype = 'f' AND f.connamespace = 'public'::regnamespace"
    ).fetchall()
    assert len(keys) >= len(ROWS)
    assert [name for name, indexed in keys if not indexed] == []


def test_every_table_function_and_telling_column_has_a_comment(kernel: psycopg.Connection) -> None:
    """Only id, tenant_id, created_at and updated_at, the same everywhere, go without."""
    bare = kernel.execute(
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        " AND obj_description(oid, 'pg_class') IS NULL"
        " UNION ALL SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND obj_description(oid, 'pg_proc') IS NULL"
        " UNION ALL SELECT format('%s.%s', a.attrelid::regclass, a.attname) FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'"
        " AND a.attnum > 0 AND a.attname NOT IN ('id', 'tenant_id', 'created_at', 'updated_at')"
        " AND col_description(a.attrelid, a.attnum) IS NULL"
    ).fetchall()
    assert bare == []


def test_the_migration_of_the_specification_applies_on_top(kernel: psycopg.Connection) -> None:
    kernel.execute(
        "ALTER TABLE tenants\nADD COLUMN preferences JSONB DEFAULT '{}';\n\n"
        "CREATE INDEX idx_tenants_preferences ON tenants USING GIN (preferences);"
    )
    assert kernel.execute("SELECT preferences FROM tenants").fetchall() == [({},)]


def test_the_examples_of_the_readme_run_and_their_migrations_are_safe_to_run_again(kernel: psycopg.Connection) -> None:
    for example in EXAMPLES:
        kernel.execute(example.encode())
        if example.startswith("-- "):
            before = objects(kernel), contents(kernel)
            kernel.execute(example.encode())
            assert (objects(kernel), contents(kernel)) == before, example
    assert len(EXAMPLES) == 6
    assert kernel.execute("SELECT actor FROM audit_ledger WHERE sequence = 2").fetchall() == [("alice",)]


@pytest.mark.parametrize("table", sorted(ROWS.keys() - {"audit_ledger"}))
def test_updated_at_moves_when_a_row_changes_and_only_then(kernel: psycopg.Connection, table: str) -> None:
    text = {"tenants": "name", "users": "display_name", "field_aliases": "alias", "field_dictionary": "description"}
    column = text.get(table, "status")
    value = "'retired'" if table == "data_contracts" else "'approved'"
    query = f"SELECT updated_at = created_at FROM {table}".encode()
    kernel.execute(f"UPDATE {table} SET {column} = {column}".encode())
    assert kernel.execute(query).fetchone() == (True,)
    kernel.execute(f"UPDATE {table} SET {column} = {value}, updated_at = '2001-01-01'".encode())
    assert kernel.execute(query).fetchone() == (False,)
    assert kernel.execute(f"SELECT updated_at > created_at FROM {table}".encode()).fetchone() == (True,)


def test_a_contract_older_than_effective_from_binds_from_its_creation(empty: psycopg.Connection) -> None:
    run(empty, *up_to(11))
    insert_missing_rows(empty)
    run(empty, *FILES[len(up_to(11)) :])
    assert empty.execute("SELECT effective_from = created_at FROM data_contracts").fetchone() == (True,)


@pytest.mark.parametrize("version", [12, 13, 14, 15])
def test_code_that_does_not_know_effective_from_works_after_each_step(empty: psycopg.Connection, version: int) -> None:
    run(empty, *up_to(11))
    insert_missing_rows(empty)
    run(empty, *up_to(version)[len(up_to(11)) :])
    empty.execute("UPDATE data_contracts SET status = 'active'")
    empty.execute(f"INSERT INTO data_contracts (tenant_id, name, version) VALUES ({A}, 'orders', 2)".encode())
    run(empty, *FILES[len(up_to(version)) :])
    with pytest.raises(errors.NotNullViolation):
        empty.execute("UPDATE data_contracts SET effective_from = NULL")


def test_requiring_effective_from_does_not_read_the_table_under_the_exclusive_lock(empty: psycopg.Connection) -> None:
    """PostgreSQL says so itself when a valid CHECK spares it the scan."""
    run(empty, *up_to(14))
    said: list[str | None] = []
    empty.add_notice_handler(lambda notice: said.append(notice.message_primary))
    empty.execute("SET client_min_messages = debug1")
    run(empty, number(15))
    assert any(message and "data_contracts.effective_from" in message and "sufficient" in message for message in said)


def test_a_tenant_without_history_is_deleted_with_all_it_owns(kernel: psycopg.Connection) -> None:
    kernel.execute(f"INSERT INTO tenants (id, slug, name) VALUES ({B}, 'bolt', 'Bolt')".encode())
    for table, statement in ROWS.items():
        if table not in ("tenants", "audit_ledger"):
            kernel.execute(statement.replace(A, B).encode())
    kernel.execute(f"DELETE FROM tenants WHERE id = {B}".encode())
    assert {table: len(rows) for table, rows in contents(kernel).items()} == dict.fromkeys(tables(kernel), 1)


def test_a_tenant_with_history_cannot_be_deleted(kernel: psycopg.Connection) -> None:
    with pytest.raises(errors.IntegrityError):
        kernel.execute("DELETE FROM tenants")


@pytest.mark.parametrize("column", ["business_term_id", "steward_id"])
def test_a_field_cannot_point_into_another_tenant(kernel: psycopg.Connection, column: str) -> None:
    kernel.execute(f"INSERT INTO tenants (id, slug, name) VALUES ({B}, 'bolt', 'Bolt')".encode())
    statement = f"INSERT INTO field_dictionary (tenant_id, name, data_type, {column}) VALUES ({B}, 'x', 'text', {A})"
    with pytest.raises(errors.ForeignKeyViolation):
        kernel.execute(statement.encode())


def test_the_files_need_no_superuser_and_no_public_schema(empty: psycopg.Connection) -> None:
    """Rolled back at the end: roles belong to the whole server."""
    with empty.transaction(force_rollback=True):
        empty.execute(
            "CREATE ROLE schema_owner; CREATE SCHEMA kernel AUTHORIZATION schema_owner;"
            "SET LOCAL ROLE schema_owner; SET LOCAL search_path = kernel"
        )
        run(empty, *FILES, *FILES)
        insert = [statement.replace("INSERT INTO ", "INSERT INTO kernel.").encode() for statement in ROWS.values()]
        empty.execute("SET LOCAL search_path = ''")
        for statement in insert:
            empty.execute(statement)
        assert empty.execute("SELECT count(*) FROM kernel.audit_ledger_verify()").fetchone() == (0,)
        empty.execute("SET LOCAL search_path = kernel")
        run(empty, *REVERTS)
        assert tables(empty) == set()
