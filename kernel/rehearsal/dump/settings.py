"""The session settings of a dump, as they hold for the statements behind them on whichever connection those run."""

from __future__ import annotations

import re

_VALUE = re.compile(rb"(?:=|\bTO\b|,)\s*'?(?P<value>[^';,()]*)", re.DOTALL)


class Settings:
    """The SET statements in force, the last one of each name; `all` that were in force together at some time."""

    def __init__(self) -> None:
        self._statements: dict[bytes, bytes] = {}
        self._places: dict[tuple[bytes, ...], int] = {(): 0}
        self._seen: dict[bytes, dict[bytes, None]] = {}
        self.current = 0

    @property
    def all(self) -> tuple[tuple[bytes, ...], ...]:
        """Every state, each the statements that bring it about, in order; `current` is a place in it."""
        return tuple(self._places)

    def set(self, name: bytes, statement: bytes) -> None:
        """Take in a statement that sets or resets `name`."""
        self._statements.pop(name, None)  # the order counts: what a setting may be can depend on another
        self._statements[name] = statement
        self._seen.setdefault(name, {}).setdefault(statement)
        self.current = self._places.setdefault(tuple(self._statements.values()), len(self._places))

    def values(self, name: bytes) -> tuple[str, ...]:
        """The values that `name` was set to with SET, in the order in which they first came."""
        found = (_VALUE.search(statement) for statement in self._seen.get(name, ()))
        return tuple(match["value"].strip().strip(b'"').decode(errors="replace") for match in found if match)
