"""The mode in which a file runs, from the transaction control in it, and the statements that cannot run in that mode.

The rules are in docs/production.md, "Transactions written in the file".
"""

from __future__ import annotations

import itertools
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from kernel.sql.classify import StatementEffect
from kernel.sql.passwords import mask_passwords
from kernel.sql.tokens import first_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.sql.plpgsql import TransactionEnd


_TRANSACTION_CONTROL = (
    StatementEffect.BEGIN,
    StatementEffect.COMMIT,
    StatementEffect.ROLLBACK,
    StatementEffect.TWO_PHASE,
)
_NO_TRANSACTION_REMEDY = "begin the file with -- migrate: no-transaction"
_CAUGHT = "in a block with EXCEPTION, where the server allows none; move it out of that block"
_STATEMENT_CHARACTERS = 70
_LISTED_LINES = 8

CONCURRENTLY_RULE, TRANSACTION_RULE = "concurrently-in-transaction", "transaction-in-file"


class RunMode(Enum):
    """The mode in which a file runs."""

    TRANSACTION = "in one transaction"
    SINGLE_STATEMENT = "its one statement outside a transaction"
    NO_TRANSACTION = "statement by statement, outside a transaction"
    BATCHES = "in batches, each in a transaction"


class SpecialStatement(NamedTuple):
    """A statement whose effect is not PLAIN; `position` counts statements from 0. That of LARGE_OBJECT has no SQL."""

    effect: StatementEffect
    position: int
    line: int
    sql: bytes


class Refusal(NamedTuple):
    """Statements of one kind that cannot run: a message, the line of the first, and the rule of the linter it is.

    `begin` is the byte offset of the place in the statement, for one inside a DO block.
    """

    message: str
    line: int
    rule: str
    positions: tuple[int, ...]
    begin: int = 0


class FileMode(NamedTuple):
    """How a file runs. `begin_sql` is the BEGIN of a transaction around the whole file, None without.

    `not_sent` counts the statements that the runner's own transaction replaces.
    """

    mode: RunMode
    begin_sql: bytes | None = None
    not_sent: int = 0
    refusals: tuple[Refusal, ...] = ()


def choose_mode(specials: Sequence[SpecialStatement], statement_count: int, *, no_transaction: bool) -> FileMode:
    """Return the mode of a file, from its special statements and whether it has the directive no-transaction."""
    if no_transaction:
        return FileMode(RunMode.NO_TRANSACTION, refusals=tuple(_refuse_in_steps(specials)))
    if not specials:
        return FileMode(RunMode.TRANSACTION)
    all_control = [one for one in specials if one.effect in _TRANSACTION_CONTROL]
    loading = _large_object_transactions(all_control, specials)
    control = [one for one in all_control if one.position not in loading]
    outside = [one for one in specials if one.effect is StatementEffect.OUTSIDE]
    if outside and statement_count == 1:
        return FileMode(RunMode.SINGLE_STATEMENT)
    refusals = _refuse_together(
        outside,
        "cannot run inside a transaction",
        f"; {_NO_TRANSACTION_REMEDY}, or give it a file of its own",
        CONCURRENTLY_RULE,
    )
    refusals += _refuse_commits_in_transaction(specials)
    if _is_surrounded_by_transaction(control, specials, statement_count):
        begin = control[0].sql.rstrip(b"; \t\r\n")
        not_sent = len(all_control)
        return FileMode(RunMode.TRANSACTION, begin_sql=begin, not_sent=not_sent, refusals=tuple(refusals))
    for effect in _TRANSACTION_CONTROL:
        refusals += _refuse_together(
            [one for one in control if one.effect is effect],
            effect.value,
            f", but the file runs in one of ours; take it out, or {_NO_TRANSACTION_REMEDY}",
            TRANSACTION_RULE,
        )
    return FileMode(RunMode.TRANSACTION, not_sent=len(loading), refusals=tuple(refusals))


def _is_surrounded_by_transaction(
    control: Sequence[SpecialStatement], specials: Sequence[SpecialStatement], statement_count: int
) -> bool:
    """Whether transaction control is one BEGIN … COMMIT around all statements except SETs before it."""
    if [one.effect for one in control] != [StatementEffect.BEGIN, StatementEffect.COMMIT]:
        return False
    begin, commit = control
    ahead = [
        one
        for one in specials
        if one.position < begin.position and one.effect in (StatementEffect.SETTING, StatementEffect.LEXICAL)
    ]
    return len(ahead) == begin.position and commit.position == statement_count - 1 and not _is_chained(commit)


def _large_object_transactions(control: Sequence[SpecialStatement], specials: Sequence[SpecialStatement]) -> set[int]:
    """The positions of BEGIN and COMMIT where a dump loads large objects between them: the runner's will do."""
    loads = [one.position for one in specials if one.effect is StatementEffect.LARGE_OBJECT]
    return {
        one.position
        for begin, commit in itertools.pairwise(control)
        if (begin.effect, commit.effect) == (StatementEffect.BEGIN, StatementEffect.COMMIT)
        and not _is_chained(commit)
        and sum(begin.position < at < commit.position for at in loads) == commit.position - begin.position - 1 > 0
        for one in (begin, commit)
    }


