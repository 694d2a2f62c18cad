"""How a statement is told, and which of them there is nothing to see of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.sql import effect, secret, tokens
from kernel.sql.effect import Effect

if TYPE_CHECKING:
    from kernel.apply.batch import Batch

_CHARACTERS = 4000  # a statement is told in full, unless it is one long INSERT
_SILENT = frozenset({Effect.BEGIN, Effect.COMMIT, Effect.ROLLBACK, Effect.SETTING, Effect.LEXICAL})
_OPAQUE = frozenset({"DO", "CALL", "SELECT", "WITH", "EXECUTE"})


def text(batch: Batch) -> str:
    """The statement, passwords masked; of several INSERTs the first, and how many more there are."""
    first = secret.masked(batch.statements[0].sql[: 4 * _CHARACTERS].decode(errors="replace"))
    if len(first) > _CHARACTERS:
        first = first[:_CHARACTERS] + "…"
    more = len(batch.statements) - 1
    return f"{first}\n-- and {more} more INSERT{'s' if more > 1 else ''}" if more else first


def silent(batch: Batch) -> bool:
    """Whether it begins or ends a transaction, or sets something: nothing to see, and SET TRANSACTION comes first.

    A question of ours between BEGIN and SET TRANSACTION would make that too late.
    """
    sql = batch.statements[0].sql
    words = tokens.words(sql, limit=2)
    return effect.of(sql) in _SILENT or (words[:1] in (("SET",), ("RESET",)) and words[1:] != ("CONSTRAINTS",))


def undoes(batch: Batch) -> bool:
    """Whether it rolls back to a savepoint, or the whole transaction."""
    return tokens.words(batch.statements[0].sql, limit=1) in (("ROLLBACK",), ("ABORT",))


def opaque(batch: Batch) -> bool:
    """Whether it may do anything at all, and undo it, before it ends: code that the server runs."""
    return bool(_OPAQUE.intersection(tokens.words(batch.statements[0].sql, limit=1)))
