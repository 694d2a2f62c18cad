"""The JSON documents of INTERFACE.md, "JSON": sizes in bytes, times in seconds, timestamps in UTC with Z."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from kernel.errors import Drift, FilesInvalid, MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.errors import KernelError, Problem
    from kernel.files.migration import Migration
    from kernel.migrate import Outcome
    from kernel.plan import Entry, Plan
    from kernel.status import Status
    from kernel.verify import Files, Records

Document = dict[str, object]


def text(document: Document) -> str:
    """One document, readable by people too; in ASCII, so that no stream's encoding can change it."""
    return json.dumps(document, indent=2)


def error(failed: KernelError) -> Document:
    """An error with the keys that apply; one of a run says what the run had applied before, and what still waits."""
    body: Document = {"code": failed.code, "exit": failed.exit, "message": str(failed)}
    if failed.hint:
        body["hint"] = failed.hint
    if failed.problems:
        body["problems"] = _problems(failed.problems)
        first = failed.problems[0]
        body |= _present({"file": first.file, "line": first.line, "column": first.column})
    if isinstance(failed, MigrationFailed):
        place = asdict(failed.failure)
        keys = ("file", "line", "column", "statement", "sqlstate", "detail", "context")
        body |= _present({key: place[key] for key in keys})
        body["aftermath"] = failed.aftermath
        applied, pending = ([_named(name) for name in names] for names in (failed.applied, failed.pending))
        return {"error": body, "applied": applied, "failed": _named(failed.failure.file), "pending": pending}
    return {"error": body}


def _problems(problems: Iterable[Problem]) -> list[Document]:
    return [_present(asdict(problem)) for problem in problems]


def _named(filename: str) -> Document:
    return {"version": filename.rpartition("/")[2].partition("_")[0], "filename": filename}


def status(now: Status) -> Document:
    """The document of db.status."""
    return _compared(now.database, now.plan)


def verified(files: Files, records: Records | None) -> Document:
    """The document of db.verify: that of db.status, and the problems. What was not compared with records is null."""
    if records and records.plan:
        document = _compared(records.database, records.plan)
    else:
        document = {
            "database": records.database if records else None,
            "total": files.total,
            "applied": None,
            "pending": None,
            "migrations": [_unknown(one) for one in files.migrations],
        }
    coded = ((FilesInvalid.code, files.problems), (Drift.code, records.problems if records else ()))
    problems = [{"code": code} | problem for code, found in coded for problem in _problems(found)]
    return document | {"revert_files": files.reverts, "gaps": list(files.gaps), "problems": problems}


def _compared(database: str, plan: Plan) -> Document:
    return {
        "database": database,
        "total": len(plan.entries),
        "applied": plan.applied,
        "pending": len(plan.pending),
        "migrations": [_entry(entry) for entry in plan.entries],
    }


def _unknown(one: Migration) -> Document:
    return {
        "version": one.version,
        "filename": one.filename,
        "state": None,
        "applied_at": None,
        "checksum": one.checksum,
    }


def _entry(entry: Entry) -> Document:
    record, migration = entry.record, entry.migration
    checksum = record.checksum if record else migration.checksum if migration else None
    document: Document = {
        "version": entry.version,
        "filename": entry.filename,
        "state": str(entry.state),
        "applied_at": record.applied_at.isoformat(timespec="seconds") + "Z" if record else None,
        "checksum": checksum,
    }
    return document | _present({"drift": entry.drift or None, "commit": entry.commit, "diff": entry.diff})


def migrated(outcome: Outcome) -> Document:
    """The document of db.migrate."""
    return {
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
        "pending": files(outcome.pending),
    }


def files(migrations: Iterable[Migration]) -> list[Document]:
    """Migrations by version and filename."""
    return [{"version": one.version, "filename": one.filename} for one in migrations]


def _present(values: dict[str, object]) -> Document:
    return {key: value for key, value in values.items() if value is not None}
