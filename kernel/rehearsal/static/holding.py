"""Rules about what a transaction does while it holds locks: work, bulk changes, second tables, no timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.static.scene import MODES, Hit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.static.act import Act
    from kernel.rehearsal.static.scene import Scene

_EXCLUSIVE, _SHARE = "ACCESS EXCLUSIVE", "SHARE"
_WORK = frozenset({"fill", "call", "validate", "select", "copy"})
_WRITES = frozenset({"insert", "update", "delete", "merge"})
# Two tables of one family, or two names of one table.
_FAMILY = frozenset({"rename table", "attach partition", "lock table"})
_TIMEOUTS = (("lock_timeout", "no-lock-timeout"), ("statement_timeout", "no-statement-timeout"))


def hits(act: Act, scene: Scene) -> Iterator[Hit]:
    """What is wrong with doing this now; the act itself has not been taken into account yet."""
    yield from _bulk(act, scene)
    if act.verb in _WORK and _long(act, scene):
        if held := scene.locked(_EXCLUSIVE):
            says = f"{_what(act)} runs while {held[0]} is locked ACCESS EXCLUSIVE"
            yield Hit(rule="work-under-exclusive-lock", act=act, relation=held[0], says=says)
        elif held := scene.locked(_SHARE):
            says = f"{_what(act)} runs while {held[0]} cannot be written"
            yield Hit(rule="work-under-share-lock", act=act, relation=held[0], says=says)
    mode = MODES.get(act.verb)
    if mode and scene.existing(act.relation) and "concurrently" not in act.traits:
        yield from _locking(act, scene, mode)


def _long(act: Act, scene: Scene) -> bool:
    """Whether it may take long; what validates a constraint of this transaction is told of elsewhere."""
    if act.verb == "validate":
        return (act.relation, act.name) not in scene.not_valid
    if act.verb == "select":
        called = {word.text for word in act.words}
        return scene.existing(act.relation) and not called & {"setval", "limit"}
    return act.verb == "call" or scene.existing(act.relation)


def _bulk(act: Act, scene: Scene) -> Iterator[Hit]:
    if act.verb not in _WRITES or "bulk" not in act.traits or not scene.existing(act.relation):
        return
    if held := scene.locked(_SHARE):
        if scene.once("schema-and-data-mixed"):
            says = f"rows are changed in bulk while {held[0]} is locked by a change of its schema"
            yield Hit(rule="schema-and-data-mixed", act=act, relation=act.relation, says=says)
    elif scene.transaction is not None:
        scene.written[scene.transaction] = act


def _locking(act: Act, scene: Scene, mode: str) -> Iterator[Hit]:
    written = scene.written.get(scene.transaction) if scene.transaction is not None else None
    if written and scene.once("schema-and-data-mixed"):
        says = f"the table is changed in the transaction that has changed rows of {written.relation} in bulk"
        yield Hit(rule="schema-and-data-mixed", act=act, relation=act.relation, says=says)
    for setting, rule in _TIMEOUTS:
        if setting in scene.timeouts_off and scene.once(rule):
            yield Hit(rule=rule, act=act, relation=act.relation)
    if mode == _EXCLUSIVE and act.verb not in _FAMILY:
        others = [name for name in scene.locked(_EXCLUSIVE) if name != act.relation]
        if others and scene.once("several-tables-locked"):
            says = f"is locked ACCESS EXCLUSIVE while {others[0]} is: both stay shut until the commit"
            yield Hit(rule="several-tables-locked", act=act, relation=act.relation, says=says)


def _what(act: Act) -> str:
    return {"validate": f"VALIDATE CONSTRAINT {act.name}", "call": "a procedure", "copy": "COPY"}.get(
        act.verb, f"a query of {act.relation}"
    )
