"""JSON documents of the tasks and of errors: sizes in bytes, times in seconds, timestamps in UTC with Z."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING

from kernel.errors import Drift, FilesInvalid, MigrationFailed
from kernel.migrations.migration import version_of_file
from kernel.migrations.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from kernel.db.repeatable_entries import RepeatableEntry
    from kernel.errors import Failure, KernelError, Problem
    from kernel.lint.expected_locks import ExpectedLock
    from kernel.migrations.migration import Migration
    from kernel.operations.migrate import MigrateResult
    from kernel.operations.preflight import Obstacle
    from kernel.operations.verify import FilesCheck, RecordsCheck
    from kernel.plan import Plan, PlanEntry, Status
    from kernel.schema.drift import SchemaCheck


JsonDocument = dict[str, object]


def json_text(document: JsonDocument) -> str:
    """A document with indented lines, in ASCII, which no stream's encoding can change."""
    return json.dumps(document, indent=2)


def utc_timestamp(moment: datetime) -> str:
    """A moment in UTC with Z, to the second; one without a time zone is taken to be in UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def error_document(failed: KernelError) -> JsonDocument:
    """An error with the keys that apply; that of a migration also with the files applied before and pending.

    That of a rollback has the records that it removed before, and those that remain of what it was to remove.
    """
    body: JsonDocument = {"code": failed.code, "exit": failed.exit, "message": str(failed)}
    if failed.hint:
        body["hint"] = failed.hint
    if failed.problems:
        body["problems"] = _problem_documents(failed.problems)
        first = failed.problems[0]
        body |= _without_nulls({"file": first.file, "line": first.line, "column": first.column})
    if not isinstance(failed, MigrationFailed):
        return {"error": body}
    body |= failure_document(failed.failure) | {"aftermath": failed.aftermath}
    if failed.rolled_back_before is not None:
        return {
            "error": body,
            "removed": [_document_for_filename(name) for name in failed.rolled_back_before],
            "failed": _document_for_filename(failed.failure.file),
            "remaining": [_document_for_filename(name) for name in failed.remaining],
        }
    return {
        "error": body,
        "applied": [_document_for_filename(name) for name in failed.applied],
        "failed": _document_for_filename(failed.failure.file),
        "pending": [_document_for_filename(name) for name in failed.pending],
    }


def failure_document(failure: Failure) -> JsonDocument:
    """What the server said of a statement, with the keys that apply; lines and columns count from 1."""
    keys = ("file", "line", "column", "statement", "sqlstate", "detail", "context")
    return _without_nulls({key: getattr(failure, key) for key in keys})


def _problem_documents(problems: Iterable[Problem]) -> list[JsonDocument]:
    return [_without_nulls(asdict(problem)) for problem in problems]


def _document_for_filename(filename: str) -> JsonDocument:
    return {"version": version_of_file(filename), "filename": filename}


def status_document(now: Status) -> JsonDocument:
    """The document of db.status."""
    return _plan_document(now.database, now.plan) | _repeatable_document(now.repeatable)


def verify_document(
    files: FilesCheck, records: RecordsCheck | None, catalog: SchemaCheck | None = None
) -> JsonDocument:
    """The document of db.verify: that of db.status, and the problems; null where nothing was compared with records.

    `schema` is there when the catalog was compared.
    """
    if records and records.plan:
        document = _plan_document(records.database, records.plan) | _repeatable_document(records.repeatable)
    else:
        document = {
            "database": records.database if records else None,
            "total": files.total,
            "applied": None,
            "pending": None,
            "migrations": [_uncompared_document(one) for one in files.migrations],
        }
    coded = ((FilesInvalid.code, files.problems), (Drift.code, records.problems if records else ()))
    problems = [{"code": code} | document for code, problems in coded for document in _problem_documents(problems)]
    document |= {"revert_files": files.reverts, "gaps": list(files.gaps), "problems": problems}
    if catalog is None:
        return document
    from kernel.report.schema_check import schema_check_document  # noqa: PLC0415 - with --schema only

    return document | {"schema": schema_check_document(catalog)}


def _plan_document(database: str, plan: Plan) -> JsonDocument:
    return {
        "database": database,
        "total": len(plan.entries),
        "applied": plan.applied_count,
        "pending": len(plan.pending),
        "migrations": [_entry_document(entry) for entry in plan.entries],
    }


def _repeatable_document(entries: Sequence[RepeatableEntry]) -> JsonDocument:
    """The repeatable files; {} without any."""
    files = [
        {
            "name": entry.name,
            "state": str(entry.state),
            "applied_at": utc_timestamp(entry.record.applied_at) if entry.record else None,
            "checksum": next((one.checksum for one in (entry.record, entry.migration) if one), None),
        }
        for entry in entries
    ]
    return {"repeatable": files} if files else {}


def _uncompared_document(one: Migration) -> JsonDocument:
    return {
        "version": one.version,
        "filename": one.filename,
        "state": None,
        "applied_at": None,
        "checksum": one.checksum,
    }


def _entry_document(entry: PlanEntry) -> JsonDocument:
    record, migration = entry.record, entry.migration
    checksum = record.checksum if record else migration.checksum if migration else None
    document: JsonDocument = {
        "version": entry.version,
        "filename": entry.filename,
        "state": str(entry.state),
        "applied_at": utc_timestamp(record.applied_at) if record else None,
        "checksum": checksum,
    }
    if entry.waits_for_phase_after:
        document["phase"] = "after"
    if entry.partial:
        document |= {
            "next_statement": entry.partial.finished + 1,
            "invalid_indexes": list(entry.partial.invalid_indexes),
        }
        if entry.partial.problem:
            document["problem"] = entry.partial.problem
        if walk := entry.partial.walk:
            document["batches"] = {"key": walk.key, "after": walk.after, "rows": walk.rows, "percent": walk.percent}
    return document | _without_nulls({"drift": entry.drift or None, "commit": entry.commit, "diff": entry.diff})


def migrate_document(outcome: MigrateResult) -> JsonDocument:
    """The document of db.migrate; `recorded` is there when a squash file was recorded.

    `repeatable` and `pending_repeatable` are there when such files were applied, or wait.
    """
    document: JsonDocument = {
        "applied": [
            {
                "version": one.migration.version,
                "filename": one.migration.filename,
                "seconds": round(one.seconds, 6),
                "statements": one.statements,
            }
            for one in outcome.applied
        ],
        "failed": None,
        "pending": file_documents(outcome.pending),
    }
    if outcome.repeated:
        document["repeatable"] = [
            {
                "name": one.migration.version,
                "filename": one.migration.filename,
                "seconds": round(one.seconds, 6),
                "statements": one.statements,
            }
            for one in outcome.repeated
        ]
    if outcome.pending_repeatable:
        document["pending_repeatable"] = [
            {"name": one.version, "filename": one.filename} for one in outcome.pending_repeatable
        ]
    return document | ({"recorded": file_documents(outcome.recorded)} if outcome.recorded else {})


def preflight_document(
    database: str, pending: Sequence[Migration], locks: Sequence[ExpectedLock], obstacles: Sequence[Obstacle]
) -> JsonDocument:
    """The document of db.preflight."""
    return {
        "database": database,
        "pending": file_documents(pending),
        "locks": [
            {"relation": lock.relation, "mode": lock.mode, "file": lock.filename, "line": lock.line} for lock in locks
        ],
        "obstacles": [
            {
                "kind": one.kind,
                "blocks": one.blocks,
                "message": one.message,
                "remedy": one.remedy,
                "relation": one.relation or None,
                "pid": one.pid or None,
            }
            | ({"file": one.filename, "line": one.line} if one.filename else {})
            for one in obstacles
        ],
    }


def file_documents(migrations: Iterable[Migration]) -> list[JsonDocument]:
    """Migrations by version and filename, and the phase of one that waits."""
    documents = []
    for one in migrations:
        document: JsonDocument = {"version": one.version, "filename": one.filename}
        if one.phase is Phase.AFTER:
            document["phase"] = str(one.phase)
        documents.append(document)
    return documents


def _without_nulls(values: dict[str, object]) -> JsonDocument:
    return {key: value for key, value in values.items() if value is not None}
