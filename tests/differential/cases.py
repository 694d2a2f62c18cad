"""The corpus: scripts, and the expected result of each.

A script has the same effects as with psql, unless verdicts.toml has another verdict, with the reason.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.differential import generated

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The line for which a script is refused before anything runs, and words of the remedy."""

    line: int
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A script and its verdict.

    `one_transaction` is the reason why psql must run it with --single-transaction, "" for most. With the SQLSTATE
    `fails`, both stop at the same statement. `refusals` are all faults for which the project refuses it.
    `major` (at least), `below` and `extension` say which servers can run it; `quick` ones are not marked slow.
    """

    name: str
    script: bytes
    one_transaction: str = ""
    fails: str = ""
    refusals: tuple[Refusal, ...] = ()
    major: int = 0
    below: int = 0
    extension: str = ""
    quick: bool = False


def _cases() -> tuple[Case, ...]:
    scripts = {path.stem: path.read_bytes() for path in sorted(CORPUS.glob("*.sql"))} | generated.SCRIPTS
    verdicts = tomllib.loads((CORPUS / "verdicts.toml").read_text(encoding="utf-8"))
    listed = {name for section in verdicts.values() for name in section}
    if unknown := listed - scripts.keys():
        raise LookupError(f"verdicts.toml lists scripts that do not exist: {sorted(unknown)}")
    return tuple(_case(name, scripts[name], verdicts) for name in sorted(scripts))


def _case(name: str, script: bytes, verdicts: dict[str, Any]) -> Case:
    needs = verdicts["needs"].get(name, {})
    refusals = verdicts["refused"].get(name, [])
    return Case(
        name=name,
        script=script,
        one_transaction=verdicts["one_transaction"].get(name, ""),
        fails=verdicts["fails"].get(name, ""),
        refusals=tuple(Refusal(line=line, remedy=remedy) for line, remedy in refusals),
        major=needs.get("major", 0),
        below=needs.get("below", 0),
        extension=needs.get("extension", ""),
        quick=name in verdicts["quick"],
    )


ALL = _cases()
