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

from kernel import database, migrate
from kernel.errors import FilesInvalid, Problem
from kernel.files import migration, naming
from kernel.rehearsal.result import Severity
from kernel.rehearsal.suggest import facts, rewrite, source
from kernel.rehearsal.suggest import proof as proof_
from kernel.rehearsal.suggest.proof import Ends
from kernel.rehearsal.suggest.suggested import Advice, Refused, Trial
from kernel.rehearsal.witness import rehearse as witnessed
from kernel.rehearsal.witness.shut import shut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kernel.files.migration import Migration
    from kernel.rehearsal.golden import Copy
    from kernel.rehearsal.result import Finding, Run
    from kernel.rehearsal.suggest.suggested import File, Suggested
    from kernel.rehearsal.wish import Telling, Wish

CLONE = "suggested"
_LARGEST_BYTES = 8 << 20  # a file beyond that is data, and read into memory here


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What the rehearsal of the files as they are came to: the clone at `url` is still as they left it."""

    url: str = field(repr=False)
    runs: tuple[Run, ...]
    findings: tuple[Finding, ...]


def advise(copy: Copy, found: tuple[Migration, ...], original: Original, wish: Wish, telling: Telling) -> Advice:
    """The suggestions for the `found` migrations that `original` has applied, tried on another clone of the copy.

    Without a finding whose workaround is mechanical, nothing is cloned. Findings that were measured harmless ask for
    nothing. A suggestion that fails is given up, and the others are tried again on another clone. Raises what golden's
    Copy.clone raises, and DatabaseUnreachable.
    """
    began = time.monotonic()
    wanted = _wanted(original)
    applied = {run.version for run in original.runs if run.failed is None}
    if applied.isdisjoint(wanted):
        return Advice()
    excluded: dict[str, str] = {}
    while True:
        telling.passing("trying what is suggested")
        trying = _Trying(wish=wish, telling=telling, wanted=wanted, excluded=excluded)
        advice = _attempt(copy, found, original, trying)
        culprit = next((one.suggested for one in advice.trials if any(run.failed for run in one.after)), None)
        if culprit is None:
            return replace(advice, seconds=time.monotonic() - began)
        excluded[culprit.version] = advice.failed  # once more, with the original in its place


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trying:
    """What is tried: findings by version, and the versions whose suggestion failed before, with the reason."""

    wish: Wish
    telling: Telling
    wanted: Mapping[str, Sequence[Finding]]
    excluded: Mapping[str, str]


def _attempt(copy: Copy, found: tuple[Migration, ...], original: Original, trying: _Trying) -> Advice:
    """All suggestions on a fresh clone; the Advice tells of the first that fails."""
    runs = {run.version: run for run in original.runs if run.failed is None}
    failed = {run.version for run in original.runs if run.failed}
    with tempfile.TemporaryDirectory(prefix="suggested-") as folder, copy.clone(CLONE) as clone:
        course = _Course(clone.url, Path(folder), trying)
        for one in found:
            if one.version in failed:  # and with it ended the original
                break
            course.take(one, trying.wanted.get(one.version, ()) if one.version in runs else ())
        if not course.trials:
            return Advice(refused=tuple(course.refused))
        course.run()
        advice = course.advice(runs)
        if not advice.failed:
            suggested = [one for one, _ in course.trials]
            ends = Ends(copy=copy, found=found, last=max(runs, key=int), originals=original.url, reached=clone.url)
            proof = proof_.of(ends, suggested, trying.wish)
            advice = replace(advice, differences=proof.differences, fresh=proof.fresh)
    return advice


def _wanted(original: Original) -> dict[str, list[Finding]]:
    """The findings to do something about, by the version of their file."""
    wanted: dict[str, list[Finding]] = {}
    for one in original.findings:
        if one.severity is not Severity.HARMLESS and one.rule in rewrite.MECHANICAL:
            wanted.setdefault(one.version, []).append(one)
    return wanted


class _Course:
    """The way through the migrations on the clone at `url`; the files to run are put into `folder`."""

    def __init__(self, url: str, folder: Path, trying: _Trying) -> None:
        self._url = url
        self._folder = folder
        self._wish = trying.wish
        self._telling = trying.telling
        self._excluded = trying.excluded
        self._shift = 0
        self._runs: list[Run] = []
        self._seconds = 0.0
        self.trials: list[tuple[Suggested, frozenset[str]]] = []
        self.refused: list[tuple[str, Refused]] = []

    def keep(self, one: Migration) -> None:
        """Put a file as it is, under the number that it would have."""
        parsed = naming.parse(one.filename)
        moved = f"{naming.padded(one.number + self._shift)}_{parsed[1]}.sql" if parsed else ""
        name = moved if self._shift else one.filename
        (self._folder / name).write_bytes(one.path.read_bytes())

    def take(self, one: Migration, findings: Sequence[Finding]) -> None:
        """Put what is suggested in place of a file, or the file itself where nothing is."""
        suggested = self._suggested(one, findings) if findings else None
        if suggested is None or not suggested.files:
            self.keep(one)
            return
        for file in suggested.files:
            (self._folder / file.filename).write_text(file.text, encoding="utf-8", newline="\n")
        self.trials.append((suggested, frozenset(_version(file) for file in suggested.files)))
        self._shift += len(suggested.files) - 1

    def _suggested(self, one: Migration, findings: Sequence[Finding]) -> Suggested | None:
        reason = ""
        if one.version in self._excluded:
            reason = f"what was suggested failed: {self._excluded[one.version]}"
        elif one.path.stat().st_size > _LARGEST_BYTES:
            reason = "the file is too large to be anything but data"
        if reason:
            given_up = {(found.rule, found.line) for found in findings}
            self.refused += [
                (one.filename, Refused(rule=rule, line=line, reason=reason)) for rule, line in sorted(given_up, key=str)
            ]
            return None
        self.run()  # so that the facts are those that the file meets
        its_source = source.of(one, one.path.read_bytes())
        with database.session(self._url) as session:
            names = its_source.written(rewrite.places(its_source, findings))
            known = facts.read(session.connection, names)
        suggested = rewrite.rewrite(its_source, findings, known, first=one.number + self._shift)
        self.refused += [(one.filename, refused) for refused in suggested.refused]
        return suggested

    def run(self) -> None:
        """Apply what has been put into the folder since the last time, under witnesses."""
        files = migration.discover(self._folder)
        if not files or (self._runs and self._runs[-1].failed):
            return
        wish = migrate.Wish(patience=self._wish.patience)
        runs = witnessed.rehearse(self._url, files, wish, observer=self._telling.observer, say=self._telling.say)
        self._runs += (_later(run, self._seconds) for run in runs)
        self._seconds += max((run.at_seconds + run.seconds for run in runs), default=0.0)

    def advice(self, originals: dict[str, Run]) -> Advice:
        """What has come of it so far, without the proof."""
        trials = []
        for suggested, versions in self.trials:
            before, after = originals[suggested.version], tuple(run for run in self._runs if run.version in versions)
            trials.append(
                Trial(
                    suggested=suggested, before=before, after=after, shut_before=shut([before]), shut_after=shut(after)
                )
            )
        failed = next((f"{run.filename}: {run.failed.message}" for run in self._runs if run.failed), "")
        return Advice(trials=tuple(trials), refused=tuple(self.refused), failed=failed)


def _version(file: File) -> str:
    parsed = naming.parse(file.filename)
    if parsed is None:
        raise FilesInvalid([Problem(message=naming.complaint(file.filename), file=file.filename)])
    return parsed[0]


def _later(run: Run, seconds: float) -> Run:
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
