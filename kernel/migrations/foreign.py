"""Marks of other migration tools in the comments of a file, and plain marks of a down part: refused, with what to do.

To ignore one would change the effect of the file: the statements of the down part would run after those of the up part.
Sources: the documentation of goose ("SQL file annotations"), sql-migrate ("Writing migrations"), dbmate ("Migration
options"), tern, node-pg-migrate ("SQL migrations"), micrate, rambler, MyBatis Migrations and dbdeploy ("@UNDO"), Play
("Evolutions scripts"), shmig, Mojo::Pg::Migrations, Atlas ("txtar"), sqlx, graphile-migrate, yoyo, postgres-migrations,
Evolve, Flyway, Liquibase ("Formatted SQL"), marv and Bytebase.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from kernel.errors import Problem
from kernel.migrations.directives import may_have_foreign_marks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Mark(Enum):
    """The meaning of a line for the tool that it is for."""

    UP = "up"
    DOWN = "down"
    NO_TRANSACTION = "no transaction"
    STATEMENT = "statement"
    VARIABLES = "variables"
    OTHER = "other"
    NEAR_MISS = "near miss"


class _Rule(NamedTuple):
    """A pattern of a line from its -- on, in any capitals; `tool` is "" for a mark that any tool could have."""

    tool: str
    mark: Mark
    pattern: bytes


_TOOLS = rb"alembic|dbmate|diesel|flyway|goose|knex|liquibase|prisma|refinery|sequelize|sqlx|typeorm|yoyo"
_PLAIN_BEFORE = (
    rb"[\W_]*(?:(?:begin|start|run|def|region|name|migrate|migration|v?[0-9]+|(?:section|part|step)(?:[\W_]+[0-9]+)?|"
    + _TOOLS
    + rb")[\W_]+|\w+:)?"
)
_DOWN_WORD = rb"(?:(?:sql[\s_-]?)?down(?:migration)?s?|downgrade|roll[\s_-]?back|undo|revert|reverse|backwards?)"
_PLAIN_AFTER = (
    rb"(?:[\W_]+(?:this|migrations?|section|part|block|scripts?|sql|here|below|begins?|starts?)){0,4}(?:[\W_]+"
    + _DOWN_WORD
    + rb")?(?:[ \t]*\([^()\n;]*\))?[^\w;]*$"
)
# Headings that may as well introduce a comment: -- To undo:, -- How to roll back, -- Rollback steps (if needed).
_INTRODUCTION = (
    rb"--[\W_]*(?:(?:(?:how[\W_]+)?to|for|on)[\W_]+)?"
    + _DOWN_WORD
    + rb"(?:[\W_]+(?:plan|steps?|statements?|commands?|procedure|instructions?|notes?|it))?"
    + rb"(?:[\W_]+(?:this[\W_]+)?migrations?)?"
    + rb"(?:[\W_]+(?:(?:if|when)[\W_]+needed|execute|run(?:[\W_]+the[\W_]+following)?))?"
    + rb"(?:[\W_]+(?:sql|script))?[^\w;]*$"
)
_WITHOUT_TRANSACTION = rb"(?:no|disable|without)[\W_]*(?:ddl[\W_]*)?transaction"
_RULES = (
    _Rule("goose", Mark.NO_TRANSACTION, rb"--\s*\+goose\s+no[\s_-]*transaction\b"),
    _Rule("goose", Mark.STATEMENT, rb"--\s*\+goose\s+statement\s*(?:begin|end)\b"),
    _Rule("goose", Mark.VARIABLES, rb"--\s*\+goose\s+envsub\b"),
    _Rule("goose", Mark.UP, rb"--\s*\+goose\s+up\b"),
    _Rule("goose", Mark.DOWN, rb"--\s*\+goose\s*down\b"),
    _Rule("goose", Mark.OTHER, rb"--\s*\+goose\s+\w+"),
    _Rule("sql-migrate", Mark.NO_TRANSACTION, rb"--\s*\+migrate\s+(?:up\s+|down\s+)?no[\s_-]*transaction\b"),
    _Rule("sql-migrate", Mark.STATEMENT, rb"--\s*\+migrate\s+statement\s*(?:begin|end)\b"),
    _Rule("sql-migrate", Mark.UP, rb"--\s*\+migrate\s+up\b"),
    _Rule("sql-migrate", Mark.DOWN, rb"--\s*\+migrate\s+down\b"),
    _Rule("sql-migrate", Mark.OTHER, rb"--\s*\+migrate\s+\w+"),
    _Rule("micrate", Mark.STATEMENT, rb"--\s*\+micrate\s+statement\s*(?:begin|end)\b"),
    _Rule("micrate", Mark.UP, rb"--\s*\+micrate\s+up\b"),
    _Rule("micrate", Mark.DOWN, rb"--\s*\+micrate\s+down\b"),
    _Rule("dbmate", Mark.NO_TRANSACTION, rb"--\s*migrate:(?:up|down)\s.*transaction\s*:\s*false"),
    _Rule("dbmate", Mark.UP, rb"--\s*migrate:\s*up\b"),
    _Rule("dbmate", Mark.DOWN, rb"--\s*migrate:\s*down\b"),
    _Rule("tern", Mark.DOWN, rb"---+\s*create above\s*/\s*drop below\s*---+"),
    _Rule("tern", Mark.NO_TRANSACTION, rb"---+\s*tern:\s*disable-tx\s*---+"),
    _Rule("node-pg-migrate", Mark.UP, rb"--[\s-]*up\s+migration[\s-]*$"),
    _Rule("node-pg-migrate", Mark.DOWN, rb"--[\s-]*down\s+migration[\s-]*$"),
    _Rule("rambler", Mark.UP, rb"--\s*rambler\s+up\b"),
    _Rule("rambler", Mark.DOWN, rb"--\s*rambler\s+down\b"),
    _Rule("MyBatis Migrations", Mark.DOWN, rb"--\s*//\s*@undo\b"),
    _Rule("MyBatis Migrations", Mark.OTHER, rb"--\s*//\s*@\w+"),
    _Rule("Play evolutions", Mark.UP, rb"(?:#|--).*!ups\b"),
    _Rule("Play evolutions", Mark.DOWN, rb"(?:#|--).*!downs\b"),
    _Rule("Atlas", Mark.NO_TRANSACTION, rb"--\s*atlas:txmode\s+none\b"),
    _Rule("Atlas", Mark.DOWN, rb"--\s+down\.sql\s+--\s*$"),
    _Rule("Atlas", Mark.OTHER, rb"--\s*atlas:\w+|--\s+(?:migration|checks?|checks/\S+)\.sql\s+--\s*$"),
    _Rule("sqlx", Mark.NO_TRANSACTION, rb"--\s*no-transaction\s*$"),
    _Rule("graphile-migrate", Mark.NO_TRANSACTION, rb"--!\s*no-transaction\b"),
    _Rule("graphile-migrate", Mark.OTHER, rb"--!\s*\w+"),
    _Rule("yoyo", Mark.NO_TRANSACTION, rb"--\s*transactional:\s*false\b"),
    _Rule("postgres-migrations", Mark.NO_TRANSACTION, rb"--\s*postgres-migrations\s+disable-transaction\b"),
    _Rule("Evolve", Mark.NO_TRANSACTION, rb"--\s*evolve-tx-off\b"),
    _Rule("Flyway", Mark.NO_TRANSACTION, rb"--\s*flyway:\s*executeInTransaction\s*=\s*false\b"),
    _Rule("Flyway", Mark.OTHER, rb"--\s*flyway:\s*\w+\s*="),
    _Rule("Liquibase", Mark.NO_TRANSACTION, rb"--\s*changeset\s+\S.*runInTransaction\s*:\s*false\b"),
    _Rule("Liquibase", Mark.OTHER, rb"--\s*liquibase\s+formatted\s+sql\b"),
    _Rule("Bytebase", Mark.NO_TRANSACTION, rb"--\s*txn-mode\s*=\s*off\b"),
    _Rule("marv", Mark.OTHER, rb"--\s*@marv\s+\w+"),
    _Rule("another tool", Mark.DOWN, rb"--\s*\+\w+\s+(?:down|undo|rollback|revert)\b"),
    _Rule("another tool", Mark.UP, rb"--\s*\+\w+\s+up\b"),
    # The whole line: -- Down, ==== DOWN ====, -- rollback script, -- @down, -- tool:down, -- 1 down, -- 001_a.down.sql.
    _Rule("", Mark.DOWN, rb"--" + _PLAIN_BEFORE + _DOWN_WORD + _PLAIN_AFTER),
    _Rule("", Mark.DOWN, rb"--[\s=#*-]*(?:\S*[/._-])?down\.sql[\s=#*-]*$"),
    _Rule("", Mark.DOWN, _INTRODUCTION),
    _Rule("", Mark.UP, rb"--" + _PLAIN_BEFORE + rb"up(?:s|grade)?" + _PLAIN_AFTER),
    # Near misses of our own directives.
    _Rule("", Mark.NO_TRANSACTION, rb"--[\W_]*(?:\w+[\W_]+)?" + _WITHOUT_TRANSACTION + rb"[^\w;]*$"),
    _Rule("", Mark.NEAR_MISS, rb"--[\W_]*(?:migrat\w*[\W_]+|\w+\s*:\s*)(?:lock[_-]?timeout|allow)\s*=\s*[^\s;]+"),
)  # fmt: skip
_OURS_IN_BLOCK = _Rule("", Mark.NEAR_MISS, b"")
_OURS = re.compile(rb"--[ \t]*migrate[ \t]*:(?![ \t]*(?:up|down)\b)")
# The tools that inv db.adopt reads.
_ADOPTED = {
    "goose": "goose",
    "sql-migrate": "sql-migrate",
    "dbmate": "dbmate",
    "tern": "tern",
    "node-pg-migrate": "node-pg-migrate-sql",
}
_SHOWN_MARKS = 2
_WORD = re.compile(rb"\w")
_BLOCK_OF_SQL = re.compile(rb"/\*[^*]*;.*?\*/", re.DOTALL)
_BLOCK_COMMENT = re.compile(rb"/\*.*?\*/", re.DOTALL)
# A block comment with one line of text and nothing else on its lines: /* Down */, also with a frame of asterisks.
_BLOCK_OF_ONE_LINE = re.compile(rb"^[ \t]*/\*[\s*]*((?!--)[^*\s][^*\n]*?)[\s*]*\*/[ \t\r]*$", re.MULTILINE)
# ROLLBACK itself, or an object of that name.
_DESCRIBED_BY_PLAIN_MARK = re.compile(
    rb"ROLLBACK\b|CREATE\b.{0,200}(?:rollback|undo|revert|reverse)", re.IGNORECASE | re.DOTALL
)
_COMMENTED_SQL = re.compile(
    rb"--[^\n]*;[ \t\r]*$|^[ \t]*--[ \t]*(?:ALTER|CREATE|DELETE|DROP|GRANT|INSERT|REVOKE|TRUNCATE|UPDATE)\b",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignMark:
    """A line with a mark; `text` is the line, `statements_before` the number of statements of the file before it.

    `tool` is "" for a mark that no tool is known by.
    """

    tool: str
    mark: Mark
    text: str
    line: int
    statements_before: int

    @property
    def is_plain_section(self) -> bool:
        """Whether it is a word such as Down, which may as well be an ordinary comment."""
        return not self.tool and self.mark in (Mark.UP, Mark.DOWN)


def find_foreign_marks(
    comments: bytes, line: int, *, statements_before: int = 0, mid_line: bool = False, statement: bytes = b""
) -> Iterator[ForeignMark]:
    """Yield the marks in the comments above a statement; the comments begin at `line`.

    With `mid_line` they begin on the last line of another statement. A block comment with one line of text counts too.
    """
    blocks: set[int] = set()
    all_lines = comments.split(b"\n")
    if b"/*" in comments:
        blocks = {comments.count(b"\n", 0, match.start(1)) for match in _BLOCK_OF_ONE_LINE.finditer(comments)}
        comments = _BLOCK_OF_ONE_LINE.sub(_as_line_comment, comments)
        comments = _BLOCK_COMMENT.sub(lambda match: b"\n" * match[0].count(b"\n"), comments)
    lines = comments.split(b"\n")
    for index, one in enumerate(lines):
        text = one.strip()
        if _OURS.match(text):
            rule = _OURS_IN_BLOCK if index in blocks else None
        elif may_have_foreign_marks(text):
            rule = next((rule for rule in _RULES if _compiled(rule.pattern).match(text)), None)
        else:
            continue
        if rule is None:
            continue
        mark = ForeignMark(
            tool=rule.tool,
            mark=rule.mark,
            text=text.decode(errors="replace"),
            line=line + index,
            statements_before=statements_before,
        )
        if (
            mark.is_plain_section
            and (
                (mid_line and not index)  # about the statement on that line
                or _DESCRIBED_BY_PLAIN_MARK.match(statement)
                or _COMMENTED_SQL.search(following := b"\n".join(lines[index + 1 :]))  # of SQL that does not run
                or _BLOCK_OF_SQL.search(b"\n".join(all_lines[index + 1 :]))
                or (rule.pattern == _INTRODUCTION and _WORD.search(following))  # of a comment that explains it
            )
        ):
            continue
        yield mark


def _as_line_comment(block: re.Match[bytes]) -> bytes:
    """The same as a comment from -- on, in its line."""
    text = block.string
    before, after = text.count(b"\n", block.start(), block.start(1)), text.count(b"\n", block.end(1), block.end())
    return b"\n" * before + b"-- " + block[1] + b"\n" * after


@cache
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.IGNORECASE)


def foreign_mark_problems(marks: Sequence[ForeignMark], file: str, *, first: int, last: int) -> Iterator[Problem]:
    """Yield one problem for each tool and kind of mark in a file.

    `first` and `last` are the numbers of statements before and up to the end of what is between the BEGIN and COMMIT of
    the file. A plain mark of a down part is a problem only with statements before and after it.
    """
    plain = [one for one in marks if one.is_plain_section]
    halves = {one.mark for one in plain if first < one.statements_before < last}
    down_on_top = any(one.mark is Mark.DOWN and one.statements_before <= first for one in plain)
    has_plain_sections = Mark.DOWN in halves or (Mark.UP in halves and down_on_top)
    by_kind: dict[tuple[str, bool, Mark], list[ForeignMark]] = {}
    for one in marks:
        if one.is_plain_section and not has_plain_sections:
            continue
        is_section = one.mark in (Mark.UP, Mark.DOWN)
        by_kind.setdefault((one.tool, is_section, Mark.DOWN if is_section else one.mark), []).append(one)
    for (tool, is_section, mark), same in by_kind.items():
        place = next((one for one in same if one.mark is Mark.DOWN), same[0])
        others = [one for one in same if one is not place]
        remedy = _section_remedy(place, others, file) if is_section else _REMEDIES[mark] + _also_on_lines(others)
        if tool in _ADOPTED:
            remedy += f"; or convert the directory: inv db.adopt DIRECTORY --from {_ADOPTED[tool]}"
        what = (
            f"a directive of {tool}"
            if tool
            else "like a section of another tool"
            if is_section
            else "not read as a directive"
        )
        yield Problem(message=f"{place.text.rstrip(': ')}: {what}; {remedy}", file=file, line=place.line)


_REMEDIES = {
    Mark.NO_TRANSACTION: "write -- migrate: no-transaction",
    Mark.STATEMENT: "take it out, statements are split without it",
    Mark.VARIABLES: "take it out, and write the values of the variables into the file",
    Mark.OTHER: "take it out",
    Mark.NEAR_MISS: "a directive is a comment of its own that begins with -- migrate: in lower case",
}


def _section_remedy(place: ForeignMark, others: Sequence[ForeignMark], file: str) -> str:
    also = _also_on_lines(others)
    if place.mark is Mark.UP:
        return f"take it out{also}; what undoes the migration goes to revert/ under the same name"
    if file.startswith("revert/"):
        return f"take it out{also}, and keep only what undoes the migration"
    remedy = (
        f"take it out{also}, and move the statements below it, which would run too, to revert/ under the same name: "
        "they undo the migration"
    )
    return remedy if place.tool else f"{remedy}; write an ordinary comment in other words"


def _also_on_lines(marks: Sequence[ForeignMark]) -> str:
    """The marks of the same kind on other lines."""
    if not marks:
        return ""
    shown = ", ".join(f"{one.text} on line {one.line}" for one in marks[:_SHOWN_MARKS])
    more = f" and {len(marks) - _SHOWN_MARKS} more" if len(marks) > _SHOWN_MARKS else ""
    return f" (and {shown}{more})"
