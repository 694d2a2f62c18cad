"""A migration that failed in the rehearsal: why, and how many rows are in its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal.judge import deed, finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.rehearsal.result import Failed, Finding, Run

# Classes of SQLSTATE (PostgreSQL documentation, Appendix A): integrity constraint violation, data exception.
_CONSTRAINT, _DATA = "23", "22"
# Rules of the linter that say that a statement fails, by the SQLSTATE that it fails with.
_FORESEEN = {"23502": "add-required-column", "55P04": "enum-value-used-at-once"}
# And those that say why a file is refused before anything runs.
_REFUSED = frozenset({"concurrently-in-transaction", "transaction-in-file", "psql-meta-command", "duplicate-version"})


def told(run: Run, feared: Iterable[Finding]) -> Iterator[Finding]:
    """The finding of a migration that failed, where the linter's do not say it all; none of one that was applied."""
    failed = run.failed
    if failed is None or any(one.rule in _REFUSED and not run.statements for one in feared):
        return
    failure = failed.failure
    statement = deed.at(run, failure.line if failure else None)
    foreseen = [one for one in feared if foretold(run, one)]
    yield finding.of(
        foreseen[0].rule if foreseen else _rule(failed),
        "; ".join([_first(failed), *_in_its_way(failed)]),
        run=run,
        statement=statement,
        relation=foreseen[0].relation if foreseen else _relation(failed),
        remedy=foreseen[0].remedy if foreseen else _remedy(failed),
    )


def foretold(run: Run, feared: Finding) -> bool:
    """Whether a finding of the linter says what then happened: its statement fails for that reason."""
    failure = run.failed.failure if run.failed else None
    if failure is None or failure.line is None or _FORESEEN.get(failure.sqlstate or "") != feared.rule:
        return False
    return deed.at(run, feared.line) is deed.at(run, failure.line)


def _rule(failed: Failed) -> str:
    state = (failed.failure.sqlstate if failed.failure else None) or ""
    return {_CONSTRAINT: "constraint-violated", _DATA: "data-does-not-fit"}.get(state[:2], "migration-failed")


def _first(failed: Failed) -> str:
    """The first line of what the server said, or the runner, and its code."""
    shown = finding.clipped(failed.message.partition("\n")[0])
    state = failed.failure.sqlstate if failed.failure else None
    return f"{shown} ({state})" if state else shown


def _in_its_way(failed: Failed) -> Iterator[str]:
    for one in failed.violations[:1]:
        more = len(failed.violations) - 1
        others = f", and of {more} more tables" if more else ""
        yield f"{units.several(one.rows, 'row')} of {one.relation} in its way{others}"


def _relation(failed: Failed) -> str:
    return failed.violations[0].relation if failed.violations else ""


def _remedy(failed: Failed) -> str:
    queries = [f"list them: {one.query}" for one in failed.violations if one.query]
    return "; ".join(queries) or failed.hint
