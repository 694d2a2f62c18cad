"""The ids that links on the page lead to: made of places, never of names, which are hostile and not unique."""

from __future__ import annotations


def migration(at: int) -> str:
    """A migration, by its place in the order of the rehearsal."""
    return f"m{at + 1}"


def statement(at: int, number: int) -> str:
    """A statement of it, by its number from 1."""
    return f"m{at + 1}-s{number}"


def lane(at: int, number: int) -> str:
    """A lane of its timeline."""
    return f"m{at + 1}-l{number}"


def finding(at: int) -> str:
    """A finding, by its place among all of them."""
    return f"f{at + 1}"


def side(at: int, which: str) -> str:
    """A timeline of a suggestion, which has one before and one after."""
    return f"s{at + 1}-{which}"
