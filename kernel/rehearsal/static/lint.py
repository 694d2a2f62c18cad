"""The linter: migrations in, findings out, those that the files accept knowingly apart. No database is needed.

All files of the directory are read, in order, because the earlier ones tell of types, indexes and constraints; only
those that are asked about are judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid
from kernel.files import migration, naming
from kernel.rehearsal.result import Severity
from kernel.rehearsal.static import accept, judge, sighting, source, squawk, statement
from kernel.rehearsal.static.act import Act
from kernel.rehearsal.static.knowledge import Knowledge
from kernel.rehearsal.static.scene import Hit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from kernel.errors import Problem
    from kernel.files.migration import Migration
    from kernel.rehearsal.static.accept import Accepted
    from kernel.rehearsal.static.sighting import Sighting
    from kernel.rehearsal.static.source import Text

_WITHOUT_SQUAWK = "the types that columns are given were not looked at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """The migrations of a directory, and what is wrong with the numbers of those that share one."""

    migrations: tuple[Migration, ...]
    duplicates: tuple[Sighting, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lint:
    """What was found in so many files, in their order; `notes` are lines for stderr.

    `allowed` is what the files accept of it, `accepted` all that they accept: what only a rehearsal can see as well.
    """

    files: int
    sightings: tuple[Sighting, ...]
    allowed: tuple[Sighting, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether something is at or above the threshold, which is an error."""
        return any(one.finding.severity is Severity.ERROR for one in self.sightings)


def directory(path: Path) -> Directory:
    """The migrations of a directory. Raises FilesInvalid with every misnamed or unreadable file."""
    names = migration.candidates(path)
    first: dict[int, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        if parsed := naming.parse(name):
            other = first.setdefault(int(parsed[0]), name)
            if other != name:
                taken[name] = other
    found, problems = migration.sorted_out(path, [name for name in names if name not in taken])
    more = [migration.sorted_out(path, [name]) for name in taken]
    others = [one for found_again, _ in more for one in found_again]
    if problems := (*problems, *(problem for _, wrong in more for problem in wrong)):
        raise FilesInvalid(problems)
    duplicates = tuple(
        sighting.of_file(one, "duplicate-version", f"{taken[one.filename]} has the same number") for one in others
    )
    return Directory(
        migrations=tuple(sorted((*found, *others), key=lambda one: (one.number, one.filename))), duplicates=duplicates
    )


def lint(found: Directory, wanted: Collection[str]) -> Lint:
    """Judge the files whose names are `wanted`. Reads the files, and runs squawk where it is installed.

    Raises FilesInvalid with every file that cannot be read, and every `allow` that names no rule or gives no reason.
    """
    texts = _read(found.migrations, wanted)
    judged = [text for text in texts if text.migration.filename in wanted]
    sightings = {text.migration.filename: list(_meta_command(text)) for text in judged}
    for one in found.duplicates:
        if one.finding.filename in sightings:
            sightings[one.finding.filename].append(one)
    for text, index, hit in _hits(texts):
        if text.migration.filename in sightings:
            sightings[text.migration.filename].append(sighting.of_hit(text, index, hit))
    notes = []
    try:
        for text, one in _second_opinion(judged):
            sightings[text.migration.filename].append(one)
    except squawk.Silent as error:
        notes.append(f"squawk: {error}; {_WITHOUT_SQUAWK}")
    kept, allowed = [], []
    for text in judged:
        divided = accept.divided(text, sorted(sightings[text.migration.filename], key=lambda one: one.order))
        kept += divided[0]
        allowed += divided[1]
        notes += divided[2]
    return Lint(
        files=len(judged),
        sightings=tuple(kept),
        allowed=tuple(allowed),
        accepted=tuple(one for text in judged for one in accept.accepted(text)),
        notes=tuple(notes),
    )


def _read(migrations: Sequence[Migration], wanted: Collection[str]) -> list[Text]:
    """The files that can be read; one that is not asked about and cannot be is passed over."""
    texts: list[Text] = []
    problems: list[Problem] = []
    for one in migrations:
        try:
            texts.append(source.read(one))
        except FilesInvalid as error:
            problems += error.problems if one.filename in wanted else ()
    problems += [problem for text in texts if text.migration.filename in wanted for problem in accept.problems(text)]
    if problems:
        raise FilesInvalid(problems)
    return texts


def _hits(texts: Sequence[Text]) -> Iterator[tuple[Text, int, Hit]]:
    """What the rules are met by, in every file; at last what a later file could have mended."""
    knowledge = Knowledge()
    open_ends: list[tuple[Text, int, Act]] = []
    for text in texts:
        hits, scene = judge.hits(text, knowledge)
        yield from ((text, index, hit) for index, hit in hits)
        open_ends += [(text, index, act) for index, act in scene.open_ends]
    for text, index, act in open_ends:
        if act.verb == "add foreign key" and not knowledge.indexed(act.relation, act.columns):
            yield text, index, Hit(rule="foreign-key-without-index", act=act, relation=act.relation)
        # The newest file is the first of two steps as long as there is no other.
        pending = "not valid" in act.traits and not knowledge.valid(act.relation, act.name)
        if pending and text is not texts[-1]:
            yield text, index, Hit(rule="constraint-not-validated", act=act, relation=act.relation)


def _meta_command(text: Text) -> Iterator[Sighting]:
    if text.meta_command is not None:
        yield sighting.of_file(text.migration, "psql-meta-command", "", line=text.meta_command)


def _second_opinion(texts: Sequence[Text]) -> Iterator[tuple[Text, Sighting]]:
    """What squawk finds and we do not, once for each statement and rule. Raises squawk.Silent."""
    command = squawk.program()
    if command is None:
        raise squawk.Silent("not installed (pip install squawk-cli)")
    by_path = {str(text.migration.path): text for text in texts}
    met: set[tuple[str, int, str]] = set()
    for remark in squawk.remarks(command, [text.migration.path for text in texts]):
        text, rule = by_path.get(remark.path), squawk.TAKEN.get(remark.rule)
        if text is None or rule is None:
            continue
        index = text.at_line(remark.line)
        if index is None or (remark.path, index, rule) in met or _changes_type(text, index):
            continue
        met.add((remark.path, index, rule))
        yield text, sighting.of_hit(text, index, _hit(rule, text, index, remark.line))


def _changes_type(text: Text, index: int) -> bool:
    """Whether a choice of type is one for a column that is there: what that costs is another rule's matter."""
    verbs = {act.verb for act in statement.acts(text.statements[index].words)}
    return "change type" in verbs


def _hit(rule: str, text: Text, index: int, line: int) -> Hit:
    """A hit at the beginning of a line of a statement, about the relation that the statement is about."""
    one = text.statements[index]
    words = [word for word in one.words if one.part.line + one.part.sql.count(b"\n", 0, word.begin) == line]
    first = next(statement.acts(one.words), None)
    relation = first.relation if first else ""
    return Hit(rule=rule, act=Act(verb="remark", begin=words[0].begin if words else 0), relation=relation)
