"""The judgement of a table's rows: same, expected, or changed with the sentences that say what nobody declared.

Loss needs a declaration: rows removed, values changed, columns and tables dropped with what they hold. Rows added do
not, nor columns: nothing of production's is lost. Nor does what is computed from other rows: generated columns and
materialized views.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal.result import ColumnChange, Content, Receipt, Unexpected

if TYPE_CHECKING:
    from kernel.rehearsal.data.catalog import Column
    from kernel.rehearsal.data.compare import Changed, Difference
    from kernel.rehearsal.data.expected import Declared
    from kernel.rehearsal.data.touched import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A column that was dropped, and how many values it held."""

    column: Column
    values: int


@dataclass(kw_only=True)
class _Findings:
    """What is unexpected of a table, as it is found: `name` is how a declaration would call it."""

    name: str
    unexpected: list[Unexpected] = field(default_factory=list)

    def undeclared(self, what: str, declaration: str, *, column: str = "", rows_removed: int | None = None) -> None:
        self.unexpected.append(Unexpected(what=what, declaration=declaration, column=column, rows_removed=rows_removed))


def of(
    table: Table,
    difference: Difference,
    lost: tuple[Lost, ...],
    declared: Declared,
    *,
    name: str,
    proof: str,
    seconds: float,
) -> Receipt:
    """The receipt of a table that both sides have; `name` is what declarations call it."""
    findings = _Findings(name=name)
    if not table.derived:
        _judge_rows(findings, table, difference, declared)
        for change in difference.columns:
            _judge_column(findings, change, declared)
        for one in lost:
            if one.values and not one.column.generated and one.column.name not in declared.drops:
                what = f"{one.column.quoted}: dropped with {units.several(one.values, 'value')}"
                findings.undeclared(what, f"drops {name}.{one.column.quoted}", column=one.column.name)
    columns = (
        *(ColumnChange(column=one.column.name, rows=one.rows, how=_how(one)) for one in difference.columns),
        *(ColumnChange(column=one.column.name, rows=one.values, how="dropped") for one in lost),
    )
    differs = difference.added or difference.removed or difference.changed or any(one.values for one in lost)
    return Receipt(
        table=table.head.quoted,
        rows_before=difference.rows_before,
        rows_after=difference.rows_after,
        content=_content(findings.unexpected, differs=bool(differs)),
        added=difference.added,
        removed=difference.removed,
        changed=difference.changed,
        columns=columns,
        unexpected=tuple(findings.unexpected),
        proof=proof,
        query=difference.query,
        seconds=seconds,
    )


def dropped(table: Table, rows: int, declared: Declared, *, name: str, seconds: float) -> Receipt:
    """The receipt of a table that the clone has no more."""
    findings = _Findings(name=name)
    expected = table.derived or "" in declared.drops or declared.any_number or declared.total(added=False) == -rows
    if rows and not expected:
        findings.undeclared(f"dropped with {units.several(rows, 'row')}", f"drops {name}")
    return Receipt(
        table=table.head.quoted,
        rows_before=rows,
        rows_after=None,
        content=_content(findings.unexpected, differs=bool(rows)),
        removed=rows,
        unexpected=tuple(findings.unexpected),
        proof="dropped; its rows were counted before",
        query=f"SELECT * FROM {table.head.quoted}" if rows else "",  # noqa: S608 - quoted by the server, for people to run
        seconds=seconds,
    )


def created(table: Table, rows: int, declared: Declared, *, seconds: float) -> Receipt:
    """The receipt of a table that the golden copy does not have."""
    wanted = declared.total(added=True)
    unexpected = [_miscounted(rows, wanted, "added", declared)] if wanted is not None and wanted != rows else []
    return Receipt(
        table=table.head.quoted,
        rows_before=None,
        rows_after=rows,
        content=_content(unexpected, differs=bool(rows)),
        added=rows,
        unexpected=tuple(unexpected),
        proof="created by the migrations; its rows were counted",
        seconds=seconds,
    )


def _judge_rows(findings: _Findings, table: Table, difference: Difference, declared: Declared) -> None:
    added, removed = difference.added, difference.removed
    if not table.key and declared.may_change():
        # Without a key a changed row is one removed and one added.
        both = min(added, removed)
        added, removed = added - both, removed - both
    if declared.any_number:
        return
    wanted = declared.total(added=False)
    if wanted is not None and removed != -wanted:
        findings.unexpected.append(_miscounted(removed, -wanted, "removed", declared))
    elif wanted is None and removed and not table.key and added:
        gone, come = units.several(removed, "row"), units.count(added)
        what = f"{gone} removed and {come} added, or changed: no key tells rows apart"
        findings.undeclared(what, f"changes {findings.name}.*")
    elif wanted is None and removed:
        what = f"{units.several(removed, 'row')} removed"
        findings.undeclared(what, f"rows {findings.name}=-{removed}", rows_removed=removed)
    wanted = declared.total(added=True)
    if wanted is not None and added != wanted:
        findings.unexpected.append(_miscounted(added, wanted, "added", declared))


def _judge_column(findings: _Findings, change: Changed, declared: Declared) -> None:
    column = change.column
    if column.before.generated or declared.may_change(column.before.name, column.after.name):
        return
    how = f" ({_how(change)})" if _how(change) else ""
    what = f"{column.before.quoted}: {units.several(change.rows, 'value')} changed{how}"
    findings.undeclared(what, f"changes {findings.name}.{column.before.quoted}", column=column.name)


def _how(change: Changed) -> str:
    """What was found out about a column's changed values, "" for nothing special."""
    before, after = change.column.before, change.column.after
    found = [f"from {before.type} to {after.type}"] if (before.type != after.type) else []
    if change.became_null:
        found.append(
            "all NULL now" if change.became_null == change.rows else f"{units.count(change.became_null)} NULL now"
        )
    if change.were_null:
        found.append(
            "all NULL before" if change.were_null == change.rows else f"{units.count(change.were_null)} NULL before"
        )
    if before.name != after.name:
        found.append(f"now {after.quoted}")
    if before.generated:
        found.append("computed")
    return ", ".join(found)


def _miscounted(rows: int, wanted: int, what: str, declared: Declared) -> Unexpected:
    places = ", ".join(
        one.place for one in declared.rows if one.rows is not None and (one.rows > 0) is (what == "added")
    )
    return Unexpected(what=f"{units.several(rows, 'row')} {what}, but {units.count(wanted)} declared ({places})")


def _content(unexpected: list[Unexpected], *, differs: bool) -> Content:
    if unexpected:
        return Content.CHANGED
    return Content.EXPECTED if differs else Content.SAME
