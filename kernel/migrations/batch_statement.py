"""Read the statement of a backfill: its clauses, the table that is walked, and where the condition of a range goes.

What would be of each range, and not of the whole, is refused: groups, limits, windows, set operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.migrations.backfill import BatchStatement, StatementProblem, name_parts, quoted_name, same_table
from kernel.sql.reader import WordReader, read_words

if TYPE_CHECKING:
    from kernel.migrations.backfill import BatchOptions
    from kernel.sql.reader import Word


# The words that end the condition of a statement, or come in the place where it would be.
_AFTER_CONDITION = ("RETURNING", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR", ";")
_SET_OPERATIONS = ("UNION", "INTERSECT", "EXCEPT")
_NOT_IN_RANGES = {
    "RETURNING": "no one reads the rows; leave it out",
    "GROUP": "a group may lie in several ranges; group in a subquery over another table, or do it in one transaction",
    "HAVING": "its groups may lie in several ranges",
    "WINDOW": "a window may lie in several ranges",
    "OVER": "a window may lie in several ranges; compute it in one transaction",
    "ORDER": "the ranges are in the order of the key; leave it out",
    "LIMIT": "it would hold for each range; the directive says how many rows a batch has",
    "OFFSET": "it would hold for each range",
    "FETCH": "it would hold for each range; the directive says how many rows a batch has",
    "FOR": "rows need no lock of their own; leave FOR UPDATE or FOR SHARE out",
    "UNION": "the range belongs to one SELECT; write a file for each",
    "INTERSECT": "the range belongs to one SELECT",
    "EXCEPT": "the range belongs to one SELECT",
}
_STATEMENT_EXPECTED = "a backfill is one UPDATE, DELETE or INSERT … SELECT"


class _NotInRangesError(Exception):
    """The statement cannot run in ranges; `begin` is the offset of the place."""

    def __init__(self, message: str, begin: int) -> None:
        super().__init__(message)
        self.message, self.begin = message, begin


def read_batch_statement(sql: bytes, options: BatchOptions) -> BatchStatement | StatementProblem:
    """Read the statement of a backfill, and where the condition of a range goes; or why it has none."""
    try:
        return _read_statement(WordReader(read_words(sql, most=None)), options)  # the condition may be at the end
    except _NotInRangesError as error:
        return StatementProblem(error.message, error.begin)


def _read_statement(reader: WordReader, options: BatchOptions) -> BatchStatement:
    match reader.key:
        case "UPDATE":
            statement = _read_update(reader)
        case "DELETE":
            statement = _read_delete(reader)
        case "INSERT":
            return _read_insert(reader, options)
        case "WITH":
            raise _NotInRangesError("WITH would run again for every range; write its query as a subquery", 0)
        case _:
            raise _NotInRangesError(_STATEMENT_EXPECTED, 0)
    if not same_table(statement.table, options.table):
        verb = {"UPDATE": "updates", "DELETE": "deletes from"}[statement.verb]
        message = f"by={options.key}: the statement {verb} {statement.table}; name a key of that table"
        raise _NotInRangesError(message, 0)
    return statement


def _read_update(reader: WordReader) -> BatchStatement:
    reader.take("UPDATE")
    table, reference = _take_table(reader, "SET")
    if not reader.take("SET"):
        raise _NotInRangesError(f"the table of the UPDATE cannot be read; {_STATEMENT_EXPECTED}", reader.begin)
    clauses = {"SET": _take_clause(reader, "FROM", "WHERE")}
    if reader.take("FROM"):
        clauses["FROM"] = _take_clause(reader, "WHERE")
    return _finish(reader, "UPDATE", (table, reference), (table, reference), clauses)


def _read_delete(reader: WordReader) -> BatchStatement:
    reader.take("DELETE")
    reader.take("FROM")
    table, reference = _take_table(reader, "USING", "WHERE", *_AFTER_CONDITION)
    clauses = {"FROM": _take_clause(reader, "WHERE") if reader.take("USING") else ()}
    return _finish(reader, "DELETE", (table, reference), (table, reference), clauses)


def _read_insert(reader: WordReader, options: BatchOptions) -> BatchStatement:
    reader.take("INSERT", "INTO")
    target, target_reference = _take_table(reader, "(", "SELECT", "OVERRIDING", "VALUES", "DEFAULT", "TABLE", "WITH")
    clauses = {"INTO": reader.take_group()}
    if reader.take("OVERRIDING"):
        reader.take_until("VALUE")
        reader.take("VALUE")
    if not reader.take("SELECT"):
        raise _NotInRangesError(f"INSERT without a SELECT of its own; {_STATEMENT_EXPECTED}", reader.begin)
    if reader.key in ("DISTINCT", "ALL"):
        raise _NotInRangesError(f"{reader.key}: equal rows may lie in several ranges", reader.begin)
    clauses["SELECT"] = _take_clause(reader, "FROM", "WHERE")
    reads = f"the statement does not read {options.table}, of which by= names the key"
    if not reader.take("FROM"):
        raise _NotInRangesError(reads, reader.begin)
    begin = reader.begin
    source = _take_clause(reader, "WHERE")
    first = WordReader(source)
    table, reference = _take_table(first, ",", "JOIN", "LEFT", "INNER", "CROSS", "NATURAL", "RIGHT", "FULL", "")
    if not table or not same_table(table, options.table):
        parts = name_parts(options.table)
        named = any(word.is_name and word.text == parts[-1] for word in source)
        raise _NotInRangesError(f"{options.table} has to be the first table in FROM" if named else reads, begin)
    depth = 0
    for word in source:
        depth += (word.key == "(") - (word.key == ")")
        if depth == 0 and word.key in ("RIGHT", "FULL"):
            message = (
                f"{word.key} JOIN adds rows without a row of {options.table}, which are in no range; use LEFT JOIN"
            )
            raise _NotInRangesError(message, word.begin)
    clauses["FROM"] = source
    return _finish(reader, "INSERT", (target, target_reference), (table, reference), clauses)


def _take_table(reader: WordReader, *following: str) -> tuple[str, str]:
    """Take [ONLY] name [*] [[AS] alias]: the name, and what qualifies its columns; the next word is in `following`."""
    reader.take("ONLY")
    table = reader.take_identifier()
    reader.take("*")
    reference = table.rpartition(".")[2] if '"' not in table else quoted_name(name_parts(table)[-1])
    if reader.take("AS") or (reader.key not in following and reader.key and reader.words[reader.index].is_name):
        reference = reader.take_identifier()
    return table, reference


def _take_clause(reader: WordReader, *following: str) -> tuple[Word, ...]:
    """Take the words up to the next clause outside of parentheses."""
    words: list[Word] = []
    while True:
        words += reader.take_until(*following, "FROM", "ON", "OVER", *_AFTER_CONDITION, *_SET_OPERATIONS)
        is_clause = reader.key != "OVER" and (reader.key != "ON" or reader.next_is("ON", "CONFLICT"))
        compares = reader.key == "FROM" and words and words[-1].key == "DISTINCT"
        if not reader.key or (is_clause and not compares):
            return tuple(words)
        if reader.key == "OVER":
            raise _NotInRangesError(f"OVER: {_NOT_IN_RANGES['OVER']}", reader.begin)
        words.append(reader.take_word())


def _finish(
    reader: WordReader,
    verb: str,
    target: tuple[str, str],
    walked: tuple[str, str],
    clauses: dict[str, tuple[Word, ...]],
) -> BatchStatement:
    """Read from WHERE, or where it would be, to the end."""
    before = reader.words[reader.index - 1].end
    begin = end = before
    if reader.key == "WHERE":
        begin = reader.take_word().end
        if reader.next_is("CURRENT", "OF"):
            raise _NotInRangesError("WHERE CURRENT OF: a cursor has no ranges", reader.begin)
        clauses["WHERE"] = _take_clause(reader)
        if not clauses["WHERE"]:
            raise _NotInRangesError("WHERE without a condition", reader.begin)
        end = clauses["WHERE"][-1].end
    if verb == "INSERT" and reader.take("ON", "CONFLICT"):
        clauses["CONFLICT"] = reader.take_until("RETURNING", ";")
    if reader.key in _NOT_IN_RANGES:
        raise _NotInRangesError(f"{reader.key}: {_NOT_IN_RANGES[reader.key]}", reader.begin)
    reader.take(";")
    if reader.key:
        raise _NotInRangesError(f"{reader.key} is not expected here; {_STATEMENT_EXPECTED}", reader.begin)
    return BatchStatement(
        verb=verb,
        target=target[0],
        target_reference=target[1],
        table=walked[0],
        reference=walked[1],
        condition_begin=begin,
        condition_end=end,
        words=tuple(reader.words),
        clauses=clauses,
    )
