"""What suggested files are put together from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.rehearsal.suggest.suggested import Leftover


class How(Enum):
    """How a piece has to run: with its neighbours, in a transaction of its own, or outside of any."""

    WITH = "with others"
    APART = "a transaction of its own"
    OUTSIDE = "outside of a transaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One or several statements, with their semicolons.

    `label` becomes a part of the name of the file, `says` a comment above the statements. What `begins` a file does not
    run with what stands ahead of it.
    """

    sql: str
    how: How = How.WITH
    begins: bool = False
    label: str = ""
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The pieces that a statement becomes, and what they leave behind (see Suggested)."""

    pieces: tuple[Piece, ...]
    leaves: tuple[Leftover, ...] = ()
    fresh: tuple[tuple[str, str], ...] = ()


class Unsure(Exception):
    """A signal: nothing is suggested, for this reason, a sentence without its full stop."""


def comment(text: str) -> str:
    """Text for a comment: one line, whatever names it holds. What does not print could end the comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
