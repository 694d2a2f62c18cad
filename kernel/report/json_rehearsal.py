"""The JSON document of db.snapshot-test: sizes in bytes, times in seconds, moments in UTC with Z.

Scripts rely on the names of the keys. Lists are in the order of the values, so that the page can point into them.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

from kernel.lint.lock_modes import blocked_commands
from kernel.report.json_documents import failure_document

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

_SECONDS_DIGITS = 6  # a microsecond is the resolution of the measurements


def rehearsal_document(rehearsal: Rehearsal) -> JsonDocument:
    """The whole document."""
    return {
        "verdict": rehearsal.verdict,
        "database": rehearsal.database,
        "seconds": _round_seconds(rehearsal.seconds),
        "source": _source_document(rehearsal.source),
        "restore": _restore_document(rehearsal.restore),
        "migrations": [_run_document(run) for run in rehearsal.runs],
        "blocked": [_blocked_document(one) for one in rehearsal.blocked],
        "traffic": [_traffic_document(one) for one in rehearsal.traffic],
        "tables": [_table_document(one) for one in rehearsal.receipts],
        "schema": list(rehearsal.schema),
        "practices": [
            {"name": one.name, "held": one.held, "details": list(one.details)} for one in rehearsal.practices
        ],
        "rerun_safe": rehearsal.rerun_safe,
        "findings": [_finding_document(one) for one in rehearsal.findings],
        "reasons": [_finding_document(one) for one in rehearsal.reasons],
        **_suggestion_keys(rehearsal.advice),
        "environment": [{"name": name, "value": value} for name, value in rehearsal.environment],
    }


def _source_document(source: DumpSource) -> JsonDocument:
    return {
        "name": source.name,
        "kind": source.kind,
        "bytes": source.size_bytes,
        "server_version": source.server_version or None,
        "dumped_at": None,  # a dump does not say when it was made, in a known time zone; the key stays for readers
    }


def _restore_document(restore: Restore) -> JsonDocument:
    return {
        "seconds": _round_seconds(restore.seconds),
        "bytes": restore.size_bytes,
        "reused": restore.reused,
        "clone_seconds": _round_seconds(restore.clone_seconds),
        "warnings": list(restore.warnings),
    }


def _run_document(run: Run) -> JsonDocument:
    return {
        "version": run.version,
        "filename": run.filename,
        "transactional": run.transactional,
        "at_seconds": _round_seconds(run.at_seconds),
        "seconds": _round_seconds(run.seconds),
        "wal_bytes": run.wal_bytes,
        "growth_bytes": run.growth_bytes,
        "failed": _run_failure_document(run.failed) if run.failed else None,
        "statements": [_statement_document(one) for one in run.statements],
    }


def _statement_document(statement: TracedStatement) -> JsonDocument:
    return {
        "line": statement.line,
        "sql": statement.sql,
        "at_seconds": _round_seconds(statement.at_seconds),
        "seconds": _round_seconds(statement.seconds),
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
        "at_seconds": _round_seconds(lock.at_seconds),
        "held_seconds": _round_seconds(lock.held_seconds),
        "waited_seconds": _round_seconds(lock.waited_seconds),
        "blocks": list(blocked_commands(lock.mode)),
    }


def _run_failure_document(failed: RunFailure) -> JsonDocument:
    """The keys of an error, as far as they apply, and the rows that prevent the migration."""
    document: JsonDocument = {"code": failed.code, "message": failed.message, "aftermath": failed.aftermath}
    document |= {"hint": failed.hint} if failed.hint else {}
    document |= failure_document(failed.failure) if failed.failure else {}
    return document | {"violations": [asdict(one) for one in failed.violations]}


def _blocked_document(one: BlockedTime) -> JsonDocument:
    return {
        "relation": one.relation.name,
        "version": one.version,
        "reads_seconds": _round_seconds(one.reads_seconds),
        "writes_seconds": _round_seconds(one.writes_seconds),
    }


def _traffic_document(one: Standstill) -> JsonDocument:
    return {
        "relation": one.relation,
        "reads_longest_seconds": _round_seconds(one.reads_longest_seconds),
        "reads_total_seconds": _round_seconds(one.reads_total_seconds),
        "writes_longest_seconds": _round_seconds(one.writes_longest_seconds),
        "writes_total_seconds": _round_seconds(one.writes_total_seconds),
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
        "seconds": _round_seconds(receipt.seconds),
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


def _suggestion_keys(advice: SuggestionResult | None) -> JsonDocument:
    """The suggestions, then the files without one, and the proof of all; `proof` is null where nothing was tried."""
    if advice is None:
        return {"suggestions": [], "proof": None}
    suggestions = [_suggestion_document(trial, proven=advice.proven) for trial in advice.trials]
    tried = {trial.suggestion.filename for trial in advice.trials}
    untried = [(filename, one) for filename, one in advice.refused if filename not in tried]
    for filename, group in groupby(untried, key=lambda pair: pair[0]):
        suggestions.append(_without_suggestion_document(filename, [one for _, one in group]))
    proof = {
        "proven": advice.proven,
        "differences": list(advice.differences),
        "fresh": list(advice.nondeterministic_values),
        "failed": advice.failure or None,
        "seconds": _round_seconds(advice.seconds),
    }
    return {"suggestions": suggestions, "proof": proof}


def _without_suggestion_document(filename: str, refused: Sequence[RefusedSuggestion]) -> JsonDocument:
    return {
        "version": filename.partition("_")[0],
        "filename": filename,
        "files": [],
        "before": [],
        "after": [],
        "proven": False,
        "leaves": [],
        "refused": [asdict(one) for one in refused],
    }


def _suggestion_document(trial: SuggestionTrial, *, proven: bool) -> JsonDocument:
    suggestion = trial.suggestion
    return _without_suggestion_document(suggestion.filename, suggestion.refused) | {
        "version": suggestion.version,
        "files": [file.filename for file in suggestion.files],
        "before": [_blocked_document(one) for one in trial.blocked_before],
        "after": [_blocked_document(one) for one in trial.blocked_after],
        "proven": proven,
        "leaves": [],  # a suggestion ends in the same schema; the key is kept for readers
    }


def _round_seconds(value: float) -> float:
    return round(value, _SECONDS_DIGITS)
