"""db.verify --schema: the live catalog against the schema that the applied files make."""

from __future__ import annotations

import io
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.migrations.repeatable_names import discover_repeatable
from kernel.migrations.script import read_ignored_drift
from kernel.schema.build import build_schema, read_build_target
from kernel.schema.drift.applied_files import AppliedFiles, applied_files
from kernel.schema.drift.compare import Comparison, compare_schemas
from kernel.schema.drift.difference import DifferenceState, ObjectDifference, SchemaCheck, SchemaDifference
from kernel.schema.drift.ignored import DeclaredDrift, DriftDeclaration, PlatformObjects
from kernel.schema.drift.remedies import find_remedy
from kernel.schema.snapshot import Schema, read_schema
from kernel.sql.lexer import LexerError, PartKind, split_script
from kernel.sql.passwords import mask_passwords
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.db.connection import Session
    from kernel.db.repeatable_entries import RepeatableEntry
    from kernel.errors import Problem
    from kernel.migrations.migration import Migration
    from kernel.operations.drift import MigrationsLocation
    from kernel.plan import Plan
    from kernel.schema.built import BuiltSchema
    from kernel.schema.drift.statements import SchemaParts
    from kernel.schema.snapshot import SchemaObject


_KIND_ORDER = (
    *("schema", "extension", "collation", "enum", "range type", "composite type", "domain", "type", "sequence"),
    *("table", "partitioned table", "foreign table", "column", "constraint", "index", "function", "procedure"),
    *("view", "materialized view", "statistics", "trigger", "rule", "policy"),
)
_IN_THE_WAY = ("constraint", "index", "trigger", "rule", "policy", "statistics", "view", "materialized view")
_NAMES_SHOWN = 6


def check_schema(
    session: Session,
    plan: Plan | None,
    migrations: Sequence[Migration],
    location: MigrationsLocation,
    *,
    bindir: Path | None,
    repeatable: Sequence[RepeatableEntry] = (),
    accepted: Iterable[str] = (),
    privileges: bool = False,
) -> SchemaCheck:
    """Compare the catalog of a database with what its applied files make; without a plan, what all files make.

    `repeatable` are the repeatable files with their records, as in Status. `accepted` are the names and patterns of
    KERNEL_IGNORE_DRIFT. Owners and grants are compared with `privileges`.
    Reads only; the role needs no privilege but to connect. Raises DatabaseRefused, ProgramsMissing, ServerFailed.
    """
    with tempfile.TemporaryDirectory(prefix="aibos-kernel-") as folder:
        present = discover_repeatable(migrations[0].directory) if migrations else ()
        applied = (
            applied_files(plan, repeatable, location, Path(folder))
            if plan
            else AppliedFiles(files=tuple(migrations), repeatable=present)
        )
        live = read_schema(session)
        target = read_build_target(session)
        built = build_schema(applied.files, target, bindir=bindir, repeatable=applied.repeatable)
        files = (*applied.files, *applied.repeatable)
        texts = {one.filename: one.path.read_bytes() for one in files}
    version = session.connection.info.server_version
    platform = PlatformObjects(built.schema, live)
    comparison = compare_schemas(
        built,
        Schema(objects=tuple(platform.leave_out(live))),
        version=version,
        privileges=privileges,
    )
    left_out = (*applied.left_out, *built.left_out)
    uncertain = _MentionedNames([*_texts_of(left_out, (*migrations, *present))])
    declared = DeclaredDrift(_declarations(migrations, accepted))
    differences = []
    unknown = 0
    for one in comparison.differences:
        parts = comparison.made if one.made else comparison.live
        if declared.accepts(one.about, parts):
            continue
        if uncertain.mention(one.about, parts):
            unknown += 1
            continue
        differences.append(_located(one, comparison, built, texts))
    return SchemaCheck(
        database=session.name,
        file_count=len(files) - len(built.left_out),
        version=version,
        built_version=built.version,
        differences=tuple(sorted(differences, key=_order)),
        notes=(*applied.notes, *comparison.notes, *_notes(platform, declared, unknown)),
        left_out=left_out,
    )


