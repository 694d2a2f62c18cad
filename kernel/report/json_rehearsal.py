"""Parts that several documents are made of."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

from kernel.lint.lock_modes import blocked_commands
from kernel.report.json_documents import utc_timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.lint.finding import Finding
    from kernel.rehearsal.result import (
        BlockedTime,
        DumpSource,
        Lock,
        Receipt,
        RefusedSuggestion,
        Rehearsal,
        Restore,
        Run,
        RunFailure,
        Standstill,
        SuggestionResult,
        SuggestionTrial,
        TracedStatement,
    )
    from kernel.report.json_documents import JsonDocument


_SECONDS_DIGITS = 6  # a microsecond is the finest that the witnesses tell apart


def round_seconds(value: float) -> float:
    """A duration, without digits that mean nothing."""
    return round(value, _SECONDS_DIGITS)


def blocked_document(one: BlockedTime) -> JsonDocument:
    """For how long a relation was shut."""
    return {
        "relation": one.relation.name,
        "version": one.version,
        "reads_seconds": round_seconds(one.reads_seconds),
        "writes_seconds": round_seconds(one.writes_seconds),
    }


# The safer way in the JSON document of db.snapshot-test: `suggestions`, one by one, and the `proof` for all.


def suggestion_keys(advice: SuggestionResult | None) -> JsonDocument:
    """Both keys; nothing was tried where `proof` is null, and files without a suggestion stand behind the others."""
    if advice is None:
        return {"suggestions": [], "proof": None}
    tried = {trial.suggestion.filename for trial in advice.trials}
    untried = [(name, one) for name, one in advice.refused if name not in tried]
    return {
        "suggestions": [
            *(_suggested_document(trial, proven=advice.proven) for trial in advice.trials),
            *(
                _refused_file_document(name, [one for _, one in group])
                for name, group in groupby(untried, key=lambda pair: pair[0])
            ),
        ],
        "proof": {
            "proven": advice.proven,
            "differences": list(advice.differences),
            "fresh": list(advice.nondeterministic_values),
            "failed": advice.failure or None,
            "seconds": round_seconds(advice.seconds),
        },
    }


def _suggested_document(trial: SuggestionTrial, *, proven: bool) -> JsonDocument:
    suggested = trial.suggestion
    return {
        "version": suggested.version,
        "filename": suggested.filename,
        "files": [file.filename for file in suggested.files],
        "before": [blocked_document(one) for one in trial.blocked_before],
        "after": [blocked_document(one) for one in trial.blocked_after],
        "proven": proven,
        "leaves": [one.description for one in suggested.leftovers],
        "refused": [_refused_document(one) for one in suggested.refused],
    }


def _refused_file_document(filename: str, refused: Sequence[RefusedSuggestion]) -> JsonDocument:
    return {
        "version": filename.partition("_")[0],
        "filename": filename,
        "files": [],
        "before": [],
        "after": [],
        "proven": False,
        "leaves": [],
        "refused": [_refused_document(one) for one in refused],
    }


def _refused_document(one: RefusedSuggestion) -> JsonDocument:
    return {"rule": one.rule, "line": one.line, "reason": one.reason}


# The JSON document of db.snapshot-test (INTERFACE: "JSON"): sizes in bytes, times in seconds, moments in UTC with Z.
#
# The names of its keys are what scripts rely on; the figures of the page point into it.


def rehearsal_document(rehearsal: Rehearsal) -> JsonDocument:
    """All of a rehearsal; lists are in the order of the value, so that a place in one is a place in the other."""
    return {
        "verdict": rehearsal.verdict,
        "database": rehearsal.database,
        "seconds": round_seconds(rehearsal.seconds),
        "source": _source_document(rehearsal.source),
        "restore": _restore_document(rehearsal.restore),
        "migrations": [_run_document(run) for run in rehearsal.runs],
        "blocked": [blocked_document(one) for one in rehearsal.blocked],
        "traffic": [_traffic_document(one) for one in rehearsal.traffic],
        "tables": [_table_document(one) for one in rehearsal.receipts],
        "schema": list(rehearsal.schema),
        "practices": [
            {"name": one.name, "held": one.held, "details": list(one.details)} for one in rehearsal.practices
        ],
        "rerun_safe": rehearsal.rerun_safe,
        "findings": [_finding_document(one) for one in rehearsal.findings],
        "reasons": [_finding_document(one) for one in rehearsal.reasons],
        **suggestion_keys(rehearsal.advice),
        "environment": [{"name": name, "value": value} for name, value in rehearsal.environment],
    }


def _source_document(source: DumpSource) -> JsonDocument:
    return {
        "name": source.name,
        "kind": source.kind,
        "bytes": source.size_bytes,
        "server_version": source.server_version or None,
        "dumped_at": utc_timestamp(source.dumped_at) if source.dumped_at else None,
    }


def _restore_document(restore: Restore) -> JsonDocument:
    return {
        "seconds": round_seconds(restore.seconds),
        "bytes": restore.size_bytes,
        "reused": restore.reused,
        "clone_seconds": round_seconds(restore.clone_seconds),
        "warnings": list(restore.warnings),
    }


def _run_document(run: Run) -> JsonDocument:
    return {
        "version": run.version,
        "filename": run.filename,
        "transactional": run.transactional,
        "at_seconds": round_seconds(run.at_seconds),
        "seconds": round_seconds(run.seconds),
        "wal_bytes": run.wal_bytes,
        "growth_bytes": run.growth_bytes,
        "failed": _failed_document(run.failed) if run.failed else None,
        "statements": [_statement_document(one) for one in run.statements],
    }


def _statement_document(statement: TracedStatement) -> JsonDocument:
    return {
        "line": statement.line,
        "sql": statement.sql,
        "at_seconds": round_seconds(statement.at_seconds),
        "seconds": round_seconds(statement.seconds),
        "wal_bytes": statement.wal_bytes,
        "locks": [_lock_document(one) for one in statement.locks],
        "rewrites": [one.name for one in statement.rewrites],
        "index_rebuilds": [one.name for one in statement.index_rebuilds],
        "scans": [
            {"relation": one.relation.name, "rows": one.rows, "under": one.held_lock_mode or None}
            for one in statement.scans
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


def _lock_document(lock: Lock) -> JsonDocument:
    return {
        "relation": lock.relation.name,
        "mode": lock.mode,
        "at_seconds": round_seconds(lock.at_seconds),
        "held_seconds": round_seconds(lock.held_seconds),
        "waited_seconds": round_seconds(lock.waited_seconds),
        "blocks": list(blocked_commands(lock.mode)),
    }


def _failed_document(failed: RunFailure) -> JsonDocument:
    """The keys of an error (INTERFACE: "JSON"), as far as they apply, and the rows that stood in the way."""
    place = failed.failure
    found: JsonDocument = {"code": failed.code, "message": failed.message, "aftermath": failed.aftermath}
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


def _traffic_document(one: Standstill) -> JsonDocument:
    return {
        "relation": one.relation,
        "reads_longest_seconds": round_seconds(one.reads_longest_seconds),
        "reads_total_seconds": round_seconds(one.reads_total_seconds),
        "writes_longest_seconds": round_seconds(one.writes_longest_seconds),
        "writes_total_seconds": round_seconds(one.writes_total_seconds),
        "queued": one.queued,
    }


def _table_document(receipt: Receipt) -> JsonDocument:
    return {
        "table": receipt.table,
        "rows_before": receipt.rows_before,
        "rows_after": receipt.rows_after,
        "content": str(receipt.content),
        "added": receipt.added,
        "removed": receipt.removed,
        "changed": receipt.changed,
        "columns": [{"column": one.column, "rows": one.rows, "how": one.detail} for one in receipt.columns],
        "unexpected": [str(one) for one in receipt.unexpected],
        "proof": receipt.proof,
        "query": receipt.query or None,
        "seconds": round_seconds(receipt.seconds),
    }


def _finding_document(finding: Finding) -> JsonDocument:
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
