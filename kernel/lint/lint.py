"""Hits with their place in a file: what the reports show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.lint.action import Action
from kernel.lint.actions import UNKNOWN_NAME, read_actions
from kernel.lint.checks import check_file
from kernel.lint.finding import Finding, Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.lint.source import read_source
from kernel.lint.squawk import REPORTED_RULES, SquawkFailed, find_squawk, run_squawk
from kernel.lint.state import RuleMatch, SchemaState
from kernel.migrations.migration import list_candidates, parse_filename, read_candidates

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from kernel.lint.source import SourceFile
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Allow
    from kernel.sql.lexer import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedFinding:
    """A finding and where it stands: in the statement `index` of its file, at `column`, both from 1.

    Without a statement (`part` is None) it is about the whole file, and `index` 0. `reason` is why the file accepts it,
    "" where it does not.
    """

    finding: Finding
    part: Part | None = None
    statement_number: int = 0
    column: int = 1
    accepted_reason: str = ""

    @property
    def position(self) -> tuple[int, int]:
        """Its place in the file, to sort by."""
        return self.finding.line or 0, self.column


def locate_match(text: SourceFile, index: int, hit: RuleMatch) -> LocatedFinding:
    """The sighting of a hit in the statement `index`, which counts from 0."""
    part = text.statements[index].part
    before = part.text[: part.start + hit.action.begin]
    relation = "" if UNKNOWN_NAME in hit.relation else hit.relation
    rule = RULES_BY_ID[hit.rule]
    says = hit.message or rule.condition
    finding = Finding(
        rule=hit.rule,
        severity=hit.severity or rule.severity,
        message=f"{relation}: {says}" if relation else says,
        remedy=rule.workaround,
        version=text.migration.version,
        filename=text.migration.filename,
        line=part.line + part.sql[: hit.action.begin].count(b"\n"),
        relation=relation,
    )
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    return LocatedFinding(finding=finding, part=part, statement_number=index + 1, column=column)


def locate_in_file(migration: Migration, rule_id: str, says: str, *, line: int | None = None) -> LocatedFinding:
    """The sighting of a rule that the whole file meets, or what stands where no statement is."""
    rule = RULES_BY_ID[rule_id]
    finding = Finding(
        rule=rule_id,
        severity=rule.severity,
        message=says or rule.condition,
        remedy=rule.workaround,
        version=migration.version,
        filename=migration.filename,
        line=line,
    )
    return LocatedFinding(finding=finding)


# Hazards that a file accepts knowingly: `-- migrate: allow=rule-id reason`.
#
# Above a statement, or behind it on its last line, it is about that statement; ahead of the first one, about the file.


_WHOLE_FILE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRule:
    """A rule that a migration accepts: at the statement that begins on this line, or anywhere (None)."""

    rule: str
    version: str
    line: int | None = None


def read_accepted_rules(text: SourceFile) -> Iterator[AcceptedRule]:
    """All that a file accepts."""
    for index, allow in _numbered_allows(text):
        line = text.statements[index - 1].part.line if index else None
        yield AcceptedRule(rule=allow.rule, version=text.migration.version, line=line)


def find_allow_problems(text: SourceFile) -> Iterator[Problem]:
    """Each allow that names no rule, or gives no reason."""
    for _, allow in _numbered_allows(text):
        if allow.rule not in RULES_BY_ID:
            nearest = get_close_matches(allow.rule, RULES_BY_ID, n=1, cutoff=0.5)
            remedy = f"write {nearest[0]}" if nearest else "the rules are in docs/rules.md"
            message = f"-- migrate: allow={allow.rule}: no such rule; {remedy}"
        elif not allow.reason:
            message = f"-- migrate: allow={allow.rule}: the reason is missing; write it behind the rule"
        else:
            continue
        yield Problem(message=message, file=text.migration.filename, line=allow.line)


def split_accepted(
    text: SourceFile, found: Sequence[LocatedFinding]
) -> tuple[list[LocatedFinding], list[LocatedFinding], list[str]]:
    """What a file does not accept, what it does with the reasons, and a note for each allow that meets nothing."""
    kept, allowed = [], []
    used: set[int] = set()
    for one in found:
        its_allow = next(
            (
                allow
                for index, allow in _numbered_allows(text)
                if allow.rule == one.finding.rule and index in (_WHOLE_FILE, one.statement_number)
            ),
            None,
        )
        if its_allow:
            used.add(its_allow.line)
            allowed.append(replace(one, accepted_reason=its_allow.reason))
        else:
            kept.append(one)
    notes = [
        f"{text.migration.filename}:{allow.line}: allow={allow.rule} meets nothing here; take it out"
        for _, allow in _numbered_allows(text)
        # What only a rehearsal sees is not here to be met.
        if allow.line not in used and RULES_BY_ID[allow.rule].found_in_text
    ]
    return kept, allowed, notes


def _numbered_allows(text: SourceFile) -> Iterator[tuple[int, Allow]]:
    """Each allow with the number of the statement that it is about, which counts from 1."""
    for allow in text.allows:
        yield _WHOLE_FILE, allow
    for index, statement in enumerate(text.statements, start=1):
        for allow in statement.allows:
            yield index, allow


# The linter: migrations in, findings out, those that the files accept knowingly apart. No database is needed.
#
# All files of the directory are read, in order, because the earlier ones tell of types, indexes and constraints; only
# those that are asked about are judged.


_WITHOUT_SQUAWK = "the types that columns are given were not looked at"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationDirectory:
    """The migrations of a directory, and what is wrong with the numbers of those that share one."""

    migrations: tuple[Migration, ...]
    duplicates: tuple[LocatedFinding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LintResult:
    """What was found in so many files, in their order; `notes` are lines for stderr.

    `allowed` is what the files accept of it, `accepted` all that they accept: what only a rehearsal can see as well.
    """

    file_count: int
    findings: tuple[LocatedFinding, ...]
    accepted_findings: tuple[LocatedFinding, ...] = ()
    accepted_rules: tuple[AcceptedRule, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether something is at or above the threshold, which is an error."""
        return any(one.finding.severity is Severity.ERROR for one in self.findings)