def _refuse_commits_in_transaction(specials: Iterable[SpecialStatement]) -> list[Refusal]:
    """Refuse DO blocks that end the transaction that they run in: the server would fail with 2D000."""
    refusals = []
    for one in specials:
        for end in _ends_in_do_block(one):
            reason = f"in a DO block, but the file runs in one transaction; {_NO_TRANSACTION_REMEDY}"
            refusals.append(_refuse_end(one, end, _CAUGHT if end.caught else reason))
    return refusals


def _refuse_end(one: SpecialStatement, end: TransactionEnd, reason: str) -> Refusal:
    line = one.line + one.sql.count(b"\n", 0, end.begin)
    return Refusal(f"{end.word} {reason}", line, TRANSACTION_RULE, (one.position,), end.begin)


def _ends_in_do_block(one: SpecialStatement) -> Iterator[TransactionEnd]:
    """Yield each COMMIT and ROLLBACK in a DO block."""
    if one.effect is not StatementEffect.PROCEDURE:
        return
    from kernel.sql.plpgsql import do_block_body, transaction_ends  # noqa: PLC0415 - for few files
    from kernel.sql.reader import read_words  # noqa: PLC0415 - likewise

    if body := do_block_body(read_words(one.sql)):
        yield from transaction_ends(body)


def _refuse_in_steps(specials: Iterable[SpecialStatement]) -> Iterator[Refusal]:
    """Refuse transactions of a no-transaction file that are not ended, chained or prepared, and what none can hold."""
    opened: SpecialStatement | None = None
    for one in specials:
        yield from _refuse_where_opened(one, opened)
        if one.effect is StatementEffect.BEGIN:
            opened = opened or one
        elif one.effect in (StatementEffect.COMMIT, StatementEffect.ROLLBACK):
            opened = None
            if _is_chained(one):  # a later run could not continue after it: there is no BEGIN to send again
                yield _refusal(one, "begins another transaction; write a BEGIN for that one")
        elif one.effect is StatementEffect.TWO_PHASE:
            opened = None
            yield _refusal(one, f"{one.effect.value}, which a migration cannot do")
    if opened:
        yield _refusal(opened, "begins a transaction that the file does not end; add COMMIT")


def _refuse_where_opened(one: SpecialStatement, opened: SpecialStatement | None) -> Iterator[Refusal]:
    """Refuse what cannot run in the transaction that `opened` begins, or, as COMMIT under EXCEPTION, in none."""
    if one.effect is StatementEffect.OUTSIDE and opened:
        yield _refusal(one, f"cannot run in the transaction that begins in line {opened.line}; put it after its COMMIT")
    for end in _ends_in_do_block(one):
        if end.caught:
            yield _refuse_end(one, end, _CAUGHT)
        elif opened:
            remedy = "take that BEGIN and its COMMIT out"
            yield _refuse_end(one, end, f"in a DO block, but line {opened.line} begins a transaction; {remedy}")


def _refusal(one: SpecialStatement, message: str) -> Refusal:
    return Refusal(f"{_statement_head(one)} {message}", one.line, TRANSACTION_RULE, (one.position,))


def _refuse_together(statements: Sequence[SpecialStatement], reason: str, remedy: str, rule: str) -> list[Refusal]:
    """Refuse statements of one kind in one message, which quotes the first; [] for none."""
    if not statements:
        return []
    first, *more = statements
    also = also_on_lines([one.line for one in more])
    message = f"{_statement_head(first)} {reason}{also}{remedy}"
    return [Refusal(message, first.line, rule, tuple(one.position for one in statements))]


def also_on_lines(lines: Sequence[int]) -> str:
    """Say that the same holds on other lines; "" for none."""
    if not lines:
        return ""
    shown = ", ".join(str(line) for line in lines[:_LISTED_LINES])
    more = " …" if len(lines) > _LISTED_LINES else ""
    return f" (and {len(lines)} more, line{'s' if len(lines) > 1 else ''} {shown}{more})"


def _is_chained(one: SpecialStatement) -> bool:
    """Whether a COMMIT or ROLLBACK begins another transaction at once."""
    return ("AND", "CHAIN") in itertools.pairwise(first_tokens(one.sql))


def _statement_head(one: SpecialStatement) -> str:
    """Return a statement on one line for a message, cut between two words if it is long."""
    text = " ".join(mask_passwords(one.sql.decode(errors="replace")).rstrip("; \t\r\n").split())
    if len(text) <= _STATEMENT_CHARACTERS:
        return text
    return text[: text.rfind(" ", 0, _STATEMENT_CHARACTERS) + 1 or _STATEMENT_CHARACTERS].rstrip() + " …"
