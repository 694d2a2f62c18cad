"""Which migrations another tool has applied: files and the records of its ledger side by side."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.migrations.adopt import adopted_source
from kernel.migrations.migration import parse_filename
from kernel.migrations.scaffold import words_in_snake_case

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from kernel.migrations.migration import Migration
    from kernel.migrations.tool_records import LedgerFormat, ToolRecord


class Proof(StrEnum):
    """Whether the tool's ledger shows that a file is what was applied, as in JSON."""

    PROVEN = "proven"
    NOT_KEPT = "not kept"
    DIFFERENT = "different"


class MatchedBy(StrEnum):
    """How a file and a record were brought together, as in JSON."""

    HEADER = "header"
    NUMBER = "number"
    NAME = "name"
    ORDER = "order"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMatch:
    """A migration and the record that says it was applied; `record` is None for a pending one."""

    migration: Migration
    record: ToolRecord | None = None
    matched_by: MatchedBy | None = None
    proof: Proof | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolMatches:
    """All files with their records, in order, and what keeps them from being recorded."""

    files: tuple[FileMatch, ...]
    problems: tuple[Problem, ...]

    @property
    def applied(self) -> tuple[Migration, ...]:
        """The files that the tool has applied."""
        return tuple(one.migration for one in self.files if one.record)

    @property
    def out_of_order(self) -> tuple[Migration, ...]:
        """The pending files before an applied one."""
        newest = max((one.number for one in self.applied), default=0)
        return tuple(one.migration for one in self.files if not one.record and one.migration.number < newest)


def match_records(
    migrations: Sequence[Migration], records: Sequence[ToolRecord], known: LedgerFormat, ledger: str
) -> ToolMatches:
    """Match files with the records of `ledger`, a table's name. Raises OSError when a file cannot be read."""
    sources = {one: _key_in_header(one, known) for one in migrations}
    keys = {key: one for one, key in sources.items() if key is not None}
    matches: dict[Migration, FileMatch] = {}
    problems = []
    baselines = []
    for record in records:
        if record.failure:
            problems.append(Problem(message=f"{ledger}: {record.failure}"))
        found, matched_by = (keys.get(record.key), MatchedBy.HEADER) if keys else _by_number_or_name(migrations, record)
        if found and not record.is_mark:
            matches[found] = FileMatch(
                migration=found, record=record, matched_by=matched_by, proof=_proof(found, record)
            )
        if record.covers_older and record.is_mark and not keys:
            baselines.append((record, found))
        elif record.covers_older:
            _cover(matches, _older(migrations, sources, record, found), record)
        if not (found or record.is_mark or record.failure):
            problems.append(_no_file(record, known, ledger))
    for baseline, found in baselines:  # after all records: their matches show whether versions are numbers of files
        older = _older_without_headers(migrations, matches, baseline, found)
        if older is None and not baseline.failure:
            problems.append(_undecided(baseline, ledger))
        _cover(matches, older or (), baseline)
    return ToolMatches(
        files=tuple(matches.get(one, FileMatch(migration=one)) for one in migrations), problems=tuple(problems)
    )


def _cover(matches: dict[Migration, FileMatch], older: Sequence[Migration], record: ToolRecord) -> None:
    """Add the files that count as applied by a later record, without those that have one of their own."""
    for one in older:
        covered = FileMatch(migration=one, record=record, matched_by=MatchedBy.ORDER, proof=Proof.NOT_KEPT)
        matches.setdefault(one, covered)


def _undecided(baseline: ToolRecord, ledger: str) -> Problem:
    return Problem(
        message=(
            f"{ledger}: a baseline at {baseline.version}, and no header says which files are before it; "
            "record them with: inv db.baseline --to VERSION"
        )
    )


def _no_file(record: ToolRecord, known: LedgerFormat, ledger: str) -> Problem:
    return Problem(
        message=(
            f"{ledger}: {known.name} has applied {record.label}, and no file corresponds to it; "
            f"write one that says so in its header: -- Description: adopted from {known.name}: FILE"
        )
    )


def _key_in_header(migration: Migration, known: LedgerFormat) -> Hashable | None:
    """The key of the file that the migration was adopted from, None where its header does not name the tool."""
    adopted = adopted_source(migration.path)
    if adopted is None or adopted[0] not in (known.name, *known.adopted_as):
        return None
    return known.key(adopted[1])


def _by_number_or_name(
    migrations: Sequence[Migration], record: ToolRecord
) -> tuple[Migration | None, MatchedBy | None]:
    """The only file of the record's number or name; both have to agree where the record has both."""
    slug = words_in_snake_case(record.name)
    of_name = [one for one in migrations if slug and _description(one) == slug]
    of_number = [one for one in migrations if record.number is not None and one.number == record.number]
    if of_number and (not slug or of_number[0] in of_name):
        return of_number[0], MatchedBy.NUMBER
    if len(of_name) == 1:
        return of_name[0], MatchedBy.NAME
    return None, None


def _description(migration: Migration) -> str:
    parsed = parse_filename(migration.filename)
    return parsed[1] if parsed else ""


def _older(
    migrations: Sequence[Migration],
    sources: dict[Migration, Hashable | None],
    record: ToolRecord,
    found: Migration | None,
) -> tuple[Migration, ...]:
    """The files that were applied before the one of the record; without one, those with an earlier key."""
    if found:
        return _up_to(migrations, found.number)
    if not record.is_mark:
        return ()
    return tuple(one for one in migrations if _is_before(sources[one], record.key))


def _older_without_headers(
    migrations: Sequence[Migration],
    matches: dict[Migration, FileMatch],
    baseline: ToolRecord,
    found: Migration | None,
) -> tuple[Migration, ...] | None:
    """The files up to a baseline by its number, or up to the one of its name, `found`; None where that is undecided.

    The tool's versions are not the numbers of the files when the baseline's is none or is beyond the newest file, or
    when a record has a file by its name alone. Then files before that of a record after the baseline are undecided.
    """
    newest = max((one.number for one in migrations), default=0)
    by_name = any(one.matched_by is MatchedBy.NAME for one in matches.values())
    if baseline.number is not None and baseline.number <= newest and not by_name:
        first, last = sorted((baseline.number, found.number if found else baseline.number))
        decided = all(one in matches for one in migrations if first < one.number <= last)
        return _up_to(migrations, baseline.number) if decided else None
    if found:
        return _up_to(migrations, found.number)
    after = [one.migration.number for one in matches.values() if one.record and _is_after(one.record, baseline)]
    first_after = min(after, default=newest + 1)
    return None if any(one not in matches and one.number < first_after for one in migrations) else ()


def _up_to(migrations: Sequence[Migration], number: int) -> tuple[Migration, ...]:
    return tuple(one for one in migrations if one.number <= number)


def _is_after(record: ToolRecord, baseline: ToolRecord) -> bool:
    return not _is_before(record.key, baseline.key)


def _is_before(key: Hashable | None, other: Hashable) -> bool:
    return isinstance(key, tuple) and isinstance(other, tuple) and key <= other


def _proof(migration: Migration, record: ToolRecord) -> Proof:
    match record.is_of(migration.path.read_bytes()):
        case None:
            return Proof.NOT_KEPT
        case True:
            return Proof.PROVEN
        case _:
            return Proof.DIFFERENT
