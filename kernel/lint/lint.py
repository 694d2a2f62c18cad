"""The linter: migration files in, findings out, without a database.

All files of the directory are read in order, because the earlier ones define types, indexes and constraints; findings
are reported for the requested ones. A file accepts a rule by `-- migrate: allow=rule-id reason`: above a statement, or
after it on its last line, for that statement; before the first statement, for the whole file.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.lint.checks import check_file
from kernel.lint.finding import Finding, RuleMatch, Severity, match_rule
from kernel.lint.fingerprint import add_fingerprints
from kernel.lint.rules import RULES_BY_ID
from kernel.lint.source import read_source
from kernel.lint.state import SchemaState
from kernel.migrations.migration import list_candidates, parse_filename, read_candidates
from kernel.migrations.paired_files import REVERT_FOLDER
from kernel.migrations.phases import Phase
from kernel.migrations.repeatable import read_repeatable_files
from kernel.migrations.repeatable_names import discover_repeatable
from kernel.migrations.script import PSQL_COMMAND_RULE, UNWRITTEN, parse_script
from kernel.sql.lexer import advance_column
from kernel.sql.plpgsql import UNKNOWN_NAME

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from kernel.config.ledger_name import LedgerName
    from kernel.lint.action import Action
    from kernel.lint.source import SourceFile
    from kernel.migrations.directives import Allow
    from kernel.migrations.migration import Migration
    from kernel.sql.lexer import Part

    ColumnTypes = Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedFinding:
    """A finding and its place: the statement `statement_number` of its file, from 1, which begins at `first_column`.

    A finding about the whole file has no `part`, and statement number 0. `accepted_reason` is the file's reason to
    accept it, "" if the file does not.
    """

    finding: Finding
    part: Part | None = None
    statement_number: int = 0
    first_column: int = 1
    accepted_reason: str = ""

    @property
    def column(self) -> int:
        """The column of the finding, 1 for one about the whole file."""
        return self.finding.column or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRule:
    """A rule that a migration accepts: in the statement at this offset, or in the whole file (None)."""

    rule: str
    version: str
    offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationDirectory:
    """The migrations of a directory, a finding for each whose version another file has, and the repeatable files."""

    migrations: tuple[Migration, ...]
    duplicates: tuple[LocatedFinding, ...] = ()
    repeatable: tuple[Migration, ...] = ()
    ledger: LedgerName | None = None

    @property
    def files(self) -> tuple[Migration, ...]:
        """All files, repeatable ones at the end."""
        return (*self.migrations, *self.repeatable)


@dataclass(frozen=True, slots=True, kw_only=True)
class LintResult:
    """The findings in `filenames`, in their order; `notes` are lines for stderr.

    `known_findings` are those of the baseline, `accepted_findings` those that the files accept. `accepted_rules` are
    all rules that they accept, including those that only a rehearsal checks.
    """

    filenames: tuple[str, ...]
    findings: tuple[LocatedFinding, ...]
    known_findings: tuple[LocatedFinding, ...] = ()
    accepted_findings: tuple[LocatedFinding, ...] = ()
    accepted_rules: tuple[AcceptedRule, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether there is an error."""
        return any(located.finding.severity is Severity.ERROR for located in self.findings)


def read_migration_directory(path: Path, ledger: LedgerName | None = None) -> MigrationDirectory:
    """Read the migrations of a directory, whose files must not change `ledger`.

    Raises FilesInvalid with every misnamed or unreadable file.
    """
    names = list_candidates(path)
    first_of_version: dict[int, str] = {}
    duplicate_of: dict[str, str] = {}
    for name in names:
        if parsed := parse_filename(name):
            first = first_of_version.setdefault(int(parsed[0]), name)
            if first != name:
                duplicate_of[name] = first
    # Duplicates are read one by one, because read_candidates reports them as problems.
    batches = [[name for name in names if name not in duplicate_of], *([name] for name in duplicate_of)]
    migrations: list[Migration] = []
    problems: list[Problem] = []
    for batch in batches:
        read, invalid = read_candidates(path, batch)
        migrations += read
        problems += invalid
    if problems:
        raise FilesInvalid(problems)
    return MigrationDirectory(
        ledger=ledger,
        repeatable=tuple(file.migration for file in read_repeatable_files(discover_repeatable(path), ledger)),
        migrations=tuple(sorted(migrations, key=lambda migration: (migration.number, migration.filename))),
        duplicates=tuple(
            _finding_in_file(migration, "duplicate-version", f"{duplicate_of[migration.filename]} has the same number")
            for migration in migrations
            if migration.filename in duplicate_of
        ),
    )


