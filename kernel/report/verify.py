"""The report of db.verify: each problem of the files and each difference between files and records as a finding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.errors import Drift, FilesInvalid
from kernel.migrations.paired_files import VERIFY_FOLDER
from kernel.migrations.script import UnwrittenProblem
from kernel.plan import DriftProblem
from kernel.report.schema_check import difference_text, schema_check_scope
from kernel.report.task_report import (
    ReportFinding,
    ReportRule,
    TaskReport,
    join_path,
    problem_finding,
    with_fingerprints,
)
from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.errors import Problem
    from kernel.operations.verify import FilesCheck, RecordsCheck
    from kernel.schema.drift import SchemaCheck, SchemaDifference

_FILE_INVALID = ReportRule(
    id=FilesInvalid.code,
    name="A file that cannot be run",
    condition="a name, a number, the encoding or the text of a file would be refused",
    effect="db.migrate and db.rollback refuse all files before the database is touched",
)
_FILE_UNWRITTEN = ReportRule(
    id="file_unwritten",
    name="A file that is not written yet",
    condition="a migration has nothing but what db.new wrote into it",
    effect="db.migrate refuses it: once recorded as applied, statements that are added to it later would never run",
)
_DRIFT = ReportRule(
    id=Drift.code,
    name="Records and files disagree",
    condition="an applied file was changed, renamed, renumbered or deleted, or a pending one is out of order",
    effect="db.migrate stops before the first file: the database is not what the files make",
)
_CHECK = ReportRule(
    id="check_failed",
    name="A check of an applied migration fails",
    condition="a query of a file in verify/ does not return what it has to",
    effect="the data are not what the migration left, or what the application relies on",
)
_SCHEMA_DRIFT = ReportRule(
    id="schema_drift",
    name="The catalog differs from the files",
    condition="an object of the database is missing, extra or different from what the applied files make",
    effect="files that are tested elsewhere meet another schema here, and a database made from the files is another",
)


def verify_scope(files: FilesCheck, records: RecordsCheck | None) -> str:
    """What was read, and with what it was compared."""
    counts = [format_quantity(files.total, "migration"), format_quantity(files.reverts, "revert file")]
    if files.repeatable:
        counts.insert(1, format_quantity(files.repeatable, "repeatable file"))
    read = f"{', '.join(counts[:-1])} and {counts[-1]} read"
    compared = "not compared with a database"
    if records and records.plan:
        compared = f"compared with {format_quantity(records.plan.applied_count, 'record')} of {records.database}"
    return f"{read}, {compared}"


def verify_report(
    files: FilesCheck, records: RecordsCheck | None, directory: str, catalog: SchemaCheck | None = None
) -> TaskReport:
    """The report; `directory` is the path of the migrations from the top of the repository.

    With a `catalog` its differences are findings too, with what was not compared as notes.
    """
    findings = [
        *(problem_finding(one, _rule_of(one), directory) for one in files.problems),
        *(_record_finding(one, directory) for one in (records.problems if records else ())),
        *(_difference_finding(one, directory) for one in (catalog.differences if catalog else ())),
    ]
    pending = records.plan.pending if records and records.plan else ()
    count = f"; {format_quantity(len(pending), 'file')} pending" if records and records.plan else ""
    return TaskReport(
        task="db.verify",
        failed=bool(findings),
        scope=f"{verify_scope(files, records)}{count}{_catalog_scope(catalog)}",
        files=tuple(one.filename for one in pending),
        verdict=f"{format_quantity(len(findings), 'problem')} found" if findings else "nothing is wrong",
        directory=directory,
        findings=with_fingerprints(findings),
        notes=_catalog_notes(catalog),
    )


def _difference_finding(one: SchemaDifference, directory: str) -> ReportFinding:
    return ReportFinding(
        rule=_SCHEMA_DRIFT,
        severity=_SCHEMA_DRIFT.severity,
        message=difference_text(one),
        remedy=one.remedy,
        file=join_path(directory, one.file),
        line=one.line,
        subject=f"{one.object} {one.state}",
    )


def _catalog_scope(catalog: SchemaCheck | None) -> str:
    return f"; {schema_check_scope(catalog)}" if catalog else ""


def _catalog_notes(catalog: SchemaCheck | None) -> tuple[str, ...]:
    if catalog is None:
        return ()
    left_out = (f"not built, and what it mentions is not compared: {one}" for one in catalog.left_out)
    return (*left_out, *catalog.notes)


def _rule_of(problem: Problem) -> ReportRule:
    return _FILE_UNWRITTEN if isinstance(problem, UnwrittenProblem) else _FILE_INVALID


def _record_finding(problem: Problem, directory: str) -> ReportFinding:
    """The finding of a problem that the database shows: drift, or a check that fails."""
    if (problem.file or "").startswith(f"{VERIFY_FOLDER}/"):
        finding = problem_finding(problem, _CHECK, directory, subject=problem.message.partition("; ")[0])
        return replace(finding, message=problem.message, remedy="")  # what follows the message are rows
    excerpt = (problem.diff or "") if isinstance(problem, DriftProblem) else ""
    # The message has the date of the record and a commit; a file has one problem of drift.
    return problem_finding(problem, _DRIFT, directory, subject="", excerpt=excerpt)
