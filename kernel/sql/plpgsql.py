"""DO blocks and PL/pgSQL as far as their text shows what runs: the body, COMMIT in it, and the strings of EXECUTE.

Source: PostgreSQL documentation, "DO", "PL/pgSQL: Executing Dynamic Commands" and "Transaction Management".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from kernel.sql.reader import STRING_KEY, WordReader, read_words, split_at_commas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.sql.reader import Word


# A name that is known only when the body runs.
UNKNOWN_NAME = "unknown__name"
# The words after which a statement begins; ">" ends a label.
STATEMENT_STARTS_AFTER = frozenset({";", "BEGIN", "THEN", "ELSE", "LOOP", ">"})
_PLACEHOLDER = re.compile(r"%(?:(?P<position>[0-9]+)\$)?[-0-9]*[IsL]")
_BLOCK_ENDS = frozenset({"IF", "LOOP", "CASE"})


class TransactionEnd(NamedTuple):
    """A COMMIT or ROLLBACK of a body at a byte offset; `caught` in a block with EXCEPTION, where it always fails."""

    word: str
    begin: int
    caught: bool


def do_block_body(words: Sequence[Word]) -> Word | None:
    """Return the string with the body of a DO statement in PL/pgSQL; None for another statement or language."""
    if not words or words[0].key != "DO":
        return None
    body: Word | None = None
    reader = WordReader(words[1:])
    while reader.key and reader.key != ";":
        if reader.take("LANGUAGE"):
            if reader.take_word().text.lower() != "plpgsql":
                return None
        elif (word := reader.take_word()).key == STRING_KEY:
            body = word
    return body


def read_body(body: Word) -> tuple[Word, ...]:
    """Return the words of a body, with their offsets in the statement that the body is a string of."""
    return read_words(body.text.encode(), body.inner)


def transaction_ends(body: Word) -> Iterator[TransactionEnd]:
    """Yield the COMMIT and ROLLBACK statements of a body of PL/pgSQL, blocks in it included."""
    open_blocks: list[list[TransactionEnd]] = [[]]  # the unfinished blocks, from the outermost, with what is in each
    words = read_body(body)
    previous = ";"
    for index, word in enumerate(words):
        following = words[index + 1].key if index + 1 < len(words) else ""
        if previous in STATEMENT_STARTS_AFTER:
            if word.key in ("COMMIT", "ROLLBACK") and following in (";", "AND"):
                open_blocks[-1].append(TransactionEnd(word.key, word.begin, caught=False))
            elif word.key == "EXCEPTION":
                open_blocks[-1] = [end._replace(caught=True) for end in open_blocks[-1]]
            elif word.key == "END" and following not in _BLOCK_ENDS and len(open_blocks) > 1:
                finished = open_blocks.pop()
                open_blocks[-1] += finished
        if word.key == "BEGIN":
            open_blocks.append([])
        previous = word.key
    for block in open_blocks:
        yield from block


def executed_text(expression: Sequence[Word]) -> str | None:
    """Return the text that EXECUTE runs, with UNKNOWN_NAME for each part that is not a string; None if no part is."""
    reader = WordReader(expression)
    reader.take("(")
    if reader.take("FORMAT", "("):
        text, *arguments = split_at_commas(reader.take_until(")")) or [()]
        if not text or text[0].key != STRING_KEY:
            return None
        return _format_text(text[0].text, arguments)
    pieces = [
        word.text if word.key == STRING_KEY else UNKNOWN_NAME
        for word in reader.take_until("USING", "INTO")
        if word.key == STRING_KEY or (word.is_name and word.key not in ("QUOTE_IDENT", "QUOTE_LITERAL", "FORMAT"))
    ]
    return "".join(pieces) if any(piece != UNKNOWN_NAME for piece in pieces) else None


def _format_text(text: str, arguments: Sequence[Sequence[Word]]) -> str:
    """Return what format() makes of a text, with UNKNOWN_NAME for each argument that is not a string."""
    values = [one[0].text if len(one) == 1 and one[0].key == STRING_KEY else UNKNOWN_NAME for one in arguments]
    position = 0

    def replace(placeholder: re.Match[str]) -> str:
        nonlocal position
        position = int(placeholder["position"] or position + 1)
        return values[position - 1] if 0 < position <= len(values) else UNKNOWN_NAME

    return _PLACEHOLDER.sub(replace, text)
