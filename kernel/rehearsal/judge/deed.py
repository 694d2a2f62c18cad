"""What a statement that was run does by its text: the acts that the linter's rules are about, its first word."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from kernel.rehearsal.judge.names import bare
from kernel.rehearsal.static import body, words
from kernel.rehearsal.static import statement as statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.result import Run, Statement
    from kernel.rehearsal.static.act import Act
    from kernel.rehearsal.static.words import Word

# Code that the server runs: what it does is told nowhere in the statement.
_OUT_OF_SIGHT = frozenset({"DO", "CALL", "SELECT", "EXECUTE"})


def acts(statement: Statement) -> tuple[Act, ...]:
    """What the statement does, and what the DO block does that it is."""
    return _acts(statement.sql)


def verbs(statement: Statement) -> frozenset[str]:
    """The verbs of its acts."""
    return frozenset(act.verb for act in acts(statement))


def names(statement: Statement) -> frozenset[str]:
    """Every word of it, names among them as PostgreSQL reads them, and what a DO block names."""
    inner = {bare(name) for act in acts(statement) for name in (act.relation, act.other) if name}
    return frozenset(word.text for word in _words(statement.sql)) | inner


def begins(statement: Statement) -> tuple[str, ...]:
    """Its first two words in upper case."""
    return tuple(word.key for word in _words(statement.sql)[:2])


def out_of_sight(statement: Statement) -> bool:
    """Whether it runs code that may do anything, whatever the statement says."""
    return bool(_OUT_OF_SIGHT.intersection(begins(statement)[:1]))


def concurrently(statement: Statement) -> bool:
    """Whether it does its work without keeping anybody waiting, but for a moment."""
    return any("concurrently" in act.traits for act in acts(statement))


def at(run: Run, line: int | None) -> Statement | None:
    """The statement of a run that a line of its file belongs to, the last of them; None where none of it was run."""
    return next(iter(reversed(all_at(run, line))), None)


def all_at(run: Run, line: int | None) -> tuple[Statement, ...]:
    """The statements that a line belongs to: several may stand on one line, which does not tell them apart."""
    begun = [one for one in run.statements if line is not None and one.line <= line]
    nearest = max((one.line for one in begun), default=None)
    return tuple(one for one in begun if one.line == nearest)


def unfinished(run: Run, statement: Statement) -> bool:
    """Whether the migration failed at this statement: what was seen of it is not all that there is to see."""
    return run.failed is not None and statement is run.statements[-1]


@lru_cache(maxsize=256)
def _words(sql: str) -> tuple[Word, ...]:
    return words.of(sql.encode())


@lru_cache(maxsize=256)
def _acts(sql: str) -> tuple[Act, ...]:
    return tuple(_all(_words(sql)))


def _all(its_words: tuple[Word, ...]) -> Iterator[Act]:
    for act in statements.acts(its_words):
        yield act
        for block in act.words if act.verb == "do" else ():
            for inner in body.inner(block):
                yield from _all(tuple(inner.words))
