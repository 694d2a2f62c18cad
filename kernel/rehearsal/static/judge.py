"""The rules put to one file, statement by statement, and act by act."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.rehearsal import rules
from kernel.rehearsal.result import Severity
from kernel.rehearsal.static import body, holding, losses, shapes, statement
from kernel.rehearsal.static.act import Act
from kernel.rehearsal.static.scene import Hit, Scene
from kernel.rehearsal.static.words import STRING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.static.knowledge import Knowledge
    from kernel.rehearsal.static.source import Statement, Text
    from kernel.rehearsal.static.words import Word

_NAME_BYTES = 63  # NAMEDATALEN - 1
_NAMING = frozenset({"CREATE", "ALTER"})
_JUDGES = {**shapes.JUDGES, **losses.JUDGES}
_MAKING = frozenset({"create view", "create table", "create materialized view"})
_NAMED = frozenset({"create function", "create type", "create trigger", "create policy", "create rule"})
_EXISTS = ("if exists", "if not exists", "or replace", "temporary")
# Verbs that have a form that can be run again, unless one of _EXISTS is there.
_REPEATABLE = frozenset(
    {
        *("create table", "create index", "create schema", "create sequence", "create materialized view"),
        *("create view", "create function", "create extension", "add column"),
        *("drop table", "drop column", "drop index", "drop view", "drop materialized view", "drop schema"),
        *("drop function", "drop type", "drop sequence", "drop extension", "drop trigger", "drop policy"),
    }
)


def hits(text: Text, knowledge: Knowledge) -> tuple[list[tuple[int, Hit]], Scene]:
    """What rules are met by which statement of a file, by its index; and the scene as the file leaves it."""
    statements = [(one, tuple(statement.acts(one.words))) for one in text.statements]
    acts = [act for _, found in statements for act in found]
    scene = Scene(knowledge, later=_later(acts))
    if text.no_lock_timeout:
        scene.timeouts_off.add("lock_timeout")
    met: list[tuple[int, Hit]] = []
    for index, (one, found) in enumerate(statements):
        scene.statement, scene.transaction = index, one.transaction
        met += [(index, hit) for hit in (*_refused(one), *_long_names(one), *_of_enums(one, found, scene))]
        for act in found:
            met += [(index, hit) for hit in _judged(act, scene)]
    indexes = [index for index, (_, found) in enumerate(statements) for _ in found]
    met += [(index, hit) for index, hit in _of_the_file(list(zip(indexes, acts, strict=True)), scene)]
    return met, scene


def _later(acts: Sequence[Act]) -> frozenset[str]:
    """Names under which the file makes something."""
    made = {act.relation for act in acts if act.verb in _MAKING} | {act.name for act in acts if act.verb in _NAMED}
    return frozenset(made | {act.other for act in acts if act.verb == "rename table"})


def _judged(act: Act, scene: Scene) -> Iterator[Hit]:
    if act.verb == "do":
        for word in act.words:
            yield from _block(word, scene)
    elif act.verb == "create function":
        yield from _function(act)
    found = [*_JUDGES[act.verb](act, scene)] if act.verb in _JUDGES else []
    yield from found
    yield from holding.hits(act, scene)
    scene.passed(act)


def _block(word: Word, scene: Scene) -> Iterator[Hit]:
    """What a DO block runs."""
    for inner in body.inner(word):
        if not inner.words:
            begin = inner.executed or 0
            says = "EXECUTE runs a text that only the run knows"
            yield Hit(rule="hidden-ddl", act=Act(verb="do", begin=begin), severity=Severity.WARNING, says=says)
            continue
        found = [hit for act in statement.acts(inner.words) for hit in _judged(act, scene)]
        yield from found
        if inner.executed is not None and inner.changes_schema and not any(_counts(hit) for hit in found):
            act = next(statement.acts(inner.words), None)
            if act and scene.existing(act.relation):
                yield Hit(rule="hidden-ddl", act=replace(act, begin=inner.executed), relation=act.relation)


def _counts(hit: Hit) -> bool:
    return (hit.severity or rules.BY_ID[hit.rule].severity) is not Severity.HARMLESS


def _function(act: Act) -> Iterator[Hit]:
    """DDL in a function, which runs whenever somebody calls it."""
    for word in act.words:
        for inner in body.inner(word):
            acts = tuple(statement.acts(inner.words))
            if inner.changes_schema and not any("temporary" in one.traits for one in acts):
                says = f"function {act.name} changes the schema when it is called"
                yield Hit(rule="hidden-ddl", act=act, severity=Severity.WARNING, says=says)
                return


def _refused(one: Statement) -> Iterator[Hit]:
    if one.refused and one.words:
        yield Hit(rule=one.refused, act=Act(verb="refused", begin=one.words[0].begin))


def _long_names(one: Statement) -> Iterator[Hit]:
    if not one.words or one.words[0].key not in _NAMING:
        return
    for word in one.words:
        if word.named and len(word.text.encode()) > _NAME_BYTES:
            says = f"{word.text} is longer than {_NAME_BYTES} bytes and is cut off there"
            yield Hit(rule="identifier-too-long", act=Act(verb="name", begin=word.begin), says=says)
            return


def _of_enums(one: Statement, acts: Sequence[Act], scene: Scene) -> Iterator[Hit]:
    if not scene.enum_values or any(act.verb == "add enum value" for act in acts):
        return
    for word in one.words:
        transaction, fresh = scene.enum_values.get(word.text, (-1, False))
        if word.key == STRING and transaction == scene.transaction:
            says = f"the value {word.text} is used in the transaction that adds it"
            if fresh:
                says += ", which PostgreSQL before 17 refuses even for a type that is as new"
            severity = Severity.WARNING if fresh else None
            act = Act(verb="use", begin=word.begin)
            yield Hit(rule="enum-value-used-at-once", act=act, says=says, severity=severity)
            return


def _of_the_file(acts: Sequence[tuple[int, Act]], scene: Scene) -> Iterator[tuple[int, Hit]]:
    """What only the whole file shows."""
    bare = [(index, act) for index, act in acts if act.verb in _REPEATABLE and act.traits.isdisjoint(_EXISTS)]
    if bare:
        others = f", and {len(bare) - 1} more of the file" if len(bare) > 1 else ""
        index, act = bare[0]
        says = f"{act.verb.upper()} fails when it is run again{others}"
        yield index, Hit(rule="not-rerunnable", act=act, relation=act.relation, says=says)
    added = [act for _, act in acts if act.verb == "add column" and act.relation not in scene.created]
    for index, act in acts:
        lasting = act.verb == "create table" and act.traits.isdisjoint({"temporary", "partition"})
        if lasting and added and not _related(act.relation, [one for _, one in acts], added):
            says = f"is created in the file that changes {added[0].relation}, with which it has nothing to do"
            yield index, Hit(rule="unrelated-changes", act=act, relation=act.relation, says=says)
            return


def _related(table: str, acts: Sequence[Act], added: Sequence[Act]) -> bool:
    """Whether a new table mentions a changed one, as by a foreign key, or a new column there is named after it."""
    its_own = [act for act in acts if act.relation == table]
    mentioned = {act.other for act in its_own} | {word.text for act in its_own for word in act.words}
    named = {act.name for act in added} | {word.text for act in added for word in act.words}
    stem = table.rpartition(".")[2].rstrip("s")
    return any(act.relation in mentioned for act in added) or any(stem in name for name in named)
