"""The statements of a migration, in its order, each with what was measured of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.report.page import anchors, figures
from kernel.report.page.blocks import excerpt, fold, inline_sql, is_short
from kernel.report.page.markup import joined, name, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.result import Relation, Run, Scan, Statement, Written
    from kernel.report.page.markup import Content, Html

_SHOWN_AT_ONCE = 40
_SHOWN_FOLDED = 400  # a dump as a migration has hundreds of thousands; the document has them all
_NAMES = 6


def listed(at: int, run: Run) -> Html | None:
    """The statements; of very many, the first few open and the next folded."""
    if not run.statements:
        return tag("p", "No statements.", class_="aside")
    numbered = list(enumerate(run.statements, 1))
    opened, folded = numbered[:_SHOWN_AT_ONCE], numbered[_SHOWN_AT_ONCE:_SHOWN_FOLDED]
    rest = len(numbered) - len(opened) - len(folded)
    return tag(
        "div",
        tag("h4", "Statements", class_="unseen"),
        _list(at, opened),
        fold(figures.several(len(folded), "more statement"), _list(at, folded)) if folded else None,
        tag("p", f"and {figures.several(rest, 'statement')} more: --json has them", class_="aside") if rest else None,
        class_="statements",
    )


def _list(at: int, numbered: Sequence[tuple[int, Statement]]) -> Html:
    return tag("ol", [_item(at, number, one) for number, one in numbered], start=numbered[0][0])


def _item(at: int, number: int, statement: Statement) -> Html:
    pointer = f"/migrations/{at}/statements/{number - 1}"
    facts = _facts(statement, pointer)
    return tag(
        "li",
        tag(
            "div",
            tag("span", str(number), class_="number", aria_hidden="true"),
            _sql(statement),
            tag("span", figures.seconds(statement.seconds, f"{pointer}/seconds"), class_="took"),
            class_="ran",
        ),
        tag("ul", [tag("li", fact) for fact in facts], class_="facts") if facts else None,
        id=anchors.statement(at, number),
    )


def _sql(statement: Statement) -> Html:
    if is_short(statement.sql) and "\n" not in statement.sql:
        return inline_sql(statement.sql)
    return fold(inline_sql(statement.sql), excerpt(statement.sql, first_line=statement.line))


def _facts(statement: Statement, pointer: str) -> list[Content]:
    facts: list[Content] = [f"line {statement.line}"]
    if statement.rewrites:
        facts.append([tag("strong", "rewrote"), " ", _relations(statement.rewrites)])
    if statement.index_rebuilds:
        facts.append(["rebuilt ", _relations(statement.index_rebuilds)])
    facts += [_scan(scan, f"{pointer}/scans/{at}") for at, scan in enumerate(statement.scans)]
    facts += [_written(one, f"{pointer}/written/{at}") for at, one in enumerate(statement.written)]
    if statement.wal_bytes:
        facts.append([figures.size(statement.wal_bytes, f"{pointer}/wal_bytes"), " of WAL"])
    # One command is what the statement itself says, and so are several of an ALTER; others are what a DO block hides.
    if len(statement.commands) > 1 and not statement.sql.upper().startswith("ALTER "):
        facts.append(["ran ", "; ".join(statement.commands)])
    facts += [f"server: {note}" for note in statement.notes]
    return facts


def _relations(relations: Sequence[Relation]) -> Content:
    named = [
        [name(one.name), [" (", figures.size(one.size_bytes), ")"] if one.size_bytes else None]
        for one in relations[:_NAMES]
    ]
    rest = len(relations) - len(named)
    return [joined(named, ", "), f" and {rest} more" if rest else None]


def _scan(scan: Scan, pointer: str) -> Content:
    under = [" under ", scan.under] if scan.under else None
    return ["read ", figures.count(scan.rows, f"{pointer}/rows"), " rows of ", name(scan.relation.name), under]


def _written(one: Written, pointer: str) -> Content:
    told = [
        [word, " ", figures.count(number, f"{pointer}/{word}")]
        for word, number in (("inserted", one.inserted), ("updated", one.updated), ("deleted", one.deleted))
        if number
    ]
    return [joined(told, ", "), " in ", name(one.relation.name)]
