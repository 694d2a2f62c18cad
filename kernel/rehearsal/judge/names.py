"""Names of relations, as files write them and as the server tells them: with a schema or without, quoted or not."""

from __future__ import annotations

import re

_PART = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


def bare(name: str) -> str:
    """The name without schema and quotes."""
    return (_parts(name) or (name,))[-1]


def same(one: str, other: str) -> bool:
    """Whether both may mean the same relation: one that has no schema may be in any; "" is none."""
    if not one or not other:
        return False
    ours, theirs = _parts(one), _parts(other)
    shorter = min(len(ours), len(theirs))
    # The linter tells names without quotes, so that a dot in one divides nothing.
    return ours[-shorter:] == theirs[-shorter:] or one in (other, theirs[-1]) or other == ours[-1]


def schema(name: str) -> str:
    """The schema of a qualified name, "" of another."""
    parts = _parts(name)
    return parts[-2] if len(parts) > 1 else ""


def _parts(name: str) -> tuple[str, ...]:
    return tuple(plain or quoted.replace('""', '"') for quoted, plain in _PART.findall(name)) or (name,)
