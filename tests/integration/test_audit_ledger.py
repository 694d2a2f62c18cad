"""The audit ledger: what may be done to it, what is found out when it was done all the same, and who waits for whom."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import IsolationLevel, errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACME = "00000000-0000-0000-0000-00000000000a"
BOLT = "00000000-0000-0000-0000-00000000000b"

APPEND = (
    "INSERT INTO public.audit_ledger (tenant_id, actor, action, subject_type, subject_id, payload)"
    " SELECT %s, 'alice', 'term.approved', 'business_term', n::text, jsonb_build_object('n', n)"
    " FROM generate_series(1, %s) AS n"
)

# Another value for every column that is not the tenant.
TAMPERED = {
    "sequence": "99",
    "recorded_at": "recorded_at + interval '1 microsecond'",
    "actor": "'mallory'",
    "action": "'term.rejected'",
    "subject_type": "'business_terms'",
    "subject_id": "subject_id || ' '",
    "payload": "'{\"n\": 3.0}'",
    "previous_hash": "sha256(previous_hash)",
    "entry_hash": "sha256(entry_hash)",
}


def append(connection: psycopg.Connection, tenant: str = ACME, *, entries: int = 1) -> None:
    connection.execute(APPEND, [tenant, entries])


def sequences(connection: psycopg.Connection, tenant: str = ACME) -> list[int]:
    found = connection.execute("SELECT sequence FROM audit_ledger WHERE tenant_id = %s ORDER BY sequence", [tenant])
    return [sequence for (sequence,) in found]


def broken(connection: psycopg.Connection, tenant: str | None = None) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT * FROM audit_ledger_verify(%s)", [tenant]).fetchall()


def force(connection: psycopg.Connection, statement: str) -> None:
    """What an owner can do, and an application cannot: switch the triggers off for a moment."""
    with connection.transaction():
        for table in ("audit_ledger", "audit_chain_heads"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        connection.execute(statement.encode())
        for table in ("audit_ledger", "audit_chain_heads"):
            connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())


@pytest.fixture
def database(schema_at: Callable[[str], str]) -> str:
    """A database with the ledger alone."""
    return schema_at("001")


@pytest.fixture
def ledger(database: str) -> Iterator[psycopg.Connection]:
    """A connection to a ledger with two tenants and no entry."""
    with psycopg.connect(database, autocommit=True) as connection:
        for tenant, name in ((ACME, "acme"), (BOLT, "bolt")):
            connection.execute("INSERT INTO tenants (id, slug, name) VALUES (%s, %s, %s)", [tenant, name, name])
        yield connection


@pytest.fixture
def other(database: str) -> Iterator[psycopg.Connection]:
    """A second connection, which gives up rather than wait for ever."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET statement_timeout = '20s'")
        yield connection


def until_blocked(waiter: psycopg.Connection, *, by: psycopg.Connection, seen_from: psycopg.Connection) -> None:
    deadline = time.monotonic() + 10
    pids = [by.info.backend_pid, waiter.info.backend_pid]
    while seen_from.execute("SELECT %s = ANY (pg_blocking_pids(%s))", pids).fetchone() != (True,):
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.005)


def test_entries_of_one_statement_and_of_many_form_one_chain_for_each_tenant(ledger: psycopg.Connection) -> None:
    append(ledger, entries=40)
    append(ledger, BOLT, entries=3)
    append(ledger)
    ledger.execute(
        "INSERT INTO audit_ledger (tenant_id, actor, action, subject_type, subject_id)"
        " SELECT id, 'bob', 'tenant.reviewed', 'tenant', slug FROM tenants, generate_series(1, 2)"
    )
    assert sequences(ledger) == list(range(1, 44))
    assert sequences(ledger, BOLT) == [1, 2, 3, 4, 5]
    assert broken(ledger) == []