def lint_migrations(
    directory: MigrationDirectory, filenames: Collection[str], *, column_types: ColumnTypes | None = None
) -> LintResult:
    """Lint these files of a directory.

    With `column_types` they are the pending ones: these are the types of columns in a database that has all others,
    by table and column. Raises FilesInvalid with every file that cannot be read, and every `allow` without a known
    rule or a reason.
    """
    sources = _read_sources(directory, filenames)
    linted = {source.migration.filename: source for source in sources if source.migration.filename in filenames}
    # Those of all files: the counter of a fingerprint distinguishes two files of which only the numbers differ.
    located = [one for source in sources for one in _psql_command_findings(source)]
    located += [*directory.duplicates, *_check_sources(sources, linted, column_types)]
    fingerprinted = add_fingerprints(
        [one.finding for one in located], [one.part.sql if one.part else b"" for one in located]
    )
    located = [replace(one, finding=finding) for one, finding in zip(located, fingerprinted, strict=True)]
    findings, accepted = [], []
    notes: list[str] = []
    for filename, source in linted.items():
        in_file = [one for one in located if one.finding.filename == filename]
        in_file.sort(key=lambda one: (one.finding.line or 0, one.column))
        used: set[int] = set()
        for one in in_file:
            if allow := _find_allow(source, one):
                used.add(allow.line)
                accepted.append(replace(one, accepted_reason=allow.reason))
            else:
                findings.append(one)
        notes += [*_unused_allows(source, used), *_unwritten_files(source.migration)]
    return LintResult(
        filenames=tuple(linted),
        findings=tuple(findings),
        accepted_findings=tuple(accepted),
        accepted_rules=tuple(rule for source in linted.values() for rule in _accepted_rules(source)),
        notes=tuple(notes),
    )


def _read_sources(directory: MigrationDirectory, filenames: Collection[str]) -> list[SourceFile]:
    """The files that can be read; one that is not to be linted and cannot be read is skipped."""
    sources: list[SourceFile] = []
    problems: list[Problem] = []
    for migration in directory.files:
        is_linted = migration.filename in filenames
        try:
            source = read_source(migration, directory.ledger)
        except FilesInvalid as error:
            problems += error.problems if is_linted else ()
        else:
            sources.append(source)
            problems += _allow_problems(source) if is_linted else ()
    if problems:
        raise FilesInvalid(problems)
    return sources


def _check_sources(
    sources: Sequence[SourceFile], linted: Collection[str], column_types: ColumnTypes | None
) -> Iterator[LocatedFinding]:
    """The findings of our own rules, at last those that a later file could have resolved."""
    schema = SchemaState()
    unresolved: list[tuple[SourceFile, int, Action]] = []
    known = column_types
    for source in sources:
        is_linted = source.migration.filename in linted
        if is_linted and known:
            schema.column_types |= known
            known = None
        matches, state = check_file(source, schema, pending=is_linted and column_types is not None)
        yield from (_locate_match(source, index, match) for index, match in matches)
        unresolved += [(source, index, action) for index, action in state.unresolved]
    for source, index, action in unresolved:
        if action.verb == "add foreign key" and not schema.has_index(action.relation, action.columns):
            yield _locate_match(source, index, match_rule("foreign-key-without-index", action))
        # In the newest file it may be the first of two steps.
        pending = "not valid" in action.traits and not schema.is_valid(action.relation, action.name)
        if pending and source is not sources[-1]:
            yield _locate_match(source, index, match_rule("constraint-not-validated", action))


def _psql_command_findings(source: SourceFile) -> Iterator[LocatedFinding]:
    for line in source.psql_command_lines:
        yield _finding_in_file(source.migration, PSQL_COMMAND_RULE, line=line)


