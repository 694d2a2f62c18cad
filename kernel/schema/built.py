"""The schema that files make, with the files that each object comes from; and what a build depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.config.ledger_name import DEFAULT_LEDGER, LedgerName
from kernel.postgres.initdb import SUPERUSER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel.errors import Problem
    from kernel.schema.snapshot import Fact, Schema


# What these are set to decides what a constant in a file means: '2020-01-01' as a timestamptz, '01/02/2026' as a date,
# '-1 2:00:00' as an interval. The server stores the value. The values are those of a build for no database.
LITERAL_SETTINGS = (("TimeZone", "UTC"), ("DateStyle", "ISO, MDY"), ("IntervalStyle", "postgres"))


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTarget:
    """What the files may depend on: the names of the database and of the role that runs them, its search path.

    `literal_settings` are the names and values of LITERAL_SETTINGS that a session of the database begins with.
    `major` is the version of PostgreSQL to build with, None for the newest.
    """

    database: str = SUPERUSER
    role: str = SUPERUSER
    search_path: tuple[str, ...] = ("public",)
    literal_settings: tuple[tuple[str, str], ...] = LITERAL_SETTINGS
    ledger: LedgerName = DEFAULT_LEDGER
    major: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltSchema:
    """The schema that files make. `version` is that of the server, such as 170010.

    `files` are the names of the files that made and changed each object, by its key. `restored` are the facts that have
    another text after a dump and a restore. `left_out` says why a file did not run.
    """

    version: int
    schema: Schema = field(repr=False)
    files: Mapping[str, tuple[str, ...]] = field(repr=False)
    restored: Mapping[str, Mapping[str, Fact]] = field(repr=False)
    left_out: tuple[Problem, ...] = ()