def test_an_entry_hash_can_be_computed_outside_the_database(ledger: psycopg.Connection) -> None:
    """JSON as Python writes it by default happens to be the text of jsonb."""
    payload = {"é": '"quoted", \\ and\n', "long": [1, None, True]}
    previous = bytes(32)
    for actor in ('a","b', "Zoë"):
        row = ledger.execute(
            "INSERT INTO audit_ledger (tenant_id, actor, action, subject_type, subject_id, payload)"
            " VALUES (%s, %s, 'term.approved', 'business_term', '7', %s)"
            " RETURNING sequence, extract(epoch FROM recorded_at)::text, entry_hash",
            [ACME, actor, json.dumps(payload)],
        ).fetchone()
        assert row is not None
        sequence, seconds, entry_hash = row
        entry = [ACME, str(sequence), seconds, actor, "term.approved", "business_term", "7", payload, previous.hex()]
        previous = hashlib.sha256(json.dumps(entry, ensure_ascii=False).encode()).digest()
        assert entry_hash == previous


@pytest.mark.parametrize(
    "setting",
    [
        "TimeZone = 'Asia/Kathmandu'",
        "DateStyle = 'German, DMY'",
        "IntervalStyle = 'iso_8601'",
        "extra_float_digits = -15",
        "bytea_output = 'escape'",
        "client_encoding = 'LATIN1'",
        "lc_numeric = 'C'",
        "search_path = 'pg_temp'",
        "default_transaction_isolation = 'serializable'",
    ],
)
def test_no_setting_of_a_session_changes_a_hash_or_stops_an_append(ledger: psycopg.Connection, setting: str) -> None:
    append(ledger, entries=2)
    ledger.execute(f"SET {setting}".encode())
    append(ledger, entries=2)
    assert ledger.execute("SELECT * FROM public.audit_ledger_verify()").fetchall() == []
    ledger.execute("RESET ALL")
    assert broken(ledger) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_ledger SET actor = 'mallory'",
        "UPDATE audit_ledger SET actor = 'mallory' WHERE false",
        "DELETE FROM audit_ledger WHERE sequence = 3",
        "TRUNCATE audit_ledger",
        "TRUNCATE tenants CASCADE",
        "UPDATE audit_chain_heads SET sequence = 2",
        "INSERT INTO audit_chain_heads SELECT id FROM tenants ON CONFLICT DO NOTHING",
        "DELETE FROM audit_chain_heads",
        "TRUNCATE audit_chain_heads",
    ],
)
def test_tampering_is_refused(ledger: psycopg.Connection, statement: str) -> None:
    append(ledger, entries=3)
    with pytest.raises(errors.RestrictViolation, match="the audit ledger is append-only"):
        ledger.execute(statement.encode())
    assert sequences(ledger) == [1, 2, 3]
    assert broken(ledger) == []


@pytest.mark.parametrize("statement", ["UPDATE audit_ledger SET actor = 'mallory'", "DELETE FROM audit_chain_heads"])
def test_tampering_is_refused_where_ordinary_triggers_are_switched_off(
    ledger: psycopg.Connection, statement: str
) -> None:
    ledger.execute("SET session_replication_role = replica")
    with pytest.raises(errors.RestrictViolation):
        ledger.execute(statement.encode())


@pytest.mark.parametrize(
    ("column", "value"),
    [("sequence", "1"), ("recorded_at", "now()"), ("previous_hash", "sha256('')"), ("entry_hash", "sha256('')")],
)
def test_what_the_ledger_sets_itself_cannot_be_given(ledger: psycopg.Connection, column: str, value: str) -> None:
    columns = f"tenant_id, actor, action, subject_type, subject_id, {column}"
    statement = f"INSERT INTO audit_ledger ({columns}) VALUES ('{ACME}', 'alice', 'a', 'b', 'c', {value})"
    with pytest.raises(errors.GeneratedAlways, match="audit_ledger sets sequence"):
        ledger.execute(statement.encode())


def test_the_tampered_columns_below_are_all_there_are(ledger: psycopg.Connection) -> None:
    columns = ledger.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'audit_ledger'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    assert {column for (column,) in columns} == {"tenant_id", *TAMPERED}


