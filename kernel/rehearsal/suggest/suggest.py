"""Suggestions, each applied in the place of its original on a clone of their own, and compared with it.

The clone goes through the migrations in their order, so that each is written anew for the database that it meets, and
those behind a suggestion run behind it, under the numbers that they would then have.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.db.connection import open_session
from kernel.errors import FilesInvalid, Problem
from kernel.lint.finding import Severity
from kernel.migrations.migration import discover_migrations, explain_bad_filename, format_version, parse_filename
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
    from kernel.rehearsal.result import Run, SuggestedFile, Suggestion


SUGGESTION_CLONE = "suggested"
_MAX_FILE_BYTES = 8 << 20  # a file beyond that is data, and read into memory here


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalRehearsal:
    """What the rehearsal of the files as they are came to: the clone at `url` is still as they left it."""

    url: str = field(repr=False)
    runs: tuple[Run, ...]
    findings: tuple[Finding, ...]


def suggest_rewrites(
    copy: ProdCopy, found: tuple[Migration, ...], original: OriginalRehearsal, wish: RehearsalRequest, telling: Reporter
) -> SuggestionResult:
    """The suggestions for the `found` migrations that `original` has applied, tried on another clone of the copy.

    Without a finding whose workaround is mechanical, nothing is cloned. Findings that were measured harmless ask for
    nothing. A suggestion that fails is given up, and the others are tried again on another clone. Raises what golden's
    Copy.clone raises, and DatabaseUnreachable.
    """
    began = time.monotonic()
    wanted = _mechanical_findings(original)
    applied = {run.version for run in original.runs if run.failed is None}
    if applied.isdisjoint(wanted):
        return SuggestionResult()
    excluded: dict[str, str] = {}
    while True:
        telling.show_progress("trying what is suggested")
        trying = _TrialRequest(request=wish, reporter=telling, findings_by_version=wanted, excluded=excluded)
        advice = _try_suggestions(copy, found, original, trying)
        culprit = next((one.suggestion for one in advice.trials if any(run.failed for run in one.suggested_runs)), None)
        if culprit is None:
            return replace(advice, seconds=time.monotonic() - began)
        excluded[culprit.version] = advice.failure  # once more, with the original in its place


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrialRequest:
    """What is tried: findings by version, and the versions whose suggestion failed before, with the reason."""

    request: RehearsalRequest
    reporter: Reporter
    findings_by_version: Mapping[str, Sequence[Finding]]
    excluded: Mapping[str, str]


def _try_suggestions(
    copy: ProdCopy, found: tuple[Migration, ...], original: OriginalRehearsal, trying: _TrialRequest
) -> SuggestionResult:
    """All suggestions on a fresh clone; the Advice tells of the first that fails."""
    runs = {run.version: run for run in original.runs if run.failed is None}
    failed = {run.version for run in original.runs if run.failed}
    with tempfile.TemporaryDirectory(prefix="suggested-") as folder, copy.clone(SUGGESTION_CLONE) as clone:
        course = _TrialRun(clone.url, Path(folder), trying)
        for one in found:
            if one.version in failed:  # and with it ended the original
                break
            course.add_migration(one, trying.findings_by_version.get(one.version, ()) if one.version in runs else ())
        if not course.trials:
            return SuggestionResult(refused=tuple(course.refused))
        course.apply_pending()
        advice = course.result(runs)
        if not advice.failure:
            suggested = [one for one, _ in course.trials]
            ends = MigratedClones(
                copy=copy,
                migrations=found,
                last_version=max(runs, key=int),
                original_url=original.url,
                suggested_url=clone.url,
            )
            proof = prove_equivalence(ends, suggested, trying.request)
            advice = replace(
                advice, differences=proof.differences, nondeterministic_values=proof.nondeterministic_values
            )
    return advice


def _mechanical_findings(original: OriginalRehearsal) -> dict[str, list[Finding]]:
    """The findings to do something about, by the version of their file."""
    wanted: dict[str, list[Finding]] = {}
    for one in original.findings:
        if one.severity is not Severity.HARMLESS and one.rule in MECHANICAL_RULES:
            wanted.setdefault(one.version, []).append(one)
    return wanted


class _TrialRun:
    """The way through the migrations on the clone at `url`; the files to run are put into `folder`."""

    def __init__(self, url: str, folder: Path, trying: _TrialRequest) -> None:
        self._url = url
        self._folder = folder
        self._request = trying.request
        self._reporter = trying.reporter
        self._excluded = trying.excluded
        self._shift = 0
        self._runs: list[Run] = []
        self._seconds = 0.0
        self.trials: list[tuple[Suggestion, frozenset[str]]] = []
        self.refused: list[tuple[str, RefusedSuggestion]] = []

    def add_original(self, one: Migration) -> None:
        """Put a file as it is, under the number that it would have."""
        parsed = parse_filename(one.filename)
        moved = f"{format_version(one.number + self._shift)}_{parsed[1]}.sql" if parsed else ""
        name = moved if self._shift else one.filename
        (self._folder / name).write_bytes(one.path.read_bytes())

    def add_migration(self, one: Migration, findings: Sequence[Finding]) -> None:
        """Put what is suggested in place of a file, or the file itself where nothing is."""
        suggested = self._suggest(one, findings) if findings else None
        if suggested is None or not suggested.files:
            self.add_original(one)
            return
        for file in suggested.files:
            (self._folder / file.filename).write_text(file.text, encoding="utf-8", newline="\n")
        self.trials.append((suggested, frozenset(_file_version(file) for file in suggested.files)))
        self._shift += len(suggested.files) - 1

    def _suggest(self, one: Migration, findings: Sequence[Finding]) -> Suggestion | None:
        reason = ""
        if one.version in self._excluded:
            reason = f"what was suggested failed: {self._excluded[one.version]}"
        elif one.path.stat().st_size > _MAX_FILE_BYTES:
            reason = "the file is too large to be anything but data"
        if reason:
            given_up = {(found.rule, found.line) for found in findings}
            self.refused += [
                (one.filename, RefusedSuggestion(rule=rule, line=line, reason=reason))
                for rule, line in sorted(given_up, key=str)
            ]
            return None
        self.apply_pending()  # so that the facts are those that the file meets
        source = split_into_units(one, one.path.read_bytes())
        with open_session(self._url) as session:
            names = source.names_in(rules_by_unit(source, findings))
            known = read_table_catalog(session.connection, names)
        suggested = rewrite_migration(source, findings, known, first=one.number + self._shift)
        self.refused += [(one.filename, refused) for refused in suggested.refused]
        return suggested

    def apply_pending(self) -> None:
        """Apply what has been put into the folder since the last time, under witnesses."""
        files = discover_migrations(self._folder)
        if not files or (self._runs and self._runs[-1].failed):
            return
        wish = MigrateOptions(waits=self._request.waits)
        runs = trace_migrations(self._url, files, wish, observer=self._reporter.observer, say=self._reporter.print_line)
        self._runs += (_shift_times(run, self._seconds) for run in runs)
        self._seconds += max((run.at_seconds + run.seconds for run in runs), default=0.0)

    def result(self, originals: dict[str, Run]) -> SuggestionResult:
        """What has come of it so far, without the proof."""
        trials = []
        for suggested, versions in self.trials:
            before, after = originals[suggested.version], tuple(run for run in self._runs if run.version in versions)
            trials.append(
                SuggestionTrial(
                    suggestion=suggested,
                    original_run=before,
                    suggested_runs=after,
                    blocked_before=blocking_by_relation([before]),
                    blocked_after=blocking_by_relation(after),
                )
            )
        failed = next((f"{run.filename}: {run.failed.message}" for run in self._runs if run.failed), "")
        return SuggestionResult(trials=tuple(trials), refused=tuple(self.refused), failure=failed)


def _file_version(file: SuggestedFile) -> str:
    parsed = parse_filename(file.filename)
    if parsed is None:
        raise FilesInvalid([Problem(message=explain_bad_filename(file.filename), file=file.filename)])
    return parsed[0]


def _shift_times(run: Run, seconds: float) -> Run:
    """A Run on the clock of all of them: that of its own rehearsal began at 0."""
    return replace(
        run,
        at_seconds=run.at_seconds + seconds,
        statements=tuple(
            replace(
                one,
                at_seconds=one.at_seconds + seconds,
                locks=tuple(replace(lock, at_seconds=lock.at_seconds + seconds) for lock in one.locks),
            )
            for one in run.statements
        ),
    )
