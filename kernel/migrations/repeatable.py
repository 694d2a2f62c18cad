"""Repeatable files: views, functions, triggers and grants in repeatable/NAME.sql, applied again when they change.

A file comes after those that make what it names. Where its text does not show that, it says so:

    -- migrate: after=NAME

A name in a body of PL/pgSQL is looked up when the function runs: it decides the order only where nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from kernel.errors import FilesInvalid, Problem
from kernel.migrations.directives import parse_after
from kernel.migrations.passing import read_file_mentions
from kernel.migrations.phases import read_head
from kernel.migrations.repeatable_names import REPEATABLE_FOLDER
from kernel.migrations.script import UNWRITTEN, parse_script
from kernel.migrations.transactions import RunMode
from kernel.sql.lexer import PartKind
from kernel.sql.object_names import Definition, read_definition, read_mentions, same_object
from kernel.sql.reader import WordReader, read_words, split_at_commas

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from kernel.config.ledger_name import LedgerName
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.sql.lexer import Part
    from kernel.sql.reader import Word


_KEPT_BYTES = 1 << 30  # all parts stay in memory: what is made again is run with statements of the runner in between
_ARGUMENT_MODES = frozenset({"IN", "OUT", "INOUT", "VARIADIC"})
# The second words of types of several words; another second word is that of an argument with a name.
_SECOND_WORDS_OF_TYPES = frozenset({"PRECISION", "VARYING", "WITH", "WITHOUT"})
_TYPE_SPELLINGS = {
    "integer": "int",
    "int4": "int",
    "int8": "bigint",
    "int2": "smallint",
    "float4": "real",
    "float8": "double precision",
    "float": "double precision",
    "boolean": "bool",
    "decimal": "numeric",
    "character": "char",
    "character varying": "varchar",
    "bit varying": "varbit",
    "time without time zone": "time",
    "time with time zone": "timetz",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
}


class CreatedObject(NamedTuple):
    """An object that a file creates: kind, name and table of a trigger, with the schemas as written, and `arguments`.

    Those are the types of the arguments of a function, in one spelling; overloads that differ only in the schema of a
    type have the same.
    """

    kind: str
    name: str
    table: str = ""
    arguments: tuple[str, ...] = ()


class LocatedDefinition(NamedTuple):
    """An object that a file creates, and the statement that creates it."""

    definition: Definition
    part: Part


class Dependency(NamedTuple):
    """A file that has to run first: its `name`, the `object` that is named on `line`, "" for a directive.

    A `late` one only decides the order where no other one does.
    """

    name: str
    object: str
    line: int
    late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatableFile:
    """A repeatable file that can be run: its script, the objects that it creates, and the files it comes after."""

    migration: Migration
    script: Script
    definitions: tuple[LocatedDefinition, ...]
    dependencies: tuple[Dependency, ...] = ()

    @property
    def name(self) -> str:
        return self.migration.version


def read_repeatable_files(
    migrations: Sequence[Migration], ledger: LedgerName | None = None
) -> tuple[RepeatableFile, ...]:
    """Read repeatable files, in the order in which they run.

    Raises FilesInvalid with every file that cannot be run, objects that two files create, and circles.
    """
    problems: list[Problem] = []
    files: list[RepeatableFile] = []
    for migration in migrations:
        try:
            script = parse_script(migration.path, migration.filename, keep_bytes=_KEPT_BYTES, ledger=ledger)
        except FilesInvalid as error:
            problems += error.problems
            continue
        if script.mode is not RunMode.TRANSACTION:
            message = (
                "runs outside of a transaction, and repeatable files run in one; move it into a numbered migration"
            )
            problems.append(Problem(message=message, file=migration.filename))
        if script.unwritten:
            message = f"{UNWRITTEN}; write it, or delete the file"
            problems.append(Problem(message=message, file=migration.filename))
        definitions = tuple(_read_definitions(script))
        files.append(RepeatableFile(migration=migration, script=script, definitions=definitions))
    linked = _with_dependencies(files)
    problems += [*_made_twice(files), *_after_problems(linked, {migration.version for migration in migrations})]
    if problems:
        raise FilesInvalid(problems)
    return _in_order(linked)


@cache
def defined_objects(path: Path, name: str, _checksum: str) -> tuple[CreatedObject, ...]:
    """The objects that are there after a repeatable file with this checksum; () for one that cannot be read.

    What a later statement of the file drops is not there.
    """
    try:
        script = parse_script(path, name, keep_bytes=_KEPT_BYTES)
    except FilesInvalid:
        return ()
    found: list[tuple[Definition, CreatedObject]] = []
    for part in script.parts or ():
        if part.kind is not PartKind.STATEMENT:
            continue
        words = read_words(part.sql)
        if definition := read_definition(words):
            found.append((definition, read_created_object(words, definition.kind)))
        elif words and words[0].key == "DROP":
            dropped = [mention.name for mention in read_mentions(part.sql) if mention.changes]
            found = [
                (one, created)
                for one, created in found
                if not any(same_object(one.table or one.name, name) for name in dropped)
            ]
    return tuple(dict.fromkeys(created for _, created in found))


def read_created_object(words: Sequence[Word], kind: str) -> CreatedObject:
    """The object of a statement in which `read_definition` has found one of this kind."""
    reader = WordReader(words)
    reader.take_until("VIEW", "FUNCTION", "PROCEDURE", "AGGREGATE", "TRIGGER")
    reader.take_word()
    reader.take("IF", "NOT", "EXISTS")
    name = _take_written_name(reader)
    if kind == "trigger":
        reader.take_until("ON")
        reader.take("ON")
        return CreatedObject(kind, name, _take_written_name(reader))
    is_view = kind in ("view", "materialized view")
    return CreatedObject(kind, name, arguments=() if is_view else argument_types(reader.take_group()))


def _take_written_name(reader: WordReader) -> str:
    """Take a name with its schema, also where that is public."""
    begin = reader.index
    name = reader.take_name()
    is_stripped = reader.index - begin > 1 and reader.words[begin].text == "public"
    return f"public.{name}" if is_stripped else name


def argument_types(words: Sequence[Word]) -> tuple[str, ...]:
    """The types in a list of arguments that distinguish a function from its overloads, without schemas and lengths."""
    types = []
    for argument in split_at_commas(words):
        reader = WordReader(argument)
        taken = [word for word in reader.take_until("DEFAULT", "=") if word.key not in _ARGUMENT_MODES]
        modes = {word.key for word in argument} & _ARGUMENT_MODES
        if modes == {"OUT"}:
            continue
        if len(taken) > 1 and taken[1].is_name and taken[1].key not in _SECOND_WORDS_OF_TYPES:
            del taken[0]  # the name of the argument
        reader, texts = WordReader(taken), list[str]()
        while reader.key:
            if reader.key == "(":
                reader.take_group()
            elif reader.take("."):
                del texts[-1:]
            else:
                texts.append(reader.take_word().text)
        is_array = "[" in texts or "array" in texts
        spelled = " ".join(text for text in texts if text not in ("[", "]", "array") and not text.isdigit())
        types.append(_TYPE_SPELLINGS.get(spelled, spelled) + ("[]" if is_array else ""))
    return tuple(types)


def _read_definitions(script: Script) -> Iterator[LocatedDefinition]:
    for part in script.parts or ():
        if part.kind is PartKind.STATEMENT and (definition := read_definition(read_words(part.sql))):
            yield LocatedDefinition(definition, part)


def _made_twice(files: Sequence[RepeatableFile]) -> Iterator[Problem]:
    """A problem for each object that a second file creates too; functions may be of one name, with other arguments."""
    first: dict[Definition, RepeatableFile] = {}
    for file in files:
        for definition, part in file.definitions:
            other = first.setdefault(definition, file)
            if other is not file and definition.kind in ("view", "materialized view", "trigger"):
                message = f"{definition.kind} {definition.name} is made by {other.migration.filename} too; remove one"
                yield Problem(message=message, file=file.migration.filename, line=part.line)


class _Maker(NamedTuple):
    """The whole name of an object, and the file that makes it."""

    object: str
    file: str


def _with_dependencies(files: Sequence[RepeatableFile]) -> list[RepeatableFile]:
    """The files with what they come after."""
    makers: dict[str, list[_Maker]] = {}  # by the last part of the name
    for file in files:
        for definition, _ in file.definitions:
            if not definition.table:
                maker = _Maker(definition.name, file.name)
                makers.setdefault(definition.name.rpartition(".")[2], []).append(maker)
    return [
        replace(file, dependencies=tuple(dict.fromkeys((*_read_after(file), *_read_named(file, makers)))))
        for file in files
    ]


def _after_problems(files: Sequence[RepeatableFile], names: Collection[str]) -> Iterator[Problem]:
    """A problem for each directive that names no other file."""
    for file in files:
        for one in file.dependencies:
            if not one.object and (one.name == file.name or one.name not in names):
                message = f"-- migrate: after={one.name}: no other file of {REPEATABLE_FOLDER}/ has this name"
                yield Problem(message=message, file=file.migration.filename, line=one.line)


def _read_after(file: RepeatableFile) -> Iterator[Dependency]:
    for line, name in parse_after(read_head(file.migration.path)):
        yield Dependency(name, "", line, late=False)


def _read_named(file: RepeatableFile, makers: Mapping[str, Sequence[_Maker]]) -> Iterator[Dependency]:
    """The files that make what a file names, each at the first place.

    A name that the file itself creates is not that of another schema; it may be an overload in another file, which
    decides the order only where nothing else does.
    """
    own = {definition.name for definition, _ in file.definitions if not definition.table}
    seen: set[tuple[str, bool]] = set()
    for mention, line in read_file_mentions(file.migration.path):
        is_own = mention.name in own
        if is_own and mention.changes:
            continue
        late = mention.late or is_own
        for maker in makers.get(mention.name.rpartition(".")[2], ()):
            is_meant = maker.object == mention.name if is_own else same_object(maker.object, mention.name)
            if maker.file != file.name and is_meant and (maker.file, late) not in seen:
                seen.add((maker.file, late))
                yield Dependency(maker.file, mention.name, line, late)


def _in_order(files: Sequence[RepeatableFile]) -> tuple[RepeatableFile, ...]:
    """The files, each after those that it depends on, else by name. Raises FilesInvalid for a circle."""
    waiting = {file.name: file for file in sorted(files, key=lambda file: file.name)}
    ordered: list[RepeatableFile] = []
    while waiting:
        ready = next((one for one in waiting.values() if not _needs(one, waiting, late=True)), None)
        ready = ready or next((one for one in waiting.values() if not _needs(one, waiting, late=False)), None)
        if ready is None:
            raise FilesInvalid([_circle_problem(waiting)])
        ordered.append(waiting.pop(ready.name))
    return tuple(ordered)


def _needs(file: RepeatableFile, waiting: Mapping[str, RepeatableFile], *, late: bool) -> Dependency | None:
    return next((one for one in file.dependencies if one.name in waiting and (late or not one.late)), None)


def _circle_problem(waiting: Mapping[str, RepeatableFile]) -> Problem:
    """The problem of a circle among files, each of which waits for another one, with the places that make it."""
    file = next(iter(waiting.values()))
    passed: dict[str, Dependency] = {}
    while file.name not in passed and (needed := _needs(file, waiting, late=False)):
        passed[file.name] = needed
        file = waiting[needed.name]
    circle = list(passed)[list(passed).index(file.name) :]
    places = (
        f"{waiting[name].migration.filename}:{passed[name].line} "
        f"{f'names {passed[name].object}' if passed[name].object else f'comes after={passed[name].name}'}"
        for name in circle
    )
    message = (
        f"repeatable files depend on each other in a circle: {'; '.join(places)}; "
        "put what belongs together into one file, or move a part into a numbered migration"
    )
    return Problem(message=message, file=file.migration.filename, line=passed[file.name].line)
