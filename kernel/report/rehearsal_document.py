"""The JSON document of db.snapshot-test (INTERFACE: "JSON"): sizes in bytes, times in seconds, moments in UTC with Z.

The names of its keys are what scripts rely on; the figures of the page point into it.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING

from kernel.rehearsal import modes
from kernel.report import suggestion_document
from kernel.report.document_parts import seconds, shut

if TYPE_CHECKING:
    from datetime import datetime

    from kernel.rehearsal.result import (
        Failed,
        Finding,
        Lock,
        Receipt,
        Rehearsal,
        Restore,
        Run,
        Source,
        Standstill,
        Statement,
    )
    from kernel.report.documents import Document


def document(rehearsal: Rehearsal) -> Document:
    """All of a rehearsal; lists are in the order of the value, so that a place in one is a place in the other."""
    return {
        "verdict": rehearsal.verdict,
        "database": rehearsal.database,
        "seconds": seconds(rehearsal.seconds),
        "source": _source(rehearsal.source),
        "restore": _restore(rehearsal.restore),
        "migrations": [_run(run) for run in rehearsal.runs],
        "blocked": [shut(one) for one in rehearsal.shut],
        "traffic": [_standstill(one) for one in rehearsal.traffic],
        "tables": [_receipt(one) for one in rehearsal.receipts],
        "schema": list(rehearsal.schema),
        "practices": [
            {"name": one.name, "held": one.held, "details": list(one.details)} for one in rehearsal.practices
        ],
        "rerun_safe": rehearsal.rerun_safe,
        "findings": [_finding(one) for one in rehearsal.findings],
        "reasons": [_finding(one) for one in rehearsal.reasons],
        **suggestion_document.keys(rehearsal.advice),
        "environment": [{"name": name, "value": value} for name, value in rehearsal.environment],
    }


def timestamp(moment: datetime) -> str:
    """A moment in UTC with Z; one without a time zone is taken to be in UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _source(source: Source) -> Document:
    return {
        "name": source.name,
        "kind": source.kind,
        "bytes": source.size_bytes,
        "server_version": source.server_version or None,
        "dumped_at": timestamp(source.dumped_at) if source.dumped_at else None,
    }


def _restore(restore: Restore) -> Document:
    return {
        "seconds": seconds(restore.seconds),
        "bytes": restore.bytes,
        "reused": restore.reused,
        "clone_seconds": seconds(restore.clone_seconds),
        "warnings": list(restore.warnings),
    }


def _run(run: Run) -> Document:
    return {
        "version": run.version,
        "filename": run.filename,
        "transactional": run.transactional,
        "at_seconds": seconds(run.at_seconds),
        "seconds": seconds(run.seconds),
        "wal_bytes": run.wal_bytes,
        "growth_bytes": run.growth_bytes,
        "failed": _failed(run.failed) if run.failed else None,
        "statements": [_statement(one) for one in run.statements],
    }


def _statement(statement: Statement) -> Document:
    return {
        "line": statement.line,
        "sql": statement.sql,
        "at_seconds": seconds(statement.at_seconds),
        "seconds": seconds(statement.seconds),
        "wal_bytes": statement.wal_bytes,
        "locks": [_lock(one) for one in statement.locks],
        "rewrites": [one.name for one in statement.rewrites],
        "index_rebuilds": [one.name for one in statement.index_rebuilds],
        "scans": [
            {"relation": one.relation.name, "rows": one.rows, "under": one.under or None} for one in statement.scans
        ],
        "written": [
            {
                "relation": one.relation.name,
                "inserted": one.inserted,
                "updated": one.updated,
                "deleted": one.deleted,
            }
            for one in statement.written
        ],
        "commands": list(statement.commands),
        "notes": list(statement.notes),
    }


def _lock(lock: Lock) -> Document:
    return {
        "relation": lock.relation.name,
        "mode": lock.mode,
        "at_seconds": seconds(lock.at_seconds),
        "held_seconds": seconds(lock.held_seconds),
        "waited_seconds": seconds(lock.waited_seconds),
        "blocks": list(modes.blocks(lock.mode)),
    }


def _failed(failed: Failed) -> Document:
    """The keys of an error (INTERFACE: "JSON"), as far as they apply, and the rows that stood in the way."""
    place = failed.failure
    found: Document = {"code": failed.code, "message": failed.message, "aftermath": failed.aftermath}
    values = {
        "hint": failed.hint or None,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "statement": place.statement if place else None,
        "sqlstate": place.sqlstate if place else None,
        "detail": place.detail if place else None,
        "context": place.context if place else None,
    }
    found |= {key: value for key, value in values.items() if value is not None}
    return found | {"violations": [asdict(one) for one in failed.violations]}


def _standstill(one: Standstill) -> Document:
    return {
        "relation": one.relation,
        "reads_longest_seconds": seconds(one.reads_longest_seconds),
        "reads_total_seconds": seconds(one.reads_total_seconds),
        "writes_longest_seconds": seconds(one.writes_longest_seconds),
        "writes_total_seconds": seconds(one.writes_total_seconds),
        "queued": one.queued,
    }


def _receipt(receipt: Receipt) -> Document:
    return {
        "table": receipt.table,
        "rows_before": receipt.rows_before,
        "rows_after": receipt.rows_after,
        "content": str(receipt.content),
        "added": receipt.added,
        "removed": receipt.removed,
        "changed": receipt.changed,
        "columns": [{"column": one.column, "rows": one.rows, "how": one.how} for one in receipt.columns],
        "unexpected": [str(one) for one in receipt.unexpected],
        "proof": receipt.proof,
        "query": receipt.query or None,
        "seconds": seconds(receipt.seconds),
    }


def _finding(finding: Finding) -> Document:
    return {
        "rule": finding.rule,
        "severity": str(finding.severity),
        "version": finding.version or None,
        "filename": finding.filename or None,
        "line": finding.line,
        "relation": finding.relation or None,
        "message": finding.message,
        "remedy": finding.remedy,
    }