@pytest.mark.parametrize("column", TAMPERED)
def test_a_forced_change_of_any_column_is_found_at_its_entry(ledger: psycopg.Connection, column: str) -> None:
    append(ledger, BOLT, entries=5)
    append(ledger, entries=5)
    force(ledger, f"UPDATE audit_ledger SET {column} = {TAMPERED[column]} WHERE sequence = 3 AND tenant_id = '{ACME}'")
    [(tenant, sequence, problem)] = broken(ledger)
    expected = "the entry is missing" if column == "sequence" else "the entry was changed after it was appended"
    assert (str(tenant), sequence, problem) == (ACME, 3, expected)
    assert broken(ledger, BOLT) == []


@pytest.mark.parametrize(
    ("statement", "sequence", "problem"),
    [
        ("UPDATE audit_ledger SET recorded_at = recorded_at - interval '4051 years' WHERE sequence = 2", 2, "changed"),
        ("DELETE FROM audit_ledger WHERE sequence = 1", 1, "missing"),
        ("DELETE FROM audit_ledger WHERE sequence IN (2, 4)", 2, "missing"),
        ("DELETE FROM audit_ledger WHERE sequence >= 4", 4, "missing"),
        ("DELETE FROM audit_ledger", 1, "missing"),
        ("DELETE FROM audit_chain_heads", 1, "unknown to the head"),
        ("UPDATE audit_chain_heads SET sequence = 3", 4, "unknown to the head"),
        ("UPDATE audit_chain_heads SET entry_hash = sha256(entry_hash)", 5, "not the one that the head"),
    ],
)
def test_a_forced_removal_is_found_at_the_first_entry_it_touches(
    ledger: psycopg.Connection, statement: str, sequence: int, problem: str
) -> None:
    append(ledger, entries=5)
    force(ledger, statement)
    [(_, found, said)] = broken(ledger)
    assert found == sequence
    assert problem in said


def test_a_change_with_its_hash_made_to_fit_is_found_at_the_entry_after_it(ledger: psycopg.Connection) -> None:
    append(ledger, entries=5)
    force(ledger, "UPDATE audit_ledger SET actor = 'mallory' WHERE sequence = 3")
    force(ledger, "UPDATE audit_ledger AS e SET entry_hash = audit_entry_hash(e) WHERE sequence = 3")
    [(_, sequence, problem)] = broken(ledger)
    assert (sequence, problem) == (4, "the entry does not continue the one before it")


def test_entries_appended_after_a_removal_do_not_hide_it(ledger: psycopg.Connection) -> None:
    append(ledger, entries=5)
    force(ledger, "DELETE FROM audit_ledger WHERE sequence >= 4")
    append(ledger, entries=3)
    assert sequences(ledger) == [1, 2, 3, 6, 7, 8]
    assert [row[1:] for row in broken(ledger)] == [(4, "the entry is missing")]


@pytest.mark.parametrize("entries", [0, 2])
def test_a_second_append_waits_for_the_first_and_continues_it(
    ledger: psycopg.Connection, other: psycopg.Connection, entries: int
) -> None:
    append(ledger, entries=entries)
    with ThreadPoolExecutor(1) as pool:
        with ledger.transaction():
            append(ledger)
            second = pool.submit(append, other)
            until_blocked(other, by=ledger, seen_from=ledger)
        second.result()
    assert sequences(ledger) == list(range(1, entries + 3))
    assert broken(ledger) == []


def test_an_append_waits_for_a_statement_in_the_midst_of_its_entries(
    ledger: psycopg.Connection, other: psycopg.Connection, database: str
) -> None:
    """The second row of the statement waits for an advisory lock, while the head is locked but not yet moved."""
    append(ledger)
    halting = (
        "INSERT INTO audit_ledger (tenant_id, actor, action, subject_type, subject_id) SELECT %s, 'alice', 'a', 'b',"
        " CASE n WHEN 2 THEN (pg_advisory_xact_lock(1) IS NULL)::text ELSE 'c' END FROM generate_series(1, 3) AS n"
    )
    with psycopg.connect(database, autocommit=True) as slow, ThreadPoolExecutor(2) as pool:
        with ledger.transaction():
            ledger.execute("SELECT pg_advisory_xact_lock(1)")
            first = pool.submit(slow.execute, halting, [ACME])
            until_blocked(slow, by=ledger, seen_from=ledger)
            second = pool.submit(append, other)
            until_blocked(other, by=slow, seen_from=ledger)
        first.result()
        second.result()
    assert sequences(ledger) == [1, 2, 3, 4, 5]
    assert broken(ledger) == []


