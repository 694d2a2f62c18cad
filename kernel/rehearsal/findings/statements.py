"""What a statement that was run does by its text: the acts that the linter's rules are about, its first word."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from kernel.lint.actions import read_actions, read_inner_statements
from kernel.sql.reader import read_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.lint.action import Action
    from kernel.rehearsal.result import Run, TracedStatement
    from kernel.sql.reader import Word


# Names of relations, as files write them and as the server tells them: with a schema or without, quoted or not.


_NAME_PART = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


def unqualified_name(name: str) -> str:
    """The name without schema and quotes."""
    return (_name_parts(name) or (name,))[-1]


def is_same_relation(one: str, other: str) -> bool:
    """Whether both may mean the same relation: one that has no schema may be in any; "" is none."""
    if not one or not other:
        return False
    ours, theirs = _name_parts(one), _name_parts(other)
    shorter = min(len(ours), len(theirs))
    # The linter tells names without quotes, so that a dot in one divides nothing.
    return ours[-shorter:] == theirs[-shorter:] or one in (other, theirs[-1]) or other == ours[-1]


def schema_name(name: str) -> str:
    """The schema of a qualified name, "" of another."""
    parts = _name_parts(name)
    return parts[-2] if len(parts) > 1 else ""


def _name_parts(name: str) -> tuple[str, ...]:
    return tuple(plain or quoted.replace('""', '"') for quoted, plain in _NAME_PART.findall(name)) or (name,)


# Code that the server runs: what it does is told nowhere in the statement.
_CODE_COMMANDS = frozenset({"DO", "CALL", "SELECT", "EXECUTE"})


def statement_actions(statement: TracedStatement) -> tuple[Action, ...]:
    """What the statement does, and what the DO block does that it is."""
    return _parse_actions(statement.sql)


def statement_verbs(statement: TracedStatement) -> frozenset[str]:
    """The verbs of its acts."""
    return frozenset(act.verb for act in statement_actions(statement))


def names_in_statement(statement: TracedStatement) -> frozenset[str]:
    """Every word of it, names among them as PostgreSQL reads them, and what a DO block names."""
    inner = {
        unqualified_name(name) for act in statement_actions(statement) for name in (act.relation, act.other) if name
    }
    return frozenset(word.text for word in _statement_words(statement.sql)) | inner


def first_words(statement: TracedStatement) -> tuple[str, ...]:
    """Its first two words in upper case."""
    return tuple(word.key for word in _statement_words(statement.sql)[:2])


def runs_opaque_code(statement: TracedStatement) -> bool:
    """Whether it runs code that may do anything, whatever the statement says."""
    return bool(_CODE_COMMANDS.intersection(first_words(statement)[:1]))


def is_concurrent(statement: TracedStatement) -> bool:
    """Whether it does its work without keeping anybody waiting, but for a moment."""
    return any("concurrently" in act.traits for act in statement_actions(statement))


def statement_at_line(run: Run, line: int | None) -> TracedStatement | None:
    """The statement of a run that a line of its file belongs to, the last of them; None where none of it was run."""
    return next(iter(reversed(statements_at_line(run, line))), None)


def statements_at_line(run: Run, line: int | None) -> tuple[TracedStatement, ...]:
    """The statements that a line belongs to: several may stand on one line, which does not tell them apart."""
    begun = [one for one in run.statements if line is not None and one.line <= line]
    nearest = max((one.line for one in begun), default=None)
    return tuple(one for one in begun if one.line == nearest)


def failed_at_statement(run: Run, statement: TracedStatement) -> bool:
    """Whether the migration failed at this statement: what was seen of it is not all that there is to see."""
    return run.failed is not None and statement is run.statements[-1]


@lru_cache(maxsize=256)
def _statement_words(sql: str) -> tuple[Word, ...]:
    return read_words(sql.encode())


@lru_cache(maxsize=256)
def _parse_actions(sql: str) -> tuple[Action, ...]:
    return tuple(_with_do_blocks(_statement_words(sql)))


def _with_do_blocks(words: tuple[Word, ...]) -> Iterator[Action]:
    for act in read_actions(words):
        yield act
        for block in act.words if act.verb == "do" else ():
            for inner in read_inner_statements(block):
                yield from _with_do_blocks(tuple(inner.words))
