"""A rehearsal from the dump to the verdict."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kernel.db.connection import format_identifier, open_session
from kernel.errors import MigrationFailed
from kernel.lint.lint import lint_migrations, read_migration_directory
from kernel.migrations.paired_files import REVERT_FOLDER
from kernel.migrations.phases import Phase
from kernel.operations.migrate import MigrateOptions
from kernel.rehearsal.data.check import check_data
from kernel.rehearsal.data.integrity import check_integrity
from kernel.rehearsal.data.violations import find_violations
from kernel.rehearsal.findings.evidence import Evidence
from kernel.rehearsal.findings.verdict import collect_findings, decisive_findings
from kernel.rehearsal.practices.compatibility import check_compatibility
from kernel.rehearsal.practices.rerun import RERUN_PRACTICE, check_rerun
from kernel.rehearsal.practices.result import PracticeResult
from kernel.rehearsal.practices.revert import REVERT_PRACTICE, check_reverts
from kernel.rehearsal.preconditions import check_pending_files, check_production, read_preconditions
from kernel.rehearsal.prod_copy.copy import MAIN_CLONE_NAME
from kernel.rehearsal.queries.corpus import read_queries, read_query_file
from kernel.rehearsal.restore import acquire_requested_dump, open_restored_copy
from kernel.rehearsal.result import Practice, Rehearsal
from kernel.rehearsal.second_run import SecondRun, run_under_traffic
from kernel.rehearsal.suggest.suggest import OriginalRehearsal, suggest_rewrites
from kernel.rehearsal.tracing.lock_spans import blocking_by_relation
from kernel.rehearsal.tracing.run import trace_migrations
from kernel.schema import diff_schemas, read_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.lint.finding import Finding
    from kernel.migrations.migration import Migration
    from kernel.rehearsal.data.expectations import Expectation
    from kernel.rehearsal.dump.common.model import DumpContents
    from kernel.rehearsal.preconditions import Preconditions
    from kernel.rehearsal.prod_copy import Clone, ProdCopy
    from kernel.rehearsal.queries.corpus import ApplicationQuery
    from kernel.rehearsal.request import RehearsalRequest, Reporter
    from kernel.rehearsal.result import BlockedTime, DumpSource, Receipt, Run, SuggestionResult
    from kernel.schema import Schema


def rehearse(migrations: tuple[Migration, ...], request: RehearsalRequest, reporter: Reporter) -> Rehearsal:
    """Rehearse the migrations that are pending in a copy of production; without any, the Rehearsal has no runs.

    Raises FilesInvalid, Drift, Unrecorded, UsageError, LockBusy, and EnvironmentFailed for everything that concerns
    the dump and the servers. The copy is dropped in any case, unless it is to be kept.
    """
    began = time.monotonic()
    request = replace(request, waits=replace(request.waits, batch_pauses=False))
    if request.dump is None and request.prod_db:
        check_production(migrations, request.prod_db, request.migrations_table)
    queries = read_queries(request.queries, request.prod_db) if request.queries else ()
    later_queries = read_query_file(request.queries_after) if request.queries_after else ()
    with acquire_requested_dump(request, reporter) as dump:
        check_pending_files(migrations, dump.contents, request.migrations_table)
        request = _with_role_of_dump(request, dump.contents, reporter)
        with open_restored_copy(dump, request, reporter) as copy:
            rehearsal = rehearse_on_copy(
                migrations, copy, dump.source, request, reporter, queries=queries, later_queries=later_queries
            )
    database = dump.contents.database or dump.source.name
    return replace(rehearsal, database=database, seconds=time.monotonic() - began)


def rehearse_on_copy(
    migrations: tuple[Migration, ...],
    copy: ProdCopy,
    source: DumpSource,
    request: RehearsalRequest,
    reporter: Reporter,
    *,
    queries: tuple[ApplicationQuery, ...] = (),
    later_queries: tuple[ApplicationQuery, ...] = (),
) -> Rehearsal:
    """Rehearse on a copy that was restored from `source`, with the application's `queries`. Raises like rehearse.

    `later_queries` are those of the version of the application that is deployed between the phases.
    """
    preconditions = read_preconditions(migrations, copy, source, request, reporter)
    rehearsal = Rehearsal(
        database=preconditions.database,
        source=source,
        restore=copy.restored,
        runs=(),
        environment=(
            *preconditions.environment,
            *([("programs", copy.programs_origin)] if copy.programs_origin else []),
        ),
        began_at=datetime.now(UTC),
    )
    if not preconditions.pending and not preconditions.repeatable:
        return rehearsal
    with copy.clone(MAIN_CLONE_NAME) as clone:
        stages = _Stages(copy=copy, clone=clone, preconditions=preconditions, request=request, reporter=reporter)
        before = stages.read_schema()
        runs = stages.run_migrations()
        receipts = stages.compare_data(runs)
        integrity = check_integrity(copy.url, clone.url, jobs=request.jobs)
        after = stages.read_schema()
        rerun, revert = stages.try_practices(runs)
        compatibility = check_compatibility(before, after, runs=runs)
        blocking = blocking_by_relation(runs)
        second_run = stages.run_under_traffic(runs, blocking, queries, later_queries)
        lint = lint_migrations(
            read_migration_directory(migrations[0].directory, request.migrations_table),
            {one.filename for one in (*preconditions.pending, *preconditions.repeatable)},
            column_types={},
        )
        evidence = Evidence(
            runs=runs,
            blocking=blocking,
            receipts=receipts,
            integrity=integrity,
            traffic=second_run.standstills,
            query_findings=second_run.query_findings,
            lint_findings=tuple(one.finding for one in lint.findings),
            accepted_findings=tuple(one.finding for one in lint.accepted_findings),
            accepted_rules=lint.accepted_rules,
            declared_tables=tuple((one.file, part) for one in preconditions.expectations for part in one.name),
            rerun_faults=rerun.faults,
            revert_faults=revert.faults,
            compatibility_faults=compatibility.faults,
            versions_of_phase_after=frozenset(one.version for one in preconditions.pending if one.phase is Phase.AFTER),
            copy_rows=preconditions.estimated_rows,
            limits=request.limits,
        )
        findings = collect_findings(evidence)
        advice = stages.suggest(runs, findings) if request.suggest else None
    return replace(
        rehearsal,
        restore=replace(copy.restored, clone_seconds=clone.seconds),
        runs=runs,
        blocked=blocking,
        receipts=receipts,
        schema=diff_schemas(before, after),
        practices=(rerun.practice, revert.practice, compatibility.practice),
        rerun_safe=rerun.practice.held,
        traffic=second_run.standstills,
        environment=(*rehearsal.environment, *second_run.environment),
        findings=findings,
        reasons=decisive_findings(findings, request.limits),
        advice=advice,
    )


def _with_role_of_dump(request: RehearsalRequest, contents: DumpContents, reporter: Reporter) -> RehearsalRequest:
    """The request without its role when the dump does not name it: that role would own nothing, and all would fail."""
    if not request.role or request.role in contents.roles:
        return request
    reporter.print_line(
        f"warning: KERNEL_ROLE: the dump names no role {format_identifier(request.role)} as an owner or in a privilege "
        "(pg_dump --no-owner leaves them out, and memberships are in no dump); "
        "the migrations run as the user that owns the copy"
    )
    return replace(request, role="")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stages:
    """The stages of a rehearsal on a copy; the migrations are applied to `clone`."""

    copy: ProdCopy
    clone: Clone
    preconditions: Preconditions
    request: RehearsalRequest
    reporter: Reporter

    def read_schema(self) -> Schema:
        """The schema of the clone."""
        with open_session(self.clone.url, migrations_table=self.request.migrations_table) as session:
            return read_schema(session)

    def run_migrations(self) -> tuple[Run, ...]:
        """Apply the pending migrations under observation; a failure on data comes with the rows that violate it."""
        for warning in self.clone.warnings:
            self.reporter.print_line(f"warning: {warning}")
        self.copy.checkpoint()
        runs = trace_migrations(
            self.clone.url,
            self.preconditions.migrations,
            MigrateOptions(waits=self.request.waits, by_phase=True),
            observer=self.reporter.observer,
            print_line=self.reporter.print_line,
            migrations_table=self.request.migrations_table,
            role=self.request.role,
        )
        return tuple(_add_violations(self.clone.url, run) for run in runs)

    def compare_data(self, runs: tuple[Run, ...]) -> tuple[Receipt, ...]:
        """Compare the rows of template and clone. Raises FilesInvalid for a declaration that names no table."""
        self.reporter.show_progress("comparing the data")
        return self._receipts(self.copy.url, self.clone.url, runs, self.preconditions.expectations)

    def try_practices(self, runs: tuple[Run, ...]) -> tuple[PracticeResult, PracticeResult]:
        """Run the pending files twice, and revert them, each on a clone of its own."""
        self.reporter.show_progress("trying the practices")
        migrations, pending = self.preconditions.migrations, self.preconditions.pending
        if any(run.failed for run in runs):
            return _practice_not_tried(RERUN_PRACTICE), _practice_not_tried(REVERT_PRACTICE)
        with self.copy.clone("again") as clone:
            rerun = _try_practice(
                RERUN_PRACTICE,
                lambda: check_rerun(
                    clone.url,
                    migrations,
                    pending,
                    waits=self.request.waits,
                    migrations_table=self.request.migrations_table,
                    role=self.request.role,
                    before_url=self.clone.url,
                    data_changed=self._changed_tables,
                ),
            )
        if not any((one.directory / REVERT_FOLDER / one.filename).is_file() for one in pending):
            return rerun, _practice_not_tried(REVERT_PRACTICE, "no pending file has a revert file")
        with self.copy.clone("reverted") as clone:
            revert = _try_practice(
                REVERT_PRACTICE,
                lambda: check_reverts(
                    clone.url,
                    migrations,
                    pending,
                    waits=self.request.waits,
                    migrations_table=self.request.migrations_table,
                    role=self.request.role,
                    # Rows that a file declares lost do not come back.
                    before_url="" if self.preconditions.expectations else self.copy.url,
                    data_changed=self._changed_tables,
                ),
            )
        return rerun, revert

    def run_under_traffic(
        self,
        runs: tuple[Run, ...],
        blocking: tuple[BlockedTime, ...],
        queries: tuple[ApplicationQuery, ...],
        later_queries: tuple[ApplicationQuery, ...],
    ) -> SecondRun:
        """Run the migrations once more while an application reads and writes, unless the first run failed."""
        if any(run.failed for run in runs):
            return SecondRun()
        self.reporter.show_progress("under traffic")
        return run_under_traffic(
            self.copy,
            self.preconditions.migrations,
            self.request,
            self.reporter,
            blocking=blocking,
            queries=queries,
            later_queries=later_queries,
        )

    def suggest(self, runs: tuple[Run, ...], findings: tuple[Finding, ...]) -> SuggestionResult:
        """Safer files for the findings that have a mechanical workaround, tried on another clone."""
        self.reporter.show_progress("trying a safer way")
        original = OriginalRehearsal(
            url=self.clone.url, runs=runs, findings=findings, ledger_tables=self.preconditions.ledger_tables
        )
        return suggest_rewrites(self.copy, self.preconditions.migrations, original, self.request, self.reporter)

    def _changed_tables(self, before_url: str, after_url: str) -> tuple[str, ...]:
        receipts = self._receipts(before_url, after_url, (), ())
        return tuple(f"{one.table}: rows differ" for one in receipts if one.added or one.removed or one.changed)

    def _receipts(
        self, before_url: str, after_url: str, runs: tuple[Run, ...], expectations: tuple[Expectation, ...]
    ) -> tuple[Receipt, ...]:
        """The receipts of all tables except the ledger's."""
        receipts = check_data(before_url, after_url, runs, expectations, jobs=self.request.jobs)
        return tuple(one for one in receipts if one.table not in self.preconditions.ledger_tables)


def _add_violations(url: str, run: Run) -> Run:
    """The run, with all rows that violate the statement on which it failed."""
    failed = run.failed
    if failed is None or failed.failure is None:
        return run
    rolled_back = [one.sql.encode() for one in run.statements[:-1]]
    violations = find_violations(url, failed.failure, ahead=rolled_back if run.transactional else ())
    return replace(run, failed=replace(failed, violations=violations))


def _try_practice(name: str, check: Callable[[], PracticeResult]) -> PracticeResult:
    """The result of `check`; not tried if a file fails on a second clone, such as one that creates a role."""
    try:
        return check()
    except MigrationFailed as error:
        return _practice_not_tried(name, f"on a second clone, {error.failure.file} fails: {error}")


def _practice_not_tried(name: str, reason: str = "a migration failed") -> PracticeResult:
    return PracticeResult(practice=Practice(name=name, held=None, details=(f"not tried: {reason}",)))