def read_migration_directory(path: Path) -> MigrationDirectory:
    """The migrations of a directory. Raises FilesInvalid with every misnamed or unreadable file."""
    names = list_candidates(path)
    first: dict[int, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        if parsed := parse_filename(name):
            other = first.setdefault(int(parsed[0]), name)
            if other != name:
                taken[name] = other
    found, problems = read_candidates(path, [name for name in names if name not in taken])
    more = [read_candidates(path, [name]) for name in taken]
    others = [one for found_again, _ in more for one in found_again]
    if problems := (*problems, *(problem for _, wrong in more for problem in wrong)):
        raise FilesInvalid(problems)
    duplicates = tuple(
        locate_in_file(one, "duplicate-version", f"{taken[one.filename]} has the same number") for one in others
    )
    return MigrationDirectory(
        migrations=tuple(sorted((*found, *others), key=lambda one: (one.number, one.filename))), duplicates=duplicates
    )


def lint_migrations(found: MigrationDirectory, wanted: Collection[str]) -> LintResult:
    """Judge the files whose names are `wanted`. Reads the files, and runs squawk where it is installed.

    Raises FilesInvalid with every file that cannot be read, and every `allow` that names no rule or gives no reason.
    """
    texts = _read_sources(found.migrations, wanted)
    judged = [text for text in texts if text.migration.filename in wanted]
    sightings = {text.migration.filename: list(_meta_command_finding(text)) for text in judged}
    for one in found.duplicates:
        if one.finding.filename in sightings:
            sightings[one.finding.filename].append(one)
    for text, index, hit in _check_files(texts):
        if text.migration.filename in sightings:
            sightings[text.migration.filename].append(locate_match(text, index, hit))
    notes = []
    try:
        for text, one in _squawk_findings(judged):
            sightings[text.migration.filename].append(one)
    except SquawkFailed as error:
        notes.append(f"squawk: {error}; {_WITHOUT_SQUAWK}")
    kept, allowed = [], []
    for text in judged:
        divided = split_accepted(text, sorted(sightings[text.migration.filename], key=lambda one: one.position))
        kept += divided[0]
        allowed += divided[1]
        notes += divided[2]
    return LintResult(
        file_count=len(judged),
        findings=tuple(kept),
        accepted_findings=tuple(allowed),
        accepted_rules=tuple(one for text in judged for one in read_accepted_rules(text)),
        notes=tuple(notes),
    )


def _read_sources(migrations: Sequence[Migration], wanted: Collection[str]) -> list[SourceFile]:
    """The files that can be read; one that is not asked about and cannot be is passed over."""
    texts: list[SourceFile] = []
    problems: list[Problem] = []
    for one in migrations:
        try:
            texts.append(read_source(one))
        except FilesInvalid as error:
            problems += error.problems if one.filename in wanted else ()
    problems += [
        problem for text in texts if text.migration.filename in wanted for problem in find_allow_problems(text)
    ]
    if problems:
        raise FilesInvalid(problems)
    return texts


def _check_files(texts: Sequence[SourceFile]) -> Iterator[tuple[SourceFile, int, RuleMatch]]:
    """What the rules are met by, in every file; at last what a later file could have mended."""
    knowledge = SchemaState()
    open_ends: list[tuple[SourceFile, int, Action]] = []
    for text in texts:
        hits, scene = check_file(text, knowledge)
        yield from ((text, index, hit) for index, hit in hits)
        open_ends += [(text, index, act) for index, act in scene.unresolved]
    for text, index, act in open_ends:
        if act.verb == "add foreign key" and not knowledge.has_index(act.relation, act.columns):
            yield text, index, RuleMatch(rule="foreign-key-without-index", action=act, relation=act.relation)
        # The newest file is the first of two steps as long as there is no other.
        pending = "not valid" in act.traits and not knowledge.is_valid(act.relation, act.name)
        if pending and text is not texts[-1]:
            yield text, index, RuleMatch(rule="constraint-not-validated", action=act, relation=act.relation)


def _meta_command_finding(text: SourceFile) -> Iterator[LocatedFinding]:
    if text.meta_command_line is not None:
        yield locate_in_file(text.migration, "psql-meta-command", "", line=text.meta_command_line)


def _squawk_findings(texts: Sequence[SourceFile]) -> Iterator[tuple[SourceFile, LocatedFinding]]:
    """What squawk finds and we do not, once for each statement and rule. Raises squawk.Silent."""
    command = find_squawk()
    if command is None:
        raise SquawkFailed("not installed (pip install squawk-cli)")
    by_path = {str(text.migration.path): text for text in texts}
    met: set[tuple[str, int, str]] = set()
    for remark in run_squawk(command, [text.migration.path for text in texts]):
        text, rule = by_path.get(remark.path), REPORTED_RULES.get(remark.rule)
        if text is None or rule is None:
            continue
        index = text.statement_index_at(remark.line)
        if index is None or (remark.path, index, rule) in met or _changes_type(text, index):
            continue
        met.add((remark.path, index, rule))
        yield text, locate_match(text, index, _match_on_line(rule, text, index, remark.line))


def _changes_type(text: SourceFile, index: int) -> bool:
    """Whether a choice of type is one for a column that is there: what that costs is another rule's matter."""
    verbs = {act.verb for act in read_actions(text.statements[index].words)}
    return "change type" in verbs


def _match_on_line(rule: str, text: SourceFile, index: int, line: int) -> RuleMatch:
    """A hit at the beginning of a line of a statement, about the relation that the statement is about."""
    one = text.statements[index]
    words = [word for word in one.words if one.part.line + one.part.sql.count(b"\n", 0, word.begin) == line]
    first = next(read_actions(one.words), None)
    relation = first.relation if first else ""
    return RuleMatch(rule=rule, action=Action(verb="remark", begin=words[0].begin if words else 0), relation=relation)
