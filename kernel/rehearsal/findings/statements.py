"""What the text of a traced statement says: the actions that the linter's rules are about, names, the first words."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from kernel.lint.actions import read_actions, read_inner_statements
from kernel.sql.reader import read_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.lint.action import Action
    from kernel.rehearsal.result import Run, TracedStatement
    from kernel.sql.reader import Word


# Names of relations come from files and from the server: with a schema or without, quoted or not.
_NAME_PART = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


def unqualified_name(name: str) -> str:
    """The name without schema and quotes."""
    return (_name_parts(name) or (name,))[-1]


def is_same_relation(one: str, other: str) -> bool:
    """Whether both may mean the same relation: one that has no schema may be in any; "" is none."""
    if not one or not other:
        return False
    parts, other_parts = _name_parts(one), _name_parts(other)
    shorter = min(len(parts), len(other_parts))
    # The linter's names have no quotes: a dot may be part of a name.
    return parts[-shorter:] == other_parts[-shorter:] or one in (other, other_parts[-1]) or other == parts[-1]


def schema_name(name: str) -> str:
    """The schema of a qualified name, else ""."""
    parts = _name_parts(name)
    return parts[-2] if len(parts) > 1 else ""


def _name_parts(name: str) -> tuple[str, ...]:
    return tuple(plain or quoted.replace('""', '"') for quoted, plain in _NAME_PART.findall(name)) or (name,)


# Code that the server runs: the statement does not say what it does.
_CODE_COMMANDS = frozenset({"DO", "CALL", "SELECT", "EXECUTE"})


def statement_actions(statement: TracedStatement) -> tuple[Action, ...]:
    """The statement's actions, with those inside a DO block."""
    return _parse_actions(statement.sql)


def statement_verbs(statement: TracedStatement) -> frozenset[str]:
    """The verbs of its actions."""
    return frozenset(action.verb for action in statement_actions(statement))


def names_in_statement(statement: TracedStatement) -> frozenset[str]:
    """All its words, names as the catalog has them, and the names inside a DO block."""
    inner = {
        unqualified_name(name)
        for action in statement_actions(statement)
        for name in (action.relation, action.other)
        if name
    }
    return frozenset(word.text for word in _statement_words(statement.sql)) | inner


def first_words(statement: TracedStatement) -> tuple[str, ...]:
    """Its first two words in upper case."""
    return tuple(word.key for word in _statement_words(statement.sql)[:2])


def runs_opaque_code(statement: TracedStatement) -> bool:
    """Whether it runs code that may do anything, whatever the statement says."""
    return bool(_CODE_COMMANDS.intersection(first_words(statement)[:1]))


def is_concurrent(statement: TracedStatement) -> bool:
    """Whether it is a CONCURRENTLY command, which blocks other sessions for moments only."""
    return any("concurrently" in action.traits for action in statement_actions(statement))


def last_statement_naming(name: str, runs: Sequence[Run]) -> tuple[Run | None, TracedStatement | None]:
    """The last statement that names an object; else the only migration that ran."""
    for run in reversed(runs):
        for statement in reversed(run.statements):
            if name in names_in_statement(statement):
                return run, statement
    return (runs[0] if len(runs) == 1 else None), None


def failed_at_statement(run: Run, statement: TracedStatement) -> bool:
    """Whether the migration failed at this statement, so that its trace is incomplete."""
    return run.failed is not None and statement is run.statements[-1]


@lru_cache(maxsize=256)
def _statement_words(sql: str) -> tuple[Word, ...]:
    return read_words(sql.encode())


@lru_cache(maxsize=256)
def _parse_actions(sql: str) -> tuple[Action, ...]:
    return tuple(_with_do_blocks(_statement_words(sql)))


def _with_do_blocks(words: tuple[Word, ...]) -> Iterator[Action]:
    for action in read_actions(words):
        yield action
        for block in action.words if action.verb == "do" else ():
            for inner in read_inner_statements(block):
                yield from _with_do_blocks(tuple(inner.words))
