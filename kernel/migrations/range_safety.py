"""Whether the ranges of a backfill may run twice: a second run changes nothing (practice 1 of the specification).

Each range commits once, with its progress. It runs again when a record is removed, a file is restarted, or a rehearsal
tries it. An UPDATE may then be repeated if what it assigns does not depend on what it has assigned before, or if its
condition no longer holds for the rows that it has changed; a DELETE may; an INSERT, if it passes over rows that are
there. Only text is read: where the author knows better, the file says so by `-- migrate: allow=range-not-repeatable`.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from kernel.migrations.backfill import StatementProblem, same_table
from kernel.sql.reader import QUOTED_KEY, STRING_KEY, WordReader, read_words, split_at_commas

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.migrations.backfill import BatchOptions, BatchStatement
    from kernel.sql.reader import Word


RANGE_RULE = "range-not-repeatable"
# Another value at each call, and another one in each transaction. Those of users are looked up by the server.
_VOLATILE = re.compile(
    r"random(?:_normal)?|(?:next|set|curr|last)val|gen_random_(?:uuid|bytes)|uuidv[47]|uuid_generate_v(?:1|1mc|4)"
    r"|clock_timestamp|timeofday|txid_current|pg_current_xact_id"
)
_OF_TRANSACTION = re.compile(
    r"now|(?:statement|transaction)_timestamp|current_(?:timestamp|date|time)|localtime(?:stamp)?"
)
# Applied to their own result, these change nothing.
_IDEMPOTENT = re.compile(
    r"lower|upper|[bl]?trim|rtrim|initcap|coalesce|nullif|abs|round|trunc|floor|ceil(?:ing)?|date_trunc|left"
    r"|greatest|least"
)
_QUERY_WORDS = ("SELECT", "WITH", "VALUES", "TABLE")
_PUNCTUATION = frozenset("(),.:")
_TRIM_WORDS = frozenset({"BOTH", "LEADING", "TRAILING", "FROM"})
_TRUTH = ("TRUE", "FALSE")
_NUMBER = re.compile(r"[0-9]")
_GUARD = "add a condition that no longer holds afterwards, such as AND {column} IS NULL"


class _Assignment(NamedTuple):
    """A column that is assigned, and the words of its value."""

    column: Word
    value: tuple[Word, ...]


def range_problems(statement: BatchStatement, options: BatchOptions) -> Iterator[StatementProblem]:
    """Yield why the ranges together would not do what the statement does."""
    yield from _limited_reads(statement)
    if statement.verb != "UPDATE":
        return
    for assigned in _assignments(statement.clauses["SET"]):
        if assigned.column.text == options.column:
            message = f"it changes {options.key} itself, by which the rows are walked: a row could move on"
            yield StatementProblem(message, assigned.column.begin)


def repeat_problems(statement: BatchStatement) -> Iterator[StatementProblem]:
    """Yield why a range may not run twice."""
    yield from _volatile_conditions(statement)
    match statement.verb:
        case "UPDATE":
            yield from _update_problems(statement)
        case "DELETE":
            yield from _second_reads(statement, ())
        case _:
            if same_table(statement.target, statement.table):
                message = (
                    f"it fills {statement.target} with rows of the same table, so that a range may read those of the "
                    "ranges before it; read them from a copy of the table"
                )
                yield StatementProblem(message, statement.words[0].begin)
            yield from _insert_problems(statement)


def assigned_functions(statement: BatchStatement) -> Iterator[Word]:
    """Yield the names in the values that an UPDATE assigns, and that its condition does not protect."""
    if statement.verb == "UPDATE":
        assignments = _assignments(statement.clauses["SET"])
        guards = _guards(statement, assignments)
        for one in assignments:
            if not guards.covers(one):
                yield from one.value


def _volatile_conditions(statement: BatchStatement) -> Iterator[StatementProblem]:
    for words, place in ((statement.condition, "the condition"), (statement.clauses.get("FROM", ()), "FROM")):
        for word in _names(words):
            if _VOLATILE.fullmatch(word.text):
                message = f"{word.text}() in {place} selects other rows when a range runs again; take it out"
                yield StatementProblem(message, word.begin)
                return


def _update_problems(statement: BatchStatement) -> Iterator[StatementProblem]:
    assignments = _assignments(statement.clauses["SET"])
    guards = _guards(statement, assignments)
    columns = [one.column.text for one in assignments]
    for one in assignments:
        if guards.covers(one):
            continue
        remedy = _GUARD.format(column=one.column.text)
        name = next((word for word in _names(one.value) if _differs(word)), None)
        own = _own_mention(one.value, columns, statement.target_reference)
        if name:
            yield StatementProblem(
                f"{one.column.text} would get another value of {name.text} when a range runs again; {remedy}",
                name.begin,
            )
        elif [word.key for word in one.value] == ["DEFAULT"]:
            message = f"the default of {one.column.text} may have another value when a range runs again; {remedy}"
            yield StatementProblem(message, one.value[0].begin)
        elif own and not (own.text == one.column.text and _is_idempotent(one.value, own.text)):
            yield StatementProblem(
                f"{one.column.text} is computed from {own.text}, which the statement sets: a range that runs again "
                f"would change it again; {remedy}",
                own.begin,
            )
    yield from _second_reads(statement, columns)


def _insert_problems(statement: BatchStatement) -> Iterator[StatementProblem]:
    conflict = WordReader(statement.clauses.get("CONFLICT", ()))
    begin = statement.words[0].begin
    if not conflict.key:
        if not _passes_over_existing(statement):
            message = (
                f"a range that runs again inserts its rows into {statement.target} again; add ON CONFLICT (key) DO "
                f"NOTHING with a unique key of it, or WHERE NOT EXISTS (SELECT FROM {statement.target} …)"
            )
            yield StatementProblem(message, begin)
        return
    columns = [word.text for word in conflict.take_group() if word.is_name]
    conflict.take_until("DO")
    given = [item[0].text for item in split_at_commas(statement.clauses["INTO"])]
    items = split_at_commas(statement.clauses["SELECT"])
    changing = [
        (given[at] if at < len(given) else "", word)
        for at, item in enumerate(items)
        for word in _names(item)
        if _differs(word)
    ]
    if conflict.take("DO", "NOTHING"):
        for column, word in changing:
            if not columns or not given or column in columns:
                message = (
                    f"{word.text} is another value when a range runs again, so that no row is there already; "
                    "name a key that comes from the rows: ON CONFLICT (key) DO NOTHING"
                )
                yield StatementProblem(message, word.begin)
                return
        missing = [column for column in columns if given and column not in given]
        if missing:
            message = f"ON CONFLICT names {missing[0]}, which the SELECT does not give: no row would be there already"
            yield StatementProblem(message, begin)
        return
    if changing:
        word = changing[0][1]
        yield StatementProblem(f"DO UPDATE with another value of {word.text} when a range runs again", word.begin)
    conflict.take("DO", "UPDATE", "SET")
    assignments = _assignments(conflict.take_until("WHERE"))
    names = [one.column.text for one in assignments]
    for one in assignments:
        if own := _own_mention(one.value, names, statement.target_reference):
            message = (
                f"{one.column.text} is computed from {own.text} of the row that is there: a range that runs again "
                f"would change it again; assign excluded.{one.column.text}"
            )
            yield StatementProblem(message, own.begin)


def _passes_over_existing(statement: BatchStatement) -> bool:
    """Whether the condition has NOT EXISTS, or NOT IN, with a query of the table that is filled."""
    for conjunct in _conjuncts(statement.condition):
        keys = [word.key for word in conjunct]
        excludes = keys[:2] == ["NOT", "EXISTS"] or ("NOT", "IN") in pairwise(keys)
        if excludes and any(same_table(table, statement.target) for table, _ in _tables_read(conjunct)):
            return True
    return False


def _second_reads(statement: BatchStatement, columns: Sequence[str]) -> Iterator[StatementProblem]:
    """Yield a problem where a statement reads its own table a second time, of which other ranges have changed rows.

    For an UPDATE, of which these are the `columns`, only where what is read there may be one of them.
    """
    words = [word for clause in statement.clauses.values() for word in clause]
    tables = [
        found
        for name, clause in statement.clauses.items()
        for found in _tables_read(clause, is_from=name == "FROM")
        if same_table(found[0], statement.target)
    ]
    if not tables:
        return
    own = _folded(statement.target_reference)
    read = [word for word in _subquery_words(words) if word.is_name and word.text in columns]
    read += [
        word
        for at, word in enumerate(words)
        if word.is_name and word.text in columns and at > 1 and words[at - 1].key == "." and words[at - 2].text != own
    ]
    if read or not columns:
        table, word = tables[0]
        what = f"{read[0].text} of other rows of {table}" if read else f"other rows of {table}"
        yield StatementProblem(f"it reads {what}, which ranges before it have changed", word.begin)


def _limited_reads(statement: BatchStatement) -> Iterator[StatementProblem]:
    """Yield a problem for a subquery that selects some rows of the walked table: other ones in each range."""
    for group in _subqueries(statement.words):
        limit = next((word for word in group if word.key in ("LIMIT", "OFFSET", "FETCH")), None)
        if limit and any(same_table(table, statement.table) for table, _ in _tables_read(group)):
            message = f"{limit.key} in a query of {statement.table}: it would hold for each range; leave it out"
            yield StatementProblem(message, limit.begin)
            return


def _assignments(words: Sequence[Word]) -> list[_Assignment]:
    """The assignments of a SET clause; each column of a list has the value of the whole list."""
    assignments = []
    for item in split_at_commas(words):
        reader = WordReader(item)
        columns = reader.take_group() or ((reader.take_word(),) if reader.key else ())
        reader.take_until("=")
        reader.take("=")
        value = tuple(item[reader.index :])
        assignments += [_Assignment(column, value) for column in columns if column.is_name]
    return assignments


def _own_mention(value: Sequence[Word], columns: Sequence[str], reference: str) -> Word | None:
    """The first mention of one of the columns of the row itself, as it is before the statement."""
    inside = {word.begin for word in _subquery_words(value)}
    for at, word in enumerate(value):
        if not word.is_name or word.text not in columns:
            continue
        before, after = value[at - 1].key if at else "", value[at + 1].key if at + 1 < len(value) else ""
        if before == ".":
            if at > 1 and value[at - 2].text == _folded(reference):
                return word
        elif before not in (":", "AS") and after not in ("(", ".") and word.begin not in inside:
            return word
    return None


def _folded(reference: str) -> str:
    """A name as PostgreSQL reads it."""
    words = read_words(reference.encode())
    return words[0].text if words else ""


def _is_idempotent(value: Sequence[Word], column: str) -> bool:
    """Whether a value is one of the column, of literals, and of functions that change their own result no more."""
    if len(value) < 2 or value[1].key != "(" or not _IDEMPOTENT.fullmatch(value[0].text):  # noqa: PLR2004 - a name and its (
        return False
    depth = 0
    for at, word in enumerate(value):
        after = value[at + 1].key if at + 1 < len(value) else ""
        is_cast = at > 0 and value[at - 1].key == ":"
        allowed = (
            word.key in _PUNCTUATION
            or word.key in _TRIM_WORDS
            or _is_literal((word,))
            or (word.is_name and (after != "(" or _IDEMPOTENT.fullmatch(word.text) is not None))
        )
        is_other = word.is_name and not is_cast and after not in ("(", ".") and word.text != column
        if not allowed or (is_other and word.key not in _TRIM_WORDS and not _is_literal((word,))):
            return False
        depth += (word.key == "(") - (word.key == ")")
        if depth == 0 and at + 1 < len(value) and word.key == ")":
            return value[at + 1].key == ":"
    return True


class _Guards(NamedTuple):
    """The columns whose own assignment a condition protects, and whether it protects all of them."""

    columns: frozenset[str]
    everything: bool

    def covers(self, assignment: _Assignment) -> bool:
        return self.everything or assignment.column.text in self.columns


def _guards(statement: BatchStatement, assignments: Iterable[_Assignment]) -> _Guards:
    """What the condition no longer holds for once a row is changed."""
    columns, everything = set(), False
    conjuncts = [_without_reference(one, statement.target_reference) for one in _conjuncts(statement.condition)]
    for one in assignments:
        name, value = one.column.text, one.value
        for column, *test in conjuncts:
            negated = column.key == "NOT" and len(test) == 1
            if (test[0] if negated else column).text != name:
                continue
            keys = [word.key for word in test]
            if keys == ["IS", "NULL"] and [word.key for word in value] != ["NULL"]:
                columns.add(name)
                everything = everything or _is_never_null(value)
            elif negated or keys in (["IS", "FALSE"], ["IS", "NOT", "TRUE"]):
                everything = everything or [word.key for word in value] == ["TRUE"]
            elif keys in ([], ["IS", "TRUE"], ["IS", "NOT", "FALSE"]):
                everything = everything or [word.key for word in value] == ["FALSE"]
            elif keys[:1] == ["="] and _is_literal(test[1:]) and _is_literal(value):
                everything = everything or not _are_equal(test[1].text, value[0].text)
            elif keys[:-1] in (["<", ">"], ["!", "="], ["IS", "DISTINCT", "FROM"]) and _is_literal(value):
                everything = everything or (_is_literal(test[-1:]) and test[-1].text == value[0].text)
    return _Guards(frozenset(columns), everything)


def _conjuncts(condition: Sequence[Word]) -> list[tuple[Word, ...]]:
    """The parts of a condition that all hold; none where OR stands outside of parentheses."""
    reader, parts = WordReader(condition), []
    while reader.key:
        part = reader.take_until("AND", "OR")
        if reader.take_any("AND", "OR") == "OR":
            return []
        while len(part) > 1 and part[0].key == "(" and WordReader(part).take_group() == part[1:-1]:
            part = part[1:-1]
        if any(word.key == "OR" for word in part) or not part:
            continue
        parts.append(part)
    return parts


def _without_reference(words: tuple[Word, ...], reference: str) -> tuple[Word, ...]:
    """A condition of one column, without what qualifies it."""
    at = 1 if words[0].key == "NOT" else 0
    if [word.key for word in words[at + 1 : at + 2]] == ["."] and words[at].text == _folded(reference):
        return (*words[:at], *words[at + 2 :])
    return words


def _is_literal(words: Sequence[Word]) -> bool:
    return len(words) == 1 and (words[0].key in (STRING_KEY, *_TRUTH) or _NUMBER.match(words[0].key[:1]) is not None)


def _are_equal(one: str, other: str) -> bool:
    """Whether two literals may have the same value, as 1 and 1.0 have."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def _is_never_null(value: Sequence[Word]) -> bool:
    """Whether a value is a literal, or that of a function that never returns NULL."""
    if _is_literal(value) or (len(value) == 1 and _OF_TRANSACTION.fullmatch(value[0].text)):
        return True
    keys = [word.key for word in value]
    return keys[1:] == ["(", ")"] and _differs(value[0])


