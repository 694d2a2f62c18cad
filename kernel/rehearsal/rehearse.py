"""A rehearsal from the dump to the verdict: copy it, then take the course."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.db.connection import open_session
from kernel.errors import FilesInvalid, MigrationFailed
from kernel.lint.lint import lint_migrations, read_migration_directory
from kernel.migrations.script import REVERT_FOLDER
from kernel.operations.migrate import MigrateOptions
from kernel.rehearsal.data.check import check_data, check_expectation_names
from kernel.rehearsal.data.expectations import read_expectations
from kernel.rehearsal.data.integrity import check_integrity
from kernel.rehearsal.data.violations import find_violations
from kernel.rehearsal.dump import DumpRequest, acquire_dump
from kernel.rehearsal.findings.evidence import Evidence
from kernel.rehearsal.findings.verdict import collect_findings, decisive_findings
from kernel.rehearsal.practices.compatibility import check_compatibility
from kernel.rehearsal.practices.rerun import RERUN_PRACTICE, check_rerun
from kernel.rehearsal.practices.result import PracticeResult
from kernel.rehearsal.practices.revert import REVERT_PRACTICE, check_reverts
from kernel.rehearsal.preconditions import read_preconditions
from kernel.rehearsal.prod_copy.model import MAIN_CLONE_NAME
from kernel.rehearsal.prod_copy.restore import check_copy_target, open_restored_copy
from kernel.rehearsal.prod_copy.store import store_has_entries
from kernel.rehearsal.result import Practice, Rehearsal
from kernel.rehearsal.schema.diff import diff_schemas
from kernel.rehearsal.schema.snapshot import read_schema
from kernel.rehearsal.second_run import SecondRun, read_requested_queries, run_under_traffic
from kernel.rehearsal.suggest.suggest import OriginalRehearsal, suggest_rewrites
from kernel.rehearsal.tracing.lock_spans import blocking_by_relation
from kernel.rehearsal.tracing.run import trace_migrations

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.migrations.migration import Migration
    from kernel.rehearsal.data.expectations import Expectation
    from kernel.rehearsal.preconditions import Preconditions
    from kernel.rehearsal.prod_copy.copy import ProdCopy
    from kernel.rehearsal.queries.corpus import ApplicationQuery
    from kernel.rehearsal.request import RehearsalRequest, Reporter
    from kernel.rehearsal.result import DumpSource, Receipt, Run


# A rehearsal on a golden copy that is there: run on a clone, compare, try the practices, judge.


def rehearse_on_copy(
    found: tuple[Migration, ...],
    copy: ProdCopy,
    source: DumpSource,
    wish: RehearsalRequest,
    telling: Reporter,
    *,
    asked: tuple[ApplicationQuery, ...] = (),
) -> Rehearsal:
    """Rehearse what is pending in the copy; a Rehearsal without runs when nothing is. `source` is what it was made of.

    `asked` are the application's queries. Raises FilesInvalid, also for a declaration that names nothing, Drift,
    Unrecorded, and EnvironmentFailed. Nothing stays behind but a clone that is TEST_DB.
    """
    stage = read_preconditions(found, copy, source, wish, telling)
    expectations = _read_expectations(stage.pending)
    rehearsal = Rehearsal(
        database=stage.database, source=source, restore=copy.restored, runs=(), environment=stage.environment
    )
    if not stage.pending:
        return rehearsal
    return _RehearsalInProgress(preconditions=stage, copy=copy, request=wish, reporter=telling).run(
        rehearsal, expectations, asked
    )


def _read_expectations(pending: tuple[Migration, ...]) -> tuple[Expectation, ...]:
    expectations, problems = read_expectations(pending)
    if problems:
        raise FilesInvalid(problems)
    return expectations


@dataclass(frozen=True, slots=True, kw_only=True)
class _RehearsalInProgress:
    """A rehearsal under way: the copy, what is known of it, and what is wished."""

    preconditions: Preconditions
    copy: ProdCopy
    request: RehearsalRequest
    reporter: Reporter

    def run(
        self, rehearsal: Rehearsal, expectations: tuple[Expectation, ...], asked: tuple[ApplicationQuery, ...]
    ) -> Rehearsal:
        """The rehearsal with all that was found. Raises FilesInvalid for a declaration that names nothing."""
        stage, copy, wish, telling = self.preconditions, self.copy, self.request, self.reporter
        with copy.clone(MAIN_CLONE_NAME) as clone:
            for warning in clone.warnings:
                telling.print_line(f"warning: {warning}")
            with open_session(clone.url) as session:
                before = read_schema(session)
            copy.checkpoint()
            its_wish = MigrateOptions(waits=wish.waits)
            runs = trace_migrations(
                clone.url, stage.migrations, its_wish, observer=telling.observer, print_line=telling.print_line
            )
            runs = tuple(_add_violations(clone.url, run) for run in runs)
            telling.show_progress("comparing the data")
            if misnamed := check_expectation_names(copy.url, clone.url, expectations):
                raise FilesInvalid(misnamed)
            receipts = self._compare_data(copy.url, clone.url, runs, expectations)
            state = check_integrity(copy.url, clone.url, jobs=wish.jobs)
            with open_session(clone.url) as session:
                after = read_schema(session)
            telling.show_progress("trying the practices")
            again, back = self._try_practices(runs, clone.url, lossless=not expectations)
            compared = check_compatibility(before, after, runs=runs)
            felt = blocking_by_relation(runs)
            telling.show_progress("under traffic")
            crowd = SecondRun()
            if not any(run.failed for run in runs):
                crowd = run_under_traffic(copy, stage.migrations, wish, telling, shut=felt, asked=asked)
            linted = lint_migrations(
                read_migration_directory(stage.migrations[0].directory), {one.filename for one in stage.pending}
            )
            evidence = Evidence(
                runs=runs,
                blocking=felt,
                receipts=receipts,
                integrity=state,
                traffic=crowd.standstills,
                query_findings=crowd.findings,
                lint_findings=tuple(one.finding for one in linted.findings),
                accepted_findings=tuple(one.finding for one in linted.accepted_findings),
                accepted_rules=linted.accepted_rules,
                declared_tables=tuple((one.file, part) for one in expectations for part in one.name),
                rerun_faults=again.faults,
                revert_faults=back.faults,
                compatibility_faults=compared.faults,
                schemas_compared=True,
                copy_rows=stage.estimated_rows,
                limits=wish.limits,
            )
            findings = collect_findings(evidence)
            advice = None
            if wish.suggest:
                telling.show_progress("trying a safer way")
                original = OriginalRehearsal(url=clone.url, runs=runs, findings=findings)
                advice = suggest_rewrites(copy, stage.migrations, original, wish, telling)
        return replace(
            rehearsal,
            restore=replace(rehearsal.restore, clone_seconds=clone.seconds),
            runs=runs,
            blocked=felt,
            receipts=receipts,
            schema=diff_schemas(before, after),
            practices=(again.practice, back.practice, compared.practice),
            rerun_safe=again.practice.held,
            traffic=crowd.standstills,
            environment=(*rehearsal.environment, *crowd.conditions),
            findings=findings,
            reasons=decisive_findings(findings, wish.limits),
            advice=advice,
        )

    def _try_practices(
        self, runs: tuple[Run, ...], migrated: str, *, lossless: bool
    ) -> tuple[PracticeResult, PracticeResult]:
        """Safe to re-run, and reverts: each on a clone of its own, once all can be applied, as in `migrated`."""
        stage, copy, waits = self.preconditions, self.copy, self.request.waits
        if any(run.failed for run in runs):
            return _practice_not_tried(RERUN_PRACTICE), _practice_not_tried(REVERT_PRACTICE)
        with copy.clone("again") as clone:
            again = _try_practice(
                RERUN_PRACTICE,
                lambda: check_rerun(
                    clone.url,
                    stage.migrations,
                    stage.pending,
                    waits=waits,
                    before_url=migrated,
                    data_changed=self._changed_tables,
                ),
            )
        if not any((one.directory / REVERT_FOLDER / one.filename).is_file() for one in stage.pending):
            return again, _practice_not_tried(REVERT_PRACTICE, "no pending file has a revert file")
        with copy.clone("reverted") as clone:
            back = _try_practice(
                REVERT_PRACTICE,
                lambda: check_reverts(
                    clone.url,
                    stage.migrations,
                    stage.pending,
                    waits=waits,
                    before_url=copy.url if lossless else "",
                    data_changed=self._changed_tables,
                ),
            )
        return again, back

    def _changed_tables(self, before: str, after: str) -> tuple[str, ...]:
        receipts = self._compare_data(before, after, (), ())
        return tuple(f"{one.table}: rows differ" for one in receipts if one.added or one.removed or one.changed)

    def _compare_data(
        self, before: str, after: str, runs: tuple[Run, ...], expectations: tuple[Expectation, ...]
    ) -> tuple[Receipt, ...]:
        """The receipts of all tables but our own."""
        receipts = check_data(before, after, runs, expectations, jobs=self.request.jobs)
        return tuple(one for one in receipts if one.table not in self.preconditions.ledger_tables)


def _add_violations(url: str, run: Run) -> Run:
    """A run that failed on data, with all the rows in its way."""
    failed = run.failed
    if failed is None or failed.failure is None:
        return run
    ahead = [one.sql.encode() for one in run.statements if one.line < (failed.failure.line or 0)]
    found = find_violations(url, failed.failure, ahead=ahead if run.transactional else ())
    return replace(run, failed=replace(failed, violations=found))


def _try_practice(name: str, check: Callable[[], PracticeResult]) -> PracticeResult:
    """A practice put to the test, unless what it takes cannot be had twice on one server: a role, a tablespace."""
    try:
        return check()
    except MigrationFailed as error:
        return _practice_not_tried(name, f"on a second clone, {error.failure.file} fails: {error}")


def _practice_not_tried(name: str, why: str = "a migration failed") -> PracticeResult:
    return PracticeResult(practice=Practice(name=name, held=None, details=(f"not tried: {why}",)))


def rehearse(found: tuple[Migration, ...], wish: RehearsalRequest, telling: Reporter) -> Rehearsal:
    """Rehearse what is pending in the copied database; a Rehearsal without runs when nothing is.

    Raises what reading files raises (FilesInvalid), Drift, Unrecorded, UsageError, and EnvironmentFailed for
    everything that concerns the dump and the servers. However it ends, nothing of the copy stays but what is kept.
    """
    began = time.monotonic()
    if wish.dump is None and wish.prod_db:
        check_copy_target(wish)
    asked = read_requested_queries(wish)  # what is wrong with them should not be found after a restore
    dump_request = DumpRequest(
        path=wish.dump,
        production_url=wish.prod_db,
        bindir=wish.bindir,
        jobs=wish.jobs,
        schema_only=wish.schema_only,
        # Without a kept copy, now or before, reading all of the dump only for its digest is a waste.
        with_digest=wish.keep or wish.test_db is not None or store_has_entries(),
    )
    with acquire_dump(dump_request, telling.show_progress) as origin, open_restored_copy(origin, wish, telling) as copy:
        rehearsal = rehearse_on_copy(found, copy, origin.source, wish, telling, asked=asked)
    named = origin.contents.database or origin.source.name
    return replace(rehearsal, database=named, seconds=time.monotonic() - began)
