"""The versions that a squash file replaces, as directives in the comments at its beginning.

    -- migrate: replaces=001:<checksum>
    -- migrate: replaces=002:<checksum>
    -- migrate: replaced-earlier=001:<checksum>

A database that has recorded every version of `replaces` has what the file makes. Of a version with several checksums
one is enough. The versions of `replaced-earlier` are those that a squash file among the replaced ones had replaced:
they may be recorded, and need not be.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


REPLACED_FOLDER = "replaced"  # in the directory of migrations: a folder for the files that each squash file replaces
REPLACES, REPLACED_EARLIER = "replaces", "replaced-earlier"
_VALUE = re.compile(r"(?P<version>[0-9]{3,}):(?P<checksum>[0-9a-f]{64})")
_LINE = re.compile(
    rb"^--[ \t]*migrate:[ \t]*(?P<name>replaces|replaced-earlier)=(?P<value>[0-9]{3,}:[0-9a-f]{64})[ \t\r]*$"
)
REPLACED_MARK = b"-- migrate: replace"  # in the first kilobytes of a squash file, and of few others


class ReplacedVersion(NamedTuple):
    """A version that a squash file replaces, and a checksum of it in records; `earlier` need not be recorded."""

    version: str
    checksum: str
    earlier: bool = False

    @property
    def number(self) -> int:
        return int(self.version)

    @property
    def directive(self) -> str:
        """Its line at the beginning of the squash file."""
        name = REPLACED_EARLIER if self.earlier else REPLACES
        return f"-- migrate: {name}={self.version}:{self.checksum}"


def is_replaced_value(value: str) -> bool:
    """Whether the value of a directive is a version and a checksum."""
    return _VALUE.fullmatch(value) is not None


def read_replaced(path: Path) -> tuple[ReplacedVersion, ...]:
    """Read the versions from the comments at the beginning of a file. Raises OSError."""
    found = []
    with path.open("rb") as file:
        for line in file:
            if line.strip() and not line.startswith(b"--"):
                break
            if match := _LINE.match(line.rstrip(b"\n")):
                version, _, checksum = match["value"].decode().partition(":")
                found.append(ReplacedVersion(version, checksum, earlier=match["name"].decode() == REPLACED_EARLIER))
    return tuple(found)


def describe_range(versions: Iterable[ReplacedVersion]) -> str:
    """The first and the last version, such as "001 to 040"."""
    numbers = sorted((one.number, one.version) for one in versions)
    first, last = numbers[0][1], numbers[-1][1]
    return first if first == last else f"{first} to {last}"