def _declarations(migrations: Sequence[Migration], accepted: Iterable[str]) -> Iterator[DriftDeclaration]:
    for one in migrations:
        with suppress(OSError):
            for pattern, _reason, line in read_ignored_drift(one.path):
                yield DriftDeclaration(pattern, f"{one.filename}:{line}: ignore-drift={pattern}")
    yield from (DriftDeclaration(pattern, f"KERNEL_IGNORE_DRIFT: {pattern}") for pattern in accepted)


def _notes(platform: PlatformObjects, declared: DeclaredDrift, unknown: int) -> Iterator[str]:
    if platform.schemas:
        yield f"schemas of the platform are not compared: {', '.join(sorted(platform.schemas))}"
    if unknown:
        count = format_quantity(unknown, "difference")
        yield f"{count} of objects that a file mentions which was not built: not shown"
    for one in declared.unused():
        yield f"{mask_passwords(one.place)}: matches no difference; remove it"


class _MentionedNames:
    """The words of the files that were not built: what they mention may be theirs."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text.lower() for text in texts]
        self._words = {word for text in self._texts for word in re.findall(r"\w+", text)}

    def mention(self, obj: SchemaObject, schema: SchemaParts) -> bool:
        """Whether they mention an object; a part counts as mentioned with its table, a column only by its own name."""
        if not self._texts:
            return False
        parent = schema.parent(obj)
        if parent is None:
            return self._has(obj.bare_name) if obj.bare_name else False
        if not self.mention(parent, schema):
            return False
        return obj.kind != "column" or self._has(obj.bare_name)

    def _has(self, name: str) -> bool:
        name = name.lower()
        return name in self._words or (not name.isidentifier() and any(name in text for text in self._texts))


def _texts_of(left_out: Iterable[Problem], migrations: Sequence[Migration]) -> Iterator[str]:
    paths = {one.filename: one.path for one in migrations}
    for name in dict.fromkeys(problem.file for problem in left_out if problem.file):
        with suppress(OSError, KeyError):
            yield paths[name].read_bytes().decode(errors="replace")


def _located(
    one: ObjectDifference, comparison: Comparison, built: BuiltSchema, texts: dict[str, bytes]
) -> SchemaDifference:
    about = one.about
    files = built.files.get(one.made.key, ()) if one.made else ()
    if one.made and not files and (parent := comparison.made.parent(one.made)):
        files = built.files.get(parent.key, ())
    remedy = find_remedy(one.state, one.made, one.live, one.changes, files=comparison.made, database=comparison.live)
    return SchemaDifference(
        state=one.state,
        kind=about.kind,
        name=about.name,
        text=one.text,
        file=files[0] if files else "",
        line=_find_line(texts.get(files[0], b""), one.made, comparison.made) if files and one.made else None,
        changed_by=files[-1] if len(files) > 1 else "",
        statements=remedy.statements,
        advice=remedy.advice,
    )


def _find_line(text: bytes, obj: SchemaObject, schema: SchemaParts) -> int | None:
    """The line of the first statement that names an object: for a part, its own name after that of its table.

    A name that the server chose stands for the statement about its table.
    """
    parent = schema.parent(obj)
    outer = _name_pattern((parent or obj).bare_name)
    inner = _name_pattern(obj.bare_name) if parent else None
    fallback = None
    try:
        for part in split_script(io.BytesIO(text).read):
            if part.kind is not PartKind.STATEMENT or not (found := outer.search(part.sql)):
                continue
            at = inner.search(part.sql, 0 if obj.kind != "column" else found.end()) if inner else found
            if at:
                return part.line + part.sql.count(b"\n", 0, at.start())
            fallback = fallback or part.line
    except LexerError:
        return fallback
    return fallback


def _name_pattern(name: str) -> re.Pattern[bytes]:
    return re.compile(rb"(?<![\w$])" + re.escape(name.encode()) + rb"(?![\w$])", re.IGNORECASE)


def _order(one: SchemaDifference) -> tuple[object, ...]:
    """The order in which the statements can run: what is in the way goes first, then objects before their parts."""
    rank = _KIND_ORDER.index(one.kind) if one.kind in _KIND_ORDER else len(_KIND_ORDER)
    in_the_way = one.state is DifferenceState.EXTRA and one.kind in _IN_THE_WAY
    is_reference = any("FOREIGN KEY" in statement for statement in one.statements)
    return (
        one.state is not DifferenceState.RENAMED,
        not in_the_way,
        rank,
        is_reference,
        one.file,
        one.line or 0,
        one.name,
    )
