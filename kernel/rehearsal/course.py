"""A rehearsal on a golden copy that is there: run on a clone, compare, try the practices, judge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel import database, migrate
from kernel.errors import FilesInvalid, MigrationFailed
from kernel.files.revert import FOLDER
from kernel.rehearsal import among
from kernel.rehearsal import stage as stages
from kernel.rehearsal.data import check, declared, sanity, violations
from kernel.rehearsal.golden.place import MAIN
from kernel.rehearsal.judge import verdict
from kernel.rehearsal.judge.evidence import Evidence
from kernel.rehearsal.practice import compatible, rerun, revert
from kernel.rehearsal.practice.fault import Checked
from kernel.rehearsal.result import Practice, Rehearsal
from kernel.rehearsal.schema import snapshot
from kernel.rehearsal.schema.difference import difference
from kernel.rehearsal.static import lint
from kernel.rehearsal.suggest import advise
from kernel.rehearsal.suggest.advise import Original
from kernel.rehearsal.witness import rehearse as witnessed
from kernel.rehearsal.witness.shut import shut

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.files.migration import Migration
    from kernel.rehearsal.data.declared import Expectation
    from kernel.rehearsal.golden import Copy
    from kernel.rehearsal.queries.query import Query
    from kernel.rehearsal.result import Receipt, Run, Source
    from kernel.rehearsal.stage import Stage
    from kernel.rehearsal.wish import Telling, Wish


def rehearsed(
    found: tuple[Migration, ...],
    copy: Copy,
    source: Source,
    wish: Wish,
    telling: Telling,
    *,
    asked: tuple[Query, ...] = (),
) -> Rehearsal:
    """Rehearse what is pending in the copy; a Rehearsal without runs when nothing is. `source` is what it was made of.

    `asked` are the application's queries. Raises FilesInvalid, also for a declaration that names nothing, Drift,
    Unrecorded, and EnvironmentFailed. Nothing stays behind but a clone that is TEST_DB.
    """
    stage = stages.read(found, copy, source, wish, telling)
    expectations = _declared(stage.pending)
    rehearsal = Rehearsal(
        database=stage.database, source=source, restore=copy.restored, runs=(), environment=stage.environment
    )
    if not stage.pending:
        return rehearsal
    return _Course(stage=stage, copy=copy, wish=wish, telling=telling).performed(rehearsal, expectations, asked)


def _declared(pending: tuple[Migration, ...]) -> tuple[Expectation, ...]:
    expectations, problems = declared.expectations(pending)
    if problems:
        raise FilesInvalid(problems)
    return expectations


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """A rehearsal under way: the copy, what is known of it, and what is wished."""

    stage: Stage
    copy: Copy
    wish: Wish
    telling: Telling

    def performed(
        self, rehearsal: Rehearsal, expectations: tuple[Expectation, ...], asked: tuple[Query, ...]
    ) -> Rehearsal:
        """The rehearsal with all that was found. Raises FilesInvalid for a declaration that names nothing."""
        stage, copy, wish, telling = self.stage, self.copy, self.wish, self.telling
        with copy.clone(MAIN) as clone:
            for warning in clone.warnings:
                telling.say(f"warning: {warning}")
            with database.session(clone.url) as session:
                before = snapshot.read(session)
            copy.checkpoint()
            its_wish = migrate.Wish(patience=wish.patience)
            runs = witnessed.rehearse(clone.url, stage.found, its_wish, observer=telling.observer, say=telling.say)
            runs = tuple(_explained(clone.url, run) for run in runs)
            telling.passing("comparing the data")
            if misnamed := check.misnamed(copy.url, clone.url, expectations):
                raise FilesInvalid(misnamed)
            receipts = self._receipts(copy.url, clone.url, runs, expectations)
            state = sanity.look(copy.url, clone.url, jobs=wish.jobs)
            with database.session(clone.url) as session:
                after = snapshot.read(session)
            telling.passing("trying the practices")
            again, back = self._practices(runs, clone.url, lossless=not expectations)
            compared = compatible.check(before, after, runs=runs)
            felt = shut(runs)
            telling.passing("under traffic")
            crowd = among.Among()
            if not any(run.failed for run in runs):
                crowd = among.others(copy, stage.found, wish, telling, shut=felt, asked=asked)
            linted = lint.lint(lint.directory(stage.found[0].directory), {one.filename for one in stage.pending})
            evidence = Evidence(
                runs=runs,
                shut=felt,
                receipts=receipts,
                sanity=state,
                traffic=crowd.standstills,
                queries=crowd.findings,
                text=tuple(one.finding for one in linted.sightings),
                accepted=tuple(one.finding for one in linted.allowed),
                allows=linted.accepted,
                declared=tuple((one.file, part) for one in expectations for part in one.name),
                rerun=again.faults,
                revert=back.faults,
                compatible=compared.faults,
                compared=True,
                rows=stage.rows,
                limits=wish.limits,
            )
            findings = verdict.findings(evidence)
            advice = None
            if wish.suggest:
                telling.passing("trying a safer way")
                original = Original(url=clone.url, runs=runs, findings=findings)
                advice = advise.advise(copy, stage.found, original, wish, telling)
        return replace(
            rehearsal,
            restore=replace(rehearsal.restore, clone_seconds=clone.seconds),
            runs=runs,
            shut=felt,
            receipts=receipts,
            schema=difference(before, after),
            practices=(again.practice, back.practice, compared.practice),
            rerun_safe=again.practice.held,
            traffic=crowd.standstills,
            environment=(*rehearsal.environment, *crowd.conditions),
            findings=findings,
            reasons=verdict.reasons(findings, wish.limits),
            advice=advice,
        )

    def _practices(self, runs: tuple[Run, ...], migrated: str, *, lossless: bool) -> tuple[Checked, Checked]:
        """Safe to re-run, and reverts: each on a clone of its own, once all can be applied, as in `migrated`."""
        stage, copy, patience = self.stage, self.copy, self.wish.patience
        if any(run.failed for run in runs):
            return _untried(rerun.NAME), _untried(revert.NAME)
        with copy.clone("again") as clone:
            again = _tried(
                rerun.NAME,
                lambda: rerun.check(
                    clone.url,
                    stage.found,
                    stage.pending,
                    patience=patience,
                    before_url=migrated,
                    data_changed=self._changed,
                ),
            )
        if not any((one.directory / FOLDER / one.filename).is_file() for one in stage.pending):
            return again, _untried(revert.NAME, "no pending file has a revert file")
        with copy.clone("reverted") as clone:
            back = _tried(
                revert.NAME,
                lambda: revert.check(
                    clone.url,
                    stage.found,
                    stage.pending,
                    patience=patience,
                    before_url=copy.url if lossless else "",
                    data_changed=self._changed,
                ),
            )
        return again, back

    def _changed(self, before: str, after: str) -> tuple[str, ...]:
        receipts = self._receipts(before, after, (), ())
        return tuple(f"{one.table}: rows differ" for one in receipts if one.added or one.removed or one.changed)

    def _receipts(
        self, before: str, after: str, runs: tuple[Run, ...], expectations: tuple[Expectation, ...]
    ) -> tuple[Receipt, ...]:
        """The receipts of all tables but our own."""
        receipts = check.check(before, after, runs, expectations, jobs=self.wish.jobs)
        return tuple(one for one in receipts if one.table not in self.stage.ours)


def _explained(url: str, run: Run) -> Run:
    """A run that failed on data, with all the rows in its way."""
    failed = run.failed
    if failed is None or failed.failure is None:
        return run
    ahead = [one.sql.encode() for one in run.statements if one.line < (failed.failure.line or 0)]
    found = violations.of(url, failed.failure, ahead=ahead if run.transactional else ())
    return replace(run, failed=replace(failed, violations=found))


def _tried(name: str, check: Callable[[], Checked]) -> Checked:
    """A practice put to the test, unless what it takes cannot be had twice on one server: a role, a tablespace."""
    try:
        return check()
    except MigrationFailed as error:
        return _untried(name, f"on a second clone, {error.failure.file} fails: {error}")


def _untried(name: str, why: str = "a migration failed") -> Checked:
    return Checked(practice=Practice(name=name, held=None, details=(f"not tried: {why}",)))
