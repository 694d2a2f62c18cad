"""Try suggestions: rewritten files run in place of their originals on a clone of their own, and are compared.

The clone goes through the migrations in order, so that each is rewritten for the database that it meets. Files after a
suggestion run after it, under the numbers that they would then have.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.db.connection import open_session
from kernel.lint.finding import Severity
from kernel.migrations.migration import discover_migrations, format_version, parse_filename
from kernel.migrations.repeatable_names import discover_repeatable
from kernel.operations.migrate import MigrateOptions
from kernel.rehearsal.result import RefusedSuggestion, SuggestionResult, SuggestionTrial
from kernel.rehearsal.suggest.catalog import read_table_catalog
from kernel.rehearsal.suggest.equivalence import MigratedClones, prove_equivalence
from kernel.rehearsal.suggest.rewrite import MECHANICAL_RULES, rewrite_migration, rules_by_unit
from kernel.rehearsal.suggest.source import split_into_units
from kernel.rehearsal.tracing.lock_spans import blocking_by_relation
from kernel.rehearsal.tracing.run import trace_migrations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kernel.lint.finding import Finding
    from kernel.migrations.migration import Migration
    from kernel.rehearsal.prod_copy.copy import ProdCopy
    from kernel.rehearsal.request import RehearsalRequest, Reporter
    from kernel.rehearsal.result import Run, Suggestion


SUGGESTION_CLONE = "suggested"
_MAX_FILE_BYTES = 8 << 20  # a larger file is data; suggestions read files into memory


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalRehearsal:
    """The rehearsal of the files as they are: the clone at `url` is still as they left it."""

    url: str = field(repr=False)
    runs: tuple[Run, ...]
    findings: tuple[Finding, ...]
    ledger_tables: frozenset[str]

    @property
    def completed_runs(self) -> dict[str, Run]:
        """The runs that did not fail, by version."""
        return {run.version: run for run in self.runs if run.failed is None}

    def mechanical_findings(self) -> dict[str, list[Finding]]:
        """The findings with a mechanical remedy that were not measured harmless, by version."""
        findings: dict[str, list[Finding]] = {}
        for finding in self.findings:
            if finding.severity is not Severity.HARMLESS and finding.rule in MECHANICAL_RULES:
                findings.setdefault(finding.version, []).append(finding)
        return findings


def suggest_rewrites(
    copy: ProdCopy,
    migrations: tuple[Migration, ...],
    original: OriginalRehearsal,
    request: RehearsalRequest,
    reporter: Reporter,
) -> SuggestionResult:
    """Suggest files in place of the `migrations` that `original` has applied, tried on another clone of the copy.

    Without a finding that has a mechanical remedy nothing is cloned. A suggestion that fails is refused, and the others
    are tried again on another clone. Raises what ProdCopy.clone raises, and DatabaseUnreachable.
    """
    started = time.monotonic()
    findings = original.mechanical_findings()
    if original.completed_runs.keys().isdisjoint(findings):
        return SuggestionResult()
    excluded: dict[str, str] = {}
    while True:
        reporter.show_progress("trying the suggestions")
        with tempfile.TemporaryDirectory(prefix="suggested-") as folder, copy.clone(SUGGESTION_CLONE) as clone:
            trial_run = _TrialRun(
                url=clone.url,
                folder=Path(folder),
                request=request,
                reporter=reporter,
                findings_by_version=findings,
                excluded=excluded,
            )
            trial_run.run(migrations, original)
            result = trial_run.result(original)
            failed = next(
                (one.suggestion for one in result.trials if any(run.failed for run in one.suggested_runs)), None
            )
            if failed is None:
                if result.trials and not result.failure:
                    clones = MigratedClones(
                        copy=copy,
                        migrations=migrations,
                        last_version=[one.version for one in migrations if one.version in original.completed_runs][-1],
                        original_url=original.url,
                        suggested_url=clone.url,
                        ledger_tables=original.ledger_tables,
                    )
                    proof = prove_equivalence(clones, [trial.suggestion for trial in result.trials], request)
                    result = replace(
                        result, differences=proof.differences, nondeterministic_values=proof.nondeterministic_values
                    )
                return replace(result, seconds=time.monotonic() - started)
        excluded[failed.version] = result.failure  # again, with the original in its place


@dataclass(slots=True, kw_only=True)
class _TrialRun:
    """A run of all migrations on the clone at `url`; the files to run are written to `folder`.

    `excluded` are the versions whose suggestion failed before, with the reason.
    """

    url: str
    folder: Path
    request: RehearsalRequest
    reporter: Reporter
    findings_by_version: Mapping[str, Sequence[Finding]]
    excluded: Mapping[str, str]
    _number_shift: int = 0
    _runs: list[Run] = field(default_factory=list)
    _suggestions: list[tuple[Suggestion, frozenset[str]]] = field(default_factory=list)
    _refused: list[tuple[str, RefusedSuggestion]] = field(default_factory=list)

    def run(self, migrations: Sequence[Migration], original: OriginalRehearsal) -> None:
        """Run the migrations up to the one at which the original failed."""
        failed = {run.version for run in original.runs if run.failed}
        for migration in migrations:
            if migration.version in failed:
                break
            is_rehearsed = migration.version in original.completed_runs
            findings = self.findings_by_version.get(migration.version, ()) if is_rehearsed else ()
            suggestion = self._suggest(migration, findings) if findings else None
            if suggestion and suggestion.files:
                self._add_suggestion(suggestion)
            else:
                self._add_original(migration)
        if self._suggestions:
            self._apply_pending(discover_repeatable(migrations[0].directory))

    def _add_original(self, migration: Migration) -> None:
        """Write a file as it is, under the number that it would have."""
        parsed = parse_filename(migration.filename)
        name = migration.filename
        if parsed and self._number_shift:
            name = f"{format_version(migration.number + self._number_shift)}_{parsed[1]}.sql"
        (self.folder / name).write_bytes(migration.path.read_bytes())

    def _add_suggestion(self, suggestion: Suggestion) -> None:
        for file in suggestion.files:
            (self.folder / file.filename).write_text(file.text, encoding="utf-8", newline="\n")
        versions = frozenset(file.filename.partition("_")[0] for file in suggestion.files)
        self._suggestions.append((suggestion, versions))
        self._number_shift += len(suggestion.files) - 1

    def _suggest(self, migration: Migration, findings: Sequence[Finding]) -> Suggestion | None:
        reason = ""
        if migration.version in self.excluded:
            reason = f"the suggestion failed: {self.excluded[migration.version]}"
        elif migration.path.stat().st_size > _MAX_FILE_BYTES:
            reason = "the file is too large, and mostly data"
        if reason:
            refused = sorted({(finding.rule, finding.line) for finding in findings}, key=str)
            self._refused += [
                (migration.filename, RefusedSuggestion(rule=rule, line=line, reason=reason)) for rule, line in refused
            ]
            return None
        self._apply_pending()  # the catalog has to be the one that the file meets
        source = split_into_units(migration, migration.path.read_bytes())
        with open_session(self.url) as session:
            catalog = read_table_catalog(session.connection, source.names_in(rules_by_unit(source, findings)))
        suggestion = rewrite_migration(source, findings, catalog, first=migration.number + self._number_shift)
        self._refused += [(migration.filename, refused) for refused in suggestion.refused]
        return suggestion

    def _apply_pending(self, repeatable: tuple[Migration, ...] = ()) -> None:
        """Apply and trace the files that were written since the last call, and repeatable ones, unless one failed."""
        files = discover_migrations(self.folder)
        if not files or (self._runs and self._runs[-1].failed):
            return
        options = MigrateOptions(waits=self.request.waits, repeatable=repeatable)
        self._runs += trace_migrations(
            self.url,
            files,
            options,
            observer=self.reporter.observer,
            print_line=self.reporter.print_line,
            begin_seconds=max((run.at_seconds + run.seconds for run in self._runs), default=0.0),
            migrations_table=self.request.migrations_table,
            role=self.request.role,
        )

    def result(self, original: OriginalRehearsal) -> SuggestionResult:
        """The trials so far, without the proof."""
        trials = []
        for suggestion, versions in self._suggestions:
            before = original.completed_runs[suggestion.version]
            after = tuple(run for run in self._runs if run.version in versions)
            trials.append(
                SuggestionTrial(
                    suggestion=suggestion,
                    original_run=before,
                    suggested_runs=after,
                    blocked_before=blocking_by_relation([before]),
                    blocked_after=blocking_by_relation(after),
                )
            )
        failure = next((f"{run.filename}: {run.failed.message}" for run in self._runs if run.failed), "")
        return SuggestionResult(trials=tuple(trials), refused=tuple(self._refused), failure=failure)
