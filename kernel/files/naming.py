"""The naming rule of migration files, and what is wrong with a name that breaks it.

Source: the specification, "Migration Naming Convention": {version}_{description}.sql, the version zero-padded to three
digits, the description in snake_case.
"""

from __future__ import annotations

import re

VERSION_DIGITS = 3
_NAME = re.compile(r"(?P<version>[0-9]{3,})_(?P<description>[a-z0-9]+(?:_[a-z0-9]+)*)\.sql")
_PREFIXED = r"[A-Za-z]+[0-9]+_"
_FOREIGN_LETTER = r"[^A-Za-z0-9_\- ]"


def parse(filename: str) -> tuple[str, str] | None:
    """The version as written and the description, or None when the name breaks the rule."""
    match = _NAME.fullmatch(filename)
    return (match["version"], match["description"]) if match else None


def padded(number: int) -> str:
    """A version as it is written: 16 is "016", 1000 is "1000"."""
    return f"{number:0{VERSION_DIGITS}}"


def complaint(filename: str) -> str:
    """What is wrong with a name that `parse` refuses, and the name that would be right where there is one."""
    stem = filename[:-4]
    version = stem[: len(stem) - len(stem.lstrip("0123456789"))]
    rest = stem[len(version) :]
    paired = rest.endswith((".up", ".down"))
    faults = [
        fault
        for found, fault in (
            (not filename.endswith(".sql"), "the ending is not in lower case"),
            (not version and re.match(_PREFIXED, stem), "a letter ahead of the version"),
            (not version and not re.match(_PREFIXED, stem), "no version ahead of the description"),
            (0 < len(version) < VERSION_DIGITS, f"version not padded to {VERSION_DIGITS} digits"),
            (version and not rest.strip("_-. "), "no description behind the version"),
            ("-" in rest, "hyphens, use underscores"),
            (" " in rest, "blanks, use underscores"),
            (any(letter.isupper() for letter in rest), "capital letters, use snake_case"),
            (paired, "one file a migration, and what undoes it in revert/ under the same name"),
            (not paired and re.search(_FOREIGN_LETTER, rest), "letters other than a to z, 0 to 9 and _"),
        )
        if found
    ] or ["underscores stand one at a time between words"]
    right = _suggestion(version, rest)
    return ", ".join(faults) + (f"; rename it to {right}" if right else "; name it like 016_add_user_preferences.sql")


def _suggestion(version: str, rest: str) -> str | None:
    words = re.findall(r"[a-z0-9]+", rest.lower())
    if not version or not words or not rest.isascii() or rest.endswith((".up", ".down")):
        return None
    return f"{padded(int(version))}_{'_'.join(words)}.sql"