def test_times_follow_the_chain_and_not_the_beginning_of_a_transaction(
    ledger: psycopg.Connection, other: psycopg.Connection
) -> None:
    with other.transaction():
        other.execute("SELECT now()")
        append(ledger)
        append(other)
    times = ledger.execute("SELECT recorded_at FROM audit_ledger ORDER BY sequence").fetchall()
    assert times == sorted(times)


def test_an_append_made_by_a_trigger_on_the_ledger_continues_the_chain(ledger: psycopg.Connection) -> None:
    ledger.execute(
        "CREATE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO audit_ledger (tenant_id, actor, action, subject_type, subject_id)"
        " VALUES (NEW.tenant_id, 'echo', 'echoed', 'entry', NEW.sequence::text); RETURN NULL; END $$;"
        "CREATE TRIGGER echo AFTER INSERT ON audit_ledger FOR EACH ROW"
        " WHEN (NEW.actor <> 'echo') EXECUTE FUNCTION echo()"
    )
    append(ledger, entries=2)
    assert sequences(ledger) == [1, 2, 3, 4]
    assert broken(ledger) == []


def test_a_rolled_back_append_leaves_no_hole(ledger: psycopg.Connection, other: psycopg.Connection) -> None:
    append(ledger)
    with ThreadPoolExecutor(1) as pool:
        with ledger.transaction(force_rollback=True):
            append(ledger, entries=3)
            second = pool.submit(append, other)
            until_blocked(other, by=ledger, seen_from=ledger)
        second.result()
    assert sequences(ledger) == [1, 2]
    assert broken(ledger) == []


def test_appends_of_two_tenants_do_not_wait_for_each_other(
    ledger: psycopg.Connection, other: psycopg.Connection
) -> None:
    with ledger.transaction():
        append(ledger)
        other.execute("SET lock_timeout = 1")
        append(other, BOLT)


@pytest.mark.parametrize("entries", [0, 2])
@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_an_old_snapshot_gets_a_serialization_failure_and_never_a_fork(
    ledger: psycopg.Connection, other: psycopg.Connection, level: IsolationLevel, entries: int
) -> None:
    append(ledger, entries=entries)
    other.isolation_level = level
    other.autocommit = False
    other.execute("SELECT count(*) FROM audit_ledger")
    append(ledger)
    with pytest.raises(errors.SerializationFailure):
        append(other)
    other.rollback()
    append(other)
    other.commit()
    assert sequences(ledger) == list(range(1, entries + 3))
    assert broken(ledger) == []


def test_a_role_that_may_only_insert_can_append_but_not_move_a_head(ledger: psycopg.Connection) -> None:
    """Rolled back at the end: roles belong to the whole server."""
    with ledger.transaction(force_rollback=True):
        ledger.execute("CREATE ROLE appender; GRANT INSERT ON audit_ledger TO appender; SET LOCAL ROLE appender")
        append(ledger, entries=2)
        with pytest.raises(errors.InsufficientPrivilege), ledger.transaction():
            ledger.execute("UPDATE audit_chain_heads SET sequence = 1")
        with pytest.raises(errors.InsufficientPrivilege, match="audit_ledger_append"), ledger.transaction():
            ledger.execute(
                "CREATE TEMPORARY TABLE decoy (tenant_id uuid);"
                "CREATE TRIGGER decoy BEFORE INSERT ON decoy FOR EACH ROW EXECUTE FUNCTION audit_ledger_append()"
            )
        ledger.execute("RESET ROLE")
        assert sequences(ledger) == [1, 2]