def _locate_match(source: SourceFile, index: int, match: RuleMatch) -> LocatedFinding:
    """The finding of a match in the statement `index`, which counts from 0."""
    statement = source.statements[index]
    part, before = statement.part, statement.part.sql[: match.action.begin]
    relation = "" if UNKNOWN_NAME in match.relation else match.relation
    rule = RULES_BY_ID[match.rule]
    message = match.message or rule.condition
    severity = match.severity or rule.severity
    if rule.concerns_running_version and source.migration.phase is Phase.AFTER:
        severity = severity.lowered
    finding = Finding(
        rule=match.rule,
        severity=severity,
        message=f"{relation}: {message}" if relation else message,
        remedy=match.remedy or rule.workaround,
        version=source.migration.version,
        filename=source.migration.filename,
        line=part.line + before.count(b"\n"),
        column=advance_column(statement.column, before),
        offset=part.offset + len(before),
        relation=relation,
    )
    return LocatedFinding(finding=finding, part=part, statement_number=index + 1, first_column=statement.column)


def _finding_in_file(
    migration: Migration, rule_id: str, message: str = "", *, line: int | None = None
) -> LocatedFinding:
    """A finding about the whole file, or about a line that is not part of a statement."""
    rule = RULES_BY_ID[rule_id]
    finding = Finding(
        rule=rule_id,
        severity=rule.severity,
        message=message or rule.condition,
        remedy=rule.workaround,
        version=migration.version,
        filename=migration.filename,
        line=line,
    )
    return LocatedFinding(finding=finding)


_WHOLE_FILE = 0


def _numbered_allows(source: SourceFile) -> Iterator[tuple[int, Allow]]:
    """Each `allow` with the number of its statement, which counts from 1, or _WHOLE_FILE."""
    for allow in source.allows:
        yield _WHOLE_FILE, allow
    for number, statement in enumerate(source.statements, start=1):
        for allow in statement.allows:
            yield number, allow


def _find_allow(source: SourceFile, located: LocatedFinding) -> Allow | None:
    for number, allow in _numbered_allows(source):
        if allow.rule == located.finding.rule and number in (_WHOLE_FILE, located.statement_number):
            return allow
    return None


def _unused_allows(source: SourceFile, used_lines: Collection[int]) -> Iterator[str]:
    """A note for each `allow` without a finding; rules that only a rehearsal checks have none here."""
    for _, allow in _numbered_allows(source):
        if allow.line not in used_lines and RULES_BY_ID[allow.rule].found_in_text:
            yield f"{source.migration.filename}:{allow.line}: allow={allow.rule} has no finding here; remove it"


def _unwritten_files(migration: Migration) -> Iterator[str]:
    """A note for the file, and one for its revert file, that is still as db.new wrote it."""
    for name in (migration.filename, f"{REVERT_FOLDER}/{migration.filename}"):
        path = migration.directory / name
        with suppress(FilesInvalid):  # of the revert file, which db.verify checks
            if path.exists() and parse_script(path, name).unwritten:
                yield f"{name}: {UNWRITTEN}"


def _accepted_rules(source: SourceFile) -> Iterator[AcceptedRule]:
    for number, allow in _numbered_allows(source):
        offset = source.statements[number - 1].part.offset if number else None
        yield AcceptedRule(rule=allow.rule, version=source.migration.version, offset=offset)


def _allow_problems(source: SourceFile) -> Iterator[Problem]:
    """Each `allow` that names no rule, or gives no reason."""
    for _, allow in _numbered_allows(source):
        if allow.rule not in RULES_BY_ID:
            nearest = get_close_matches(allow.rule, RULES_BY_ID, n=1, cutoff=0.5)
            remedy = f"write {nearest[0]}" if nearest else "the rules are in docs/rules.md"
            message = f"-- migrate: allow={allow.rule}: no such rule; {remedy}"
        elif not allow.reason:
            message = f"-- migrate: allow={allow.rule}: the reason is missing; write it after the rule"
        else:
            continue
        yield Problem(message=message, file=source.migration.filename, line=allow.line)
