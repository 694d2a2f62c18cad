"""The JSON document of db.snapshot-test: sizes in bytes, times in seconds, moments in UTC with Z.

Scripts rely on the names of the keys. Lists are in the order of the values, so that the page can point into them.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from itertools import groupby
from typing import TYPE_CHECKING

from kernel.lint.lock_modes import blocked_commands
from kernel.migrations.migration import version_of_file
from kernel.rehearsal.result import Relation
from kernel.report.json_documents import failure_document, utc_timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import DataclassInstance

    from kernel.lint.finding import Finding
    from kernel.rehearsal.result import (
        DumpSource,
        Receipt,
        RefusedSuggestion,
        Rehearsal,
        Restore,
        Run,
        RunFailure,
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
        "began_at": utc_timestamp(rehearsal.began_at) if rehearsal.began_at else None,
        "seconds": _round_seconds(rehearsal.seconds),
        "source": _source_document(rehearsal.source),
        "restore": _restore_document(rehearsal.restore),
        "migrations": [_run_document(run) for run in rehearsal.runs],
        "blocked": [_figures(one) for one in rehearsal.blocked],
        "traffic": [_figures(one) for one in rehearsal.traffic],
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
    failed = _run_failure_document(run.failed) if run.failed else None
    return _figures(run) | {"failed": failed, "statements": [_statement_document(one) for one in run.statements]}


def _statement_document(statement: TracedStatement) -> JsonDocument:
    return _figures(statement) | {
        "locks": [_figures(one) | {"blocks": list(blocked_commands(one.mode))} for one in statement.locks],
        "rewrites": [one.name for one in statement.rewrites],
        "index_rebuilds": [one.name for one in statement.index_rebuilds],
        "scans": [
            {"relation": one.relation.name, "rows": one.rows, "under": one.held_lock_mode or None}
            for one in statement.scans
        ],
        "written": [_figures(one) for one in statement.written],
        "commands": list(statement.commands),
        "notes": list(statement.notes),
    }


def _run_failure_document(failed: RunFailure) -> JsonDocument:
    """The keys of an error, as far as they apply, and the rows that prevent the migration."""
    document: JsonDocument = {"code": failed.code, "message": failed.message, "aftermath": failed.aftermath}
    document |= {"hint": failed.hint} if failed.hint else {}
    document |= failure_document(failed.failure) if failed.failure else {}
    violations = [asdict(one) for one in failed.violations]
    return document | {
        "violations": [{key: value for key, value in one.items() if value is not None} for one in violations]
    }


def _table_document(receipt: Receipt) -> JsonDocument:
    return _figures(receipt) | {
        "content": str(receipt.content),
        "columns": [{"column": one.column, "rows": one.rows, "how": one.detail} for one in receipt.columns],
        "unexpected": [str(one) for one in receipt.unexpected],
        "query": receipt.query or None,
    }


def _finding_document(finding: Finding) -> JsonDocument:
    optional = {key: getattr(finding, key) or None for key in ("version", "filename", "relation")}
    return _figures(finding) | optional | {"severity": str(finding.severity)}


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
        "version": version_of_file(filename),
        "filename": filename,
        "files": [],
        "before": [],
        "after": [],
        "proven": False,
        "refused": [asdict(one) for one in refused],
    }


def _suggestion_document(trial: SuggestionTrial, *, proven: bool) -> JsonDocument:
    suggestion = trial.suggestion
    return _without_suggestion_document(suggestion.filename, suggestion.refused) | {
        "version": suggestion.version,
        "files": [file.filename for file in suggestion.files],
        "before": [_figures(one) for one in trial.blocked_before],
        "after": [_figures(one) for one in trial.blocked_after],
        "proven": proven,
    }


def _round_seconds(value: float) -> float:
    return round(value, _SECONDS_DIGITS)


def _figures(value: DataclassInstance) -> JsonDocument:
    """The plain fields of a value under their names: durations rounded, a relation as its name, no lists."""
    found: JsonDocument = {}
    for field in fields(value):
        one = getattr(value, field.name)
        if isinstance(one, float):
            one = _round_seconds(one)
        if not isinstance(one, tuple):
            found[field.name] = one.name if isinstance(one, Relation) else one
    return found
