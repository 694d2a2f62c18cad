"""What an ALTER TABLE or CREATE UNIQUE INDEX asks of the rows, as far as its text tells.

Whatever has another shape than the usual ones is None, or an action that nobody recognises: no guess is made.
Source of the shapes: PostgreSQL documentation, "ALTER TABLE", "CREATE INDEX".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.sql.tokens import BackslashOutsideQuotes, UnclosedToken, scan_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable


_OPEN = {"(", "["}
_CLOSE = {")", "]"}


@dataclass(frozen=True, slots=True)
class StatementToken:
    """A token: `word` in upper case for words, as written otherwise; `begin` and `end` are byte positions."""

    word: str
    begin: int
    end: int
    is_name: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterTableStatement:
    """An ALTER TABLE: `table` as written, its `bare` name without schema, `only` when without its children.

    `actions` are the tokens of each.
    """

    table: str
    bare_name: str
    only: bool
    actions: tuple[tuple[StatementToken, ...], ...]

    def from_item(self, relation: str) -> str:
        """What FROM reads its rows from, as `t`; `relation` is the table under its qualified name."""
        return f"{'ONLY ' if self.only else ''}{relation} AS t"


def scan_statement(statement: bytes) -> tuple[StatementToken, ...]:
    """The tokens of a statement but its last semicolon; () when it cannot be read."""
    found = []
    try:
        for kind, begin, end in scan_tokens(statement, 0):
            text = statement[begin:end].decode(errors="replace")
            is_name = kind in ("word", "quoted")
            found.append(StatementToken(text.upper() if kind == "word" else text, begin, end, is_name))
    except (UnclosedToken, BackslashOutsideQuotes):
        return ()
    return tuple(found[:-1] if found and found[-1].word == ";" else found)


def parse_alter_table(statement: bytes) -> AlterTableStatement | None:
    """The table and the actions of an ALTER TABLE; None for any other statement."""
    all_tokens = scan_statement(statement)
    words = [token.word for token in all_tokens]
    if words[:2] != ["ALTER", "TABLE"]:
        return None
    at = 2
    if words[at : at + 2] == ["IF", "EXISTS"]:
        at += 2
    only = words[at : at + 1] == ["ONLY"]
    end = find_name_end(all_tokens, at := at + only)
    if end is None:
        return None
    table, bare = token_text(statement, all_tokens[at:end]), token_text(statement, all_tokens[end - 1 : end])
    if words[end : end + 1] == ["*"]:
        end += 1
    return AlterTableStatement(table=table, bare_name=bare, only=only, actions=tuple(split_at_commas(all_tokens[end:])))


def find_name_end(found: tuple[StatementToken, ...], at: int) -> int | None:
    """Where a name, with its schema if it has one, that begins at `at` ends; None when none begins there."""
    if at >= len(found) or not found[at].is_name:
        return None
    at += 1
    while at + 1 < len(found) and found[at].word == "." and found[at + 1].is_name:
        at += 2
    return at


def split_at_commas(found: tuple[StatementToken, ...]) -> list[tuple[StatementToken, ...]]:
    """The tokens between the commas that stand in no parentheses."""
    parts = []
    depth = begin = 0
    for at, token in enumerate(found):
        depth += (token.word in _OPEN) - (token.word in _CLOSE)
        if token.word == "," and depth == 0:
            parts.append(found[begin:at])
            begin = at + 1
    return [*parts, found[begin:]]


def token_text(statement: bytes, found: tuple[StatementToken, ...]) -> str:
    """The statement's text from the first of these tokens to the last, "" for none."""
    return statement[found[0].begin : found[-1].end].decode(errors="replace") if found else ""


def edit_statement(
    statement: bytes, *, dropped: Iterable[StatementToken] = (), added: Iterable[tuple[int, bytes]] = ()
) -> bytes:
    """The statement without some tokens, and with something added at byte positions."""
    edits = [(token.begin, token.end, b"") for token in dropped] + [(at, at, what) for at, what in added]
    for begin, end, what in sorted(edits, reverse=True):
        statement = statement[:begin] + what + statement[end:]
    return statement


def fold_identifier(token: StatementToken) -> str:
    """The name that a token stands for, as the catalog has it."""
    return token.word[1:-1].replace('""', '"') if token.word.startswith('"') else token.word.lower()


def altered_column(statement: bytes, action: tuple[StatementToken, ...]) -> tuple[str, tuple[StatementToken, ...]]:
    """The column, as written, and the rest of an action ALTER [COLUMN] name …; ("", ()) for any other."""
    words = [token.word for token in action]
    if words[:1] != ["ALTER"]:
        return "", ()
    at = 2 if words[1:2] == ["COLUMN"] and len(words) > 2 and action[2].is_name else 1  # noqa: PLR2004 - a word ahead
    if at >= len(action) or not action[at].is_name:
        return "", ()
    return token_text(statement, action[at : at + 1]), action[at + 1 :]


def added_constraint(action: tuple[StatementToken, ...]) -> tuple[StatementToken, ...]:
    """What an action ADD [CONSTRAINT name] … adds, from its first keyword on; () for any other."""
    words = [token.word for token in action]
    if words[:1] != ["ADD"]:
        return ()
    rest = action[3:] if words[1:2] == ["CONSTRAINT"] else action[1:]
    return rest if rest and rest[0].word in ("CHECK", "FOREIGN", "UNIQUE", "PRIMARY") else ()


def added_column_without_value(statement: bytes, action: tuple[StatementToken, ...]) -> str | None:
    """The column of an action ADD [COLUMN] … NOT NULL that gives the rows no value; None for any other."""
    words = [token.word for token in action]
    if words[:1] != ["ADD"] or added_constraint(action):
        return None
    at = 1 + (words[1:2] == ["COLUMN"])
    at += 3 * (words[at : at + 3] == ["IF", "NOT", "EXISTS"])
    rest = words[at + 1 :]
    filled = {"DEFAULT", "GENERATED"} & set(rest) or any("SERIAL" in word for word in rest)
    if filled or not any(rest[place : place + 2] == ["NOT", "NULL"] for place in range(len(rest))):
        return None
    return token_text(statement, action[at : at + 1])


def added_constraint_kind(action: tuple[StatementToken, ...]) -> str:
    """The first word of the constraint that an action adds, "" for other actions."""
    constraint = added_constraint(action)
    return constraint[0].word if constraint else ""


def plain_column_names(statement: bytes, found: tuple[StatementToken, ...]) -> tuple[str, ...]:
    """The names in the parentheses that come next, () when anything but plain names is there."""
    words = [token.word for token in found]
    if words[:1] != ["("] or ")" not in words:
        return ()
    items = split_at_commas(found[1 : words.index(")")])
    if any(len(item) != 1 or not item[0].is_name for item in items):
        return ()
    return tuple(token_text(statement, item) for item in items)
