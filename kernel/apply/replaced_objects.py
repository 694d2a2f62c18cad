"""Objects that CREATE OR REPLACE cannot change: drop them with what depends on them, and run their files again.

Everything happens in the transaction of the repeatable files. A view whose columns change, or a function with another
result, is dropped with the views, functions and triggers that depend on it; their files run again, and after each
CREATE the object gets back its owner, privileges and comments. What no repeatable file makes is never dropped.

Sources: PostgreSQL documentation, "CREATE VIEW", "CREATE FUNCTION", "pg_depend" and "Dependency Tracking".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from kernel.db.dependants import find_objects, read_dependants, restore_statements
from kernel.migrations.repeatable import argument_types, read_created_object
from kernel.sql.lexer import Part, PartKind
from kernel.sql.object_names import same_object
from kernel.sql.reader import WordReader, read_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kernel.db.connection import Connection
    from kernel.db.dependants import Dependant, ObjectIds
    from kernel.errors import Failure, MigrationFailed
    from kernel.migrations.repeatable import RepeatableFile
    from kernel.migrations.script import Script


_CANNOT_REPLACE = ("42P16", "42P13")  # invalid table definition, invalid function definition
_HAS_DEPENDANTS = "2BP01"
_DROP_IN_HINT = re.compile(r"DROP (?:FUNCTION|PROCEDURE|AGGREGATE|ROUTINE) (?P<signature>.+\))")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedObject:
    """An object to drop and make again: the file that makes it, and the offset of the statement that does.

    `drop_sql` is empty for one that is dropped with another.
    """

    identity: str
    file: str
    offset: int
    drop_sql: str
    restore_sql: tuple[str, ...]


def find_replaced_objects(
    connection: Connection, error: MigrationFailed, files: Sequence[RepeatableFile]
) -> tuple[ReplacedObject, ...] | None:
    """The objects to drop and make again after an error of CREATE OR REPLACE or DROP, those dropped first first.

    () when the error is another one. None when some of them were replaced meanwhile, as another runner does through a
    pooler, where the lock ends with the transaction that failed. Raises the error, with a hint, when something depends
    on the object that no file makes.
    """
    names = _failed_names(error.failure, files)
    roots = _find_roots(connection, names) if names else None
    if names is None or roots is None:
        return ()
    dependants = read_dependants(connection, roots.objects)
    restore_sql = {one: restore_statements(connection, one) for one in dependants}
    if _find_roots(connection, names) != roots or read_dependants(connection, roots.objects) != dependants:
        return None
    found: list[ReplacedObject] = []
    unknown: list[str] = []
    for one in dependants:
        if roots.are_dropped and one.oid in (*roots.objects.relations, *roots.objects.functions):
            continue
        if replaced := _as_replaced(one, dependants, files, restore_sql[one]):
            found.append(replaced)
        else:
            unknown.append(one.description)
    if unknown:
        error.hint = (
            f"{', '.join(unknown)} depend{'' if unknown[1:] else 's'} on it, and no file in repeatable/ makes "
            f"{'them' if unknown[1:] else 'it'}: drop {'them' if unknown[1:] else 'it'} in a migration before, or move "
            f"{'them' if unknown[1:] else 'it'} into a file of repeatable/; then run inv db.migrate again"
        )
        raise error
    return tuple(found)


def needs_replacement(error: MigrationFailed, files: Sequence[RepeatableFile]) -> bool:
    """Whether an error is one of CREATE OR REPLACE or DROP, after which objects are dropped and made again."""
    return _failed_names(error.failure, files) is not None


class _FailedNames(NamedTuple):
    """The names of the objects that a statement could not replace, or could not drop (`are_dropped`)."""

    relations: Sequence[str] = ()
    functions: Sequence[str] = ()
    are_dropped: bool = False


class _Roots(NamedTuple):
    """The objects that a statement could not replace, or could not drop (`are_dropped`)."""

    objects: ObjectIds
    are_dropped: bool


def _find_roots(connection: Connection, names: _FailedNames) -> _Roots | None:
    objects = find_objects(connection, relations=names.relations, functions=names.functions)
    return _Roots(objects, names.are_dropped) if objects else None


def _failed_names(failure: Failure, files: Sequence[RepeatableFile]) -> _FailedNames | None:
    """The names in the statement that failed; None for an error of another kind."""
    file = next((one for one in files if one.migration.filename == failure.file), None)
    if file is None or failure.sqlstate not in (*_CANNOT_REPLACE, _HAS_DEPENDANTS):
        return None
    parts = [one for one in file.script.parts or () if one.kind is PartKind.STATEMENT]
    part = next((one for one in reversed(parts) if one.offset <= (failure.offset or 0)), None)
    if part is None:
        return None
    reader = WordReader(read_words(part.sql))
    if failure.sqlstate == _HAS_DEPENDANTS:
        return _dropped_names(reader, part.sql)
    if failure.sqlstate == _CANNOT_REPLACE[1]:
        match = _DROP_IN_HINT.search(failure.server_hint or "")
        return _FailedNames(functions=[match["signature"]]) if match else None
    if not reader.take("CREATE", "OR", "REPLACE"):
        return None
    while reader.take_any("TEMP", "TEMPORARY", "RECURSIVE"):
        pass
    return _FailedNames(relations=[reader.take_identifier()]) if reader.take("VIEW") else None


def _dropped_names(reader: WordReader, statement: bytes) -> _FailedNames | None:
    if not reader.take("DROP"):
        return None
    reader.take("MATERIALIZED")
    kind = reader.take_any("VIEW", "FUNCTION", "PROCEDURE", "AGGREGATE", "ROUTINE")
    if not kind:
        return None
    reader.take("IF", "EXISTS")
    names = []
    while True:
        begin = reader.begin
        reader.take_identifier()
        reader.take_group()
        names.append(statement[begin : reader.words[reader.index - 1].end].decode(errors="replace"))
        if not reader.take(","):
            break
    if kind == "VIEW":
        return _FailedNames(relations=names, are_dropped=True)
    return _FailedNames(functions=names, are_dropped=True)


def _as_replaced(
    one: Dependant,
    dependants: Sequence[Dependant],
    files: Sequence[RepeatableFile],
    restore_sql: tuple[str, ...],
) -> ReplacedObject | None:
    """The object with the file that makes it; None where no file does."""
    if one.kind == "index":  # of a materialized view, with which it is dropped
        table = next((other for other in dependants if other.identity == one.table_identity), None)
        place = table and _place_of(table, files)
        if table is None or place is None:
            return None
        file, _ = place
        last = max(part.offset for part in file.script.parts or () if part.kind is PartKind.STATEMENT)
        place, drop = (file, last), ""
    elif place := _place_of(one, files):
        kind = one.kind.upper()
        drop = (
            f"DROP {kind} IF EXISTS {one.identity}" if kind != "TRIGGER" else f"DROP TRIGGER IF EXISTS {one.identity}"
        )
    else:
        return None
    return ReplacedObject(
        identity=one.identity,
        file=place[0].name,
        offset=place[1],
        drop_sql=drop,
        restore_sql=restore_sql,
    )


def _place_of(one: Dependant, files: Sequence[RepeatableFile]) -> tuple[RepeatableFile, int] | None:
    """The file that makes an object, and the offset of the last statement that does.

    Where objects of one name are made, it is that with the same schema, and of overloads that with the same arguments.
    """
    reader = WordReader(read_words(one.identity.encode()))
    reader.take_identifier()
    arguments, table = argument_types(reader.take_group()), one.table.removeprefix("public.")
    best: tuple[tuple[bool, bool], RepeatableFile, int] | None = None
    for file in files:
        for definition, part in file.definitions:
            if one.kind == "trigger":
                is_named = definition.name == one.plain and same_object(definition.table, table)
                has_schema = definition.table == table
            else:
                is_named = same_object(definition.name, one.name)
                has_schema = definition.name == one.name
            if definition.kind != one.kind or not is_named:
                continue
            created = read_created_object(read_words(part.sql), definition.kind)
            match = (has_schema, created.arguments == arguments)
            if best is None or match > best[0] or (match == best[0] and file is best[1]):
                best = (match, file, part.offset)
    return best[1:] if best else None


def scripts_that_replace(files: Sequence[RepeatableFile], objects: Mapping[str, ReplacedObject]) -> dict[str, Script]:
    """The scripts of the files by name: the first one drops the objects, and each restores what it makes of them."""
    scripts = {}
    for number, file in enumerate(files):
        parts: list[Part] = []
        if not number:
            parts += [_runner_part(one.drop_sql, 1, 0) for one in objects.values() if one.drop_sql]
        for part in file.script.parts or ():
            parts.append(part)
            restored = [one for one in objects.values() if (one.file, one.offset) == (file.name, part.offset)]
            if part.kind is PartKind.STATEMENT:
                parts += [_runner_part(text, part.line, part.offset) for one in restored for text in one.restore_sql]
        scripts[file.name] = replace(file.script, parts=tuple(parts))
    return scripts


def _runner_part(statement: str, line: int, offset: int) -> Part:
    """A statement of the runner between those of a file, with the place of the statement that it belongs to."""
    return Part(PartKind.STATEMENT, f"\n{statement};".encode(), line, 1, offset)
