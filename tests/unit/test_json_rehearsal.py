"""The JSON document of a rehearsal; scripts rely on its keys."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from kernel.report.json_documents import json_text, utc_timestamp
from kernel.report.json_rehearsal import rehearsal_document
from tests.browser.samples import SAMPLES, failing, passing

# INTERFACE.md, "JSON", snapshot-test.
PROMISED = {"verdict", "restore", "migrations", "blocked", "tables", "rerun_safe", "findings"}
OF_A_MIGRATION = {"version", "filename", "seconds", "wal_bytes", "statements"}
OF_A_STATEMENT = {"line", "sql", "seconds", "locks", "rewrites"}
OF_A_LOCK = {"relation", "mode", "held_seconds", "blocks"}
OF_A_FINDING = {"rule", "severity", "version", "line", "relation", "message", "remedy"}


def read(sample: str) -> dict[str, list[dict[str, list[dict[str, list[dict[str, object]]]]]]]:
    found: dict[str, list[dict[str, list[dict[str, list[dict[str, object]]]]]]] = json.loads(
        json_text(rehearsal_document(SAMPLES[sample]()))
    )
    return found


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_document_has_every_promised_key(sample: str) -> None:
    found = read(sample)
    assert found.keys() >= PROMISED
    for migration in found["migrations"]:
        assert migration.keys() >= OF_A_MIGRATION
        for statement in migration["statements"]:
            assert statement.keys() >= OF_A_STATEMENT
            assert all(lock.keys() >= OF_A_LOCK for lock in statement["locks"])
    assert all(one.keys() >= {"relation", "reads_seconds", "writes_seconds"} for one in found["blocked"])
    assert all(one.keys() >= {"table", "rows_before", "rows_after", "content"} for one in found["tables"])
    assert all(one.keys() >= OF_A_FINDING for one in (*found["findings"], *found["reasons"]))


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_document_is_ascii_whatever_the_names_are(sample: str) -> None:
    assert json_text(rehearsal_document(SAMPLES[sample]())).isascii()


def test_a_lock_lists_the_commands_it_blocks() -> None:
    lock = read("failing")["migrations"][1]["statements"][1]["locks"][0]
    assert lock == {
        "relation": "public.orders",
        "mode": "ACCESS EXCLUSIVE",
        "at_seconds": 2.112,
        "held_seconds": 41.38,
        "waited_seconds": 0.592,
        "blocks": ["SELECT", "SELECT FOR UPDATE", "INSERT", "UPDATE", "DELETE", "VACUUM"],
    }


def test_a_failed_migration_has_its_error_place_and_violating_rows() -> None:
    failed = rehearsal_document(failing())["migrations"][2]["failed"]  # type: ignore[index]
    assert failed == {
        "code": "migration_failed",
        "message": 'column "effective_from" of relation "business_terms" contains null values',
        "aftermath": "rolled back: the database is as it was before this file",
        "hint": "fill the column first, or add the rows' values in an earlier migration",
        "file": "018_require_effective_from.sql",
        "line": 4,
        "column": 1,
        "statement": "ALTER TABLE business_terms ALTER COLUMN effective_from SET NOT NULL;",
        "sqlstate": "23502",
        "detail": "Failing column: effective_from",
        "context": "PL/pgSQL function audit() line 3",
        "violations": [
            {
                "relation": "public.business_terms",
                "constraint": "effective_from NOT NULL",
                "rows": 31,
                "query": "SELECT * FROM public.business_terms AS t WHERE t.effective_from IS NULL",
                "check": "-- migrate: check no row of public.business_terms violates effective_from NOT NULL\n"
                "SELECT NOT EXISTS (SELECT * FROM public.business_terms AS t WHERE t.effective_from IS NULL);",
            }
        ],
    }


def test_the_copy_has_its_source_and_whether_it_was_reused() -> None:
    found = rehearsal_document(passing())
    assert found["restore"] == {
        "seconds": 12.41,
        "bytes": 1_982_464_000,
        "reused": True,
        "clone_seconds": 0.482,
        "warnings": [],
    }
    assert found["source"] == {
        "name": "shop-2026-11-01.dump",
        "kind": "custom archive",
        "bytes": 318_442_112,
        "server_version": "15.18",
    }


def test_a_suggestion_has_its_files_blocked_times_and_proof() -> None:
    found: Any = rehearsal_document(failing())
    tried, untried = found["suggestions"]
    assert tried == {
        "version": "017",
        "filename": "017_widen_order_ids.sql",
        "files": ["017_widen_order_ids.sql", "018_widen_order_ids_index.sql"],
        "before": [
            {"relation": "public.orders", "version": "017", "reads_seconds": 41.38, "writes_seconds": 41.38},
            {"relation": "billing.invoices", "version": "017", "reads_seconds": 0.0, "writes_seconds": 4.051},
        ],
        "after": [
            {"relation": "public.users", "version": "017", "reads_seconds": 0.002, "writes_seconds": 0.002},
            {"relation": "public.orders", "version": "017", "reads_seconds": 41.3, "writes_seconds": 41.3},
        ],
        "proven": True,
        "refused": [{"rule": "type-change-rewrites", "line": 5, "reason": "a view depends on id"}],
    }
    assert (untried["filename"], untried["files"], untried["proven"]) == ("018_require_effective_from.sql", [], False)
    assert untried["refused"] == [{"rule": "set-not-null-scans", "line": 4, "reason": "it fails"}]
    assert found["proof"] == {
        "proven": True,
        "differences": [],
        "fresh": ["public.users: 12 004 values of touched_at"],
        "failed": None,
        "seconds": 61.2,
    }


def test_without_suggest_there_are_no_suggestions() -> None:
    assert (rehearsal_document(passing())["suggestions"], rehearsal_document(passing())["proof"]) == ([], None)


def test_timestamps_of_any_time_zone_are_written_in_utc() -> None:
    assert utc_timestamp(datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2026-02-28T23:00:00Z"
    assert utc_timestamp(datetime(2026, 3, 1, 1)) == "2026-03-01T01:00:00Z"  # noqa: DTZ001 - taken to be in UTC


def test_only_reasons_make_a_rehearsal_fail() -> None:
    assert rehearsal_document(failing())["verdict"] == "fail"
    assert rehearsal_document(replace(failing(), reasons=()))["verdict"] == "pass"
