"""The migrations: all of them in one table on one scale, then each with its timeline, statements and failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.report.html_page.findings import longest_blocked
from kernel.report.html_page.markup import (
    NO_FIGURE,
    TableColumn,
    count_html,
    counted_noun,
    definition_list,
    details_html,
    excerpt_html,
    fits_inline,
    inline_sql,
    join_html,
    migration_anchor,
    name_tag,
    preformatted_html,
    seconds_html,
    section_html,
    size_html,
    statement_anchor,
    table_html,
    tag,
)
from kernel.report.html_page.timeline import legend_html, measure_svg, timeline_html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.result import Rehearsal, Relation, RowsWritten, Run, RunFailure, Scan, TracedStatement
    from kernel.report.html_page.markup import Content, Html


# The statements of a migration, in its order, each with what was measured of it.


_SHOWN_AT_ONCE = 40
_SHOWN_FOLDED = 400  # a dump as a migration has hundreds of thousands; the document has them all
_NAMES = 6


def statements_html(at: int, run: Run) -> Html | None:
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
        details_html(counted_noun(len(folded), "more statement"), _list(at, folded)) if folded else None,
        tag("p", f"and {counted_noun(rest, 'statement')} more: --json has them", class_="aside") if rest else None,
        class_="statements",
    )


def _list(at: int, numbered: Sequence[tuple[int, TracedStatement]]) -> Html:
    return tag("ol", [_item(at, number, one) for number, one in numbered], start=numbered[0][0])


def _item(at: int, number: int, statement: TracedStatement) -> Html:
    pointer = f"/migrations/{at}/statements/{number - 1}"
    facts = _facts(statement, pointer)
    return tag(
        "li",
        tag(
            "div",
            tag("span", str(number), class_="number", aria_hidden="true"),
            _sql(statement),
            tag("span", seconds_html(statement.seconds, f"{pointer}/seconds"), class_="took"),
            class_="ran",
        ),
        tag("ul", [tag("li", fact) for fact in facts], class_="facts") if facts else None,
        id=statement_anchor(at, number),
    )


def _sql(statement: TracedStatement) -> Html:
    if fits_inline(statement.sql) and "\n" not in statement.sql:
        return inline_sql(statement.sql)
    return details_html(inline_sql(statement.sql), excerpt_html(statement.sql, first_line=statement.line))


def _facts(statement: TracedStatement, pointer: str) -> list[Content]:
    facts: list[Content] = [f"line {statement.line}"]
    if statement.rewrites:
        facts.append([tag("strong", "rewrote"), " ", _relations(statement.rewrites)])
    if statement.index_rebuilds:
        facts.append(["rebuilt ", _relations(statement.index_rebuilds)])
    facts += [_scan(scan, f"{pointer}/scans/{at}") for at, scan in enumerate(statement.scans)]
    facts += [_written(one, f"{pointer}/written/{at}") for at, one in enumerate(statement.written)]
    if statement.wal_bytes:
        facts.append([size_html(statement.wal_bytes, f"{pointer}/wal_bytes"), " of WAL"])
    # One command is what the statement itself says, and so are several of an ALTER; others are what a DO block hides.
    if len(statement.commands) > 1 and not statement.sql.upper().startswith("ALTER "):
        facts.append(["ran ", "; ".join(statement.commands)])
    facts += [f"server: {note}" for note in statement.notes]
    return facts


def _relations(relations: Sequence[Relation]) -> Content:
    named = [
        [name_tag(one.name), [" (", size_html(one.size_bytes), ")"] if one.size_bytes else None]
        for one in relations[:_NAMES]
    ]
    rest = len(relations) - len(named)
    return [join_html(named, ", "), f" and {rest} more" if rest else None]


def _scan(scan: Scan, pointer: str) -> Content:
    under = [" under ", scan.held_lock_mode] if scan.held_lock_mode else None
    return ["read ", count_html(scan.rows, f"{pointer}/rows"), " rows of ", name_tag(scan.relation.name), under]


def _written(one: RowsWritten, pointer: str) -> Content:
    told = [
        [word, " ", count_html(number, f"{pointer}/{word}")]
        for word, number in (("inserted", one.inserted), ("updated", one.updated), ("deleted", one.deleted))
        if number
    ]
    return [join_html(told, ", "), " in ", name_tag(one.relation.name)]


_COLUMNS = (
    TableColumn(title="Migration"),
    TableColumn(title="Time", measured=True),
    TableColumn(title="No reads", measured=True),
    TableColumn(title="No writes", measured=True),
    TableColumn(title="Rewrites", figures=True),
    TableColumn(title="WAL", figures=True),
    TableColumn(title="Growth", figures=True),
)


def migrations_overview(rehearsal: Rehearsal) -> Html:
    """A row for each migration. The bars below the durations share one scale."""
    scale = max((run.seconds for run in rehearsal.runs), default=0.0)
    rows = [_row(rehearsal, at, scale) for at in range(len(rehearsal.runs))]
    return section_html(
        "migrations",
        "Migrations",
        table_html(
            "Each migration: its time, how long at a stretch it kept reads and writes out of one relation, and what "
            "it wrote",
            _COLUMNS,
            rows,
        ),
    )


def _row(rehearsal: Rehearsal, at: int, scale: float) -> list[Content]:
    run, pointer = rehearsal.runs[at], f"/migrations/{at}"
    link = tag("a", name_tag(run.filename), href=f"#{migration_anchor(at)}")
    rewrites = sum(len(one.rewrites) for one in run.statements)
    return [
        [link, [" ", tag("strong", "failed", class_="error")] if run.failed else None],
        _timed(run.seconds, f"{pointer}/seconds", scale, None),
        _shut(rehearsal, run, scale, reads=True),
        _shut(rehearsal, run, scale, reads=False),
        count_html(rewrites) if rewrites else NO_FIGURE,
        size_html(run.wal_bytes, f"{pointer}/wal_bytes"),
        size_html(run.growth_bytes, f"{pointer}/growth_bytes", signed=True),
    ]


def _timed(value: float, pointer: str, scale: float, class_: str | None) -> Content:
    return [seconds_html(value, pointer), measure_svg(value / scale if scale else 0.0, class_)]


def _shut(rehearsal: Rehearsal, run: Run, scale: float, *, reads: bool) -> Content:
    found = longest_blocked(rehearsal.blocked, reads=reads, version=run.version)
    key = "reads_seconds" if reads else "writes_seconds"
    if found is None or not getattr(found[1], key):
        return NO_FIGURE
    at, one = found
    return _timed(getattr(one, key), f"/blocked/{at}/{key}", scale, "reads" if reads else "writes")


def migration_sections(rehearsal: Rehearsal) -> Html:
    """What happened when, migration by migration."""
    return section_html(
        "timeline",
        "Timeline",
        legend_html(),
        [_migration(rehearsal, at, run) for at, run in enumerate(rehearsal.runs)],
    )


def _migration(rehearsal: Rehearsal, at: int, run: Run) -> Html:
    pointer = f"/migrations/{at}"
    facts: list[Content] = [
        seconds_html(run.seconds, f"{pointer}/seconds"),
        counted_noun(len(run.statements), "statement"),
        "in one transaction" if run.transactional else "each statement its own transaction",
    ]
    return tag(
        "article",
        tag("h3", name_tag(run.filename), id=f"{migration_anchor(at)}-h"),
        tag("ul", [tag("li", fact) for fact in facts], class_="facts"),
        _failure(run.failed) if run.failed else None,
        timeline_html(rehearsal, at),
        statements_html(at, run),
        id=migration_anchor(at),
        aria_labelledby=f"{migration_anchor(at)}-h",
    )


def _failure(failed: RunFailure) -> Html:
    """What the server said, where, what is left of it, and which rows stood in the way."""
    place = failed.failure
    code = f" ({place.sqlstate})" if place and place.sqlstate else ""
    return tag(
        "div",
        tag("p", tag("strong", "Failed", class_="error"), " ", failed.message, code),
        preformatted_html(place.excerpt) if place and place.excerpt else None,
        definition_list(
            ("Detail", place.detail) if place and place.detail else None,
            ("Hint of the server", place.server_hint) if place and place.server_hint else None,
            ("Context", place.context) if place and place.context else None,
            ("Afterwards", failed.aftermath),
            ("Next", failed.hint) if failed.hint else None,
        ),
        [
            [
                tag(
                    "p",
                    counted_noun(one.rows, "row"),
                    " of ",
                    name_tag(one.relation),
                    " in the way" if not one.constraint else [" in the way of ", name_tag(one.constraint)],
                ),
                details_html("The query that lists them", preformatted_html(one.query)),
            ]
            for one in failed.violations
        ],
        class_="failure",
    )
