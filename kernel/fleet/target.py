"""Values of an inventory: targets, where they come from, and the waves in which they are migrated."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ASK = -1.0  # of Wave.hold_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """How the URL of a database is found, where the work is done; never the URL of a password.

    One of: a `variable` of the environment, a `command` whose output it is, or a `url` without a secret.
    """

    variable: str = ""
    command: tuple[str, ...] = ()
    url: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"${self.variable}" if self.variable else f"command {self.command[0]}" if self.command else self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A database, or with `schema` a schema of one; `database` replaces the one of the address.

    `server` names the server for the limit of connections, "" for the one that the address leads to.
    `search_path` are the schemas after the target's own.
    """

    name: str
    address: Address
    server: str = ""
    database: str = ""
    schema: str = ""
    search_path: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> tuple[str, ...]:
        """The schemas of the search path of a schema."""
        return (self.schema, *self.search_path)

    def matches(self, conditions: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether each label has one of its patterns; the name, the server and the like count as labels."""
        values = {"name": self.name, "server": self.server, "database": self.database, "schema": self.schema}
        values |= self.labels
        return all(
            any(fnmatchcase(values.get(label, ""), pattern) for pattern in patterns)
            for label, patterns in conditions.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An entry [[targets]]: a target by hand, or what a `query` of the control database or `schemas` find.

    `target` has what all of them share; its name is that of the target by hand, or the group of schemas, with which
    their names begin. `line` is its place.
    """

    target: Target
    query: str = ""
    schemas: str = ""
    line: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLimit:
    """How many targets of a wave may fail: a number, or a percentage of them."""

    number: float = 0
    percent: bool = False

    def allowed(self, targets: int) -> int:
        return int(targets * self.number / 100) if self.percent else int(self.number)

    def __str__(self) -> str:
        return f"{self.number:g} %" if self.percent else f"{self.number:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Targets that are migrated together, `at_a_time` of them, `per_server` on one server.

    `match` are patterns by label; without any, all targets that no earlier wave has. After the wave the next one waits
    `hold_seconds`, or for the user (ASK). `order` is "", "name", "random" or a label, with "-" in descending order.
    """

    name: str = "all"
    match: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    max_failures: FailureLimit = field(default_factory=FailureLimit)
    hold_seconds: float = 0
    order: str = ""
    at_a_time: int = 16
    per_server: int = 4
    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The file fleet.toml. `control` is the address of the control database, if any."""

    filename: str
    sources: tuple[Source, ...]
    waves: tuple[Wave, ...]
    control: Address | None = None