def _differs(word: Word) -> bool:
    """Whether a name is of a function that has another value in another transaction."""
    return (_VOLATILE.fullmatch(word.text) or _OF_TRANSACTION.fullmatch(word.text)) is not None


def _names(words: Iterable[Word]) -> Iterator[Word]:
    return (word for word in words if word.is_name and word.key != QUOTED_KEY)


def _subqueries(words: Sequence[Word]) -> Iterator[tuple[Word, ...]]:
    """Yield the words of each query in parentheses, those inside of others too."""
    for at, word in enumerate(words[:-1]):
        if word.key == "(" and words[at + 1].key in _QUERY_WORDS:
            yield WordReader(words[at:]).take_group()


def _subquery_words(words: Sequence[Word]) -> Iterator[Word]:
    for group in _subqueries(words):
        yield from group


def _tables_read(words: Sequence[Word], *, is_from: bool = False) -> Iterator[tuple[str, Word]]:
    """Yield the name of each table that is read, and its word: all of the list that a FROM clause is, or in queries."""
    inside = {word.begin for word in _subquery_words(words)}
    for at, word in enumerate(words):
        before = words[at - 1].key if at else "FROM" if is_from else ""
        if before == "ONLY" and at > 1:
            before = words[at - 2].key
        listed = before == "," and (is_from or word.begin in inside)
        if word.is_name and (listed or before in ("FROM", "JOIN", "USING")):
            yield WordReader(words[at:]).take_identifier(), word
