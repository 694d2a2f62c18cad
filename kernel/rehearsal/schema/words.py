"""Facts that changed, in words. Pure.

What may hold a secret (settings, options of foreign servers) is told by its name only; what is long, not at all.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from kernel.sql import secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.schema.pairs import Change
    from kernel.rehearsal.schema.value import Fact, Thing

_VALUE_CHARACTERS = 160
_BY_NAME = {"settings": "setting", "connection options": "option"}
_LONG = ("definition", "body", "comment")
_SHORT_DEFINITIONS = ("constraint", "index")
# What a fact that is absent means.
_USUALLY = {
    "row security": "off",
    "persistence": "logged",
    "replica identity": "default",
    "storage": "that of the type",
    "compression": "default",
    "statistics target": "default",
    "target": "default",
    "tablespace": "default",
    "kind": "permissive",
    "rows": "all",
}
# Of facts that are there or not: what is said when they come, and when they go.
_FLAGS = {
    "validated": ("not validated any more", "validated"),
    "valid": ("invalid", "valid again"),
    "ready": ("not ready", "ready"),
    "populated": ("not populated any more", "populated"),
    "NOT NULL": ("NOT NULL set", "NOT NULL dropped"),
    "enabled": ("", "enabled"),
}


def change(thing: Thing, one: Change) -> Iterator[str]:
    """What changed about an object, a phrase for each thing that somebody could have done."""
    if isinstance(one.before, tuple) or isinstance(one.after, tuple):
        yield from _items(one.label, _listed(one.before), _listed(one.after))
    elif one.label in _LONG and not (one.label == "definition" and thing.kind in _SHORT_DEFINITIONS):
        done = "added" if one.before is None else "dropped" if one.after is None else "changed"
        yield f"{one.label} {done}"
    elif one.label in _FLAGS and None in (one.before, one.after):
        come, gone = _FLAGS[one.label]
        yield gone if one.after is None else come or one.after
    elif one.label in _USUALLY or None not in (one.before, one.after):
        usual = _USUALLY.get(one.label, "")
        yield f"{one.label} {_short(one.before or usual)} -> {_short(one.after or usual)}"
    else:
        value, done = (one.after, "set") if one.before is None else (one.before, "dropped")
        yield f"{value} {done}" if value == one.label else f"{one.label} {_short(str(value))} {done}"


def introduced(thing: Thing) -> str:
    """How a new object is described behind its name; "" where the name has to do."""
    if thing.place:
        default = thing.fact("default")
        generated = thing.fact("generated")
        identity = thing.fact("identity")
        parts = (
            thing.fact("type"),
            thing.fact("NOT NULL"),
            f"DEFAULT {_short(str(default))}" if default else "",
            f"GENERATED {str(identity).upper()} AS IDENTITY" if identity else "",
            f"GENERATED ALWAYS AS ({_short(str(generated))})" if generated else "",
        )
        return " ".join(str(part) for part in parts if part)
    if thing.kind in _SHORT_DEFINITIONS:
        flags = (thing.fact("unique"), thing.fact("definition"), thing.fact("validated"), thing.fact("valid"))
        return " ".join(_short(str(part)) for part in flags if part)
    return ""


def line(text: str) -> str:
    """The text as one line for everybody's terminal: names may hold line breaks and worse, expressions a password."""
    return "".join(
        letter if unicodedata.category(letter)[0] != "C" else letter.encode("unicode_escape").decode()
        for letter in secret.masked(text)
    )


def _listed(fact: Fact) -> tuple[str, ...]:
    return fact if isinstance(fact, tuple) else () if fact is None else (fact,)


def _items(label: str, before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[str]:
    gone = [item for item in before if item not in after]
    new = [item for item in after if item not in before]
    if label == "privileges":
        yield from (f"{item} revoked" for item in gone)
        yield from (f"{item} granted" for item in new)
    elif label in _BY_NAME:
        yield from _named(_BY_NAME[label], gone, new)
    elif label == "labels" and len(before) == len(after) and gone:
        yield from (f"value '{old}' renamed to '{now}'" for old, now in zip(before, after, strict=True) if old != now)
    else:
        one = "value" if label == "labels" else label
        yield from (f"{one} {_short(item)} taken away" for item in gone)
        yield from (f"{one} {_short(item)} added" for item in new)
    if not gone and not new:
        yield f"order of {label} changed"


def _named(what: str, gone: list[str], new: list[str]) -> Iterator[str]:
    old_names, new_names = ([item.partition("=")[0] for item in items] for items in (gone, new))
    yield from (f"{what} {name} {'changed' if name in new_names else 'taken away'}" for name in old_names)
    yield from (f"{what} {name} set" for name in new_names if name not in old_names)


def _short(value: Fact) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _VALUE_CHARACTERS else text[:_VALUE_CHARACTERS] + "…"
