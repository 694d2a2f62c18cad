"""For how long a suggestion shuts others out, beside its original."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from textwrap import wrap
from typing import TYPE_CHECKING

from kernel.report.safe_text import shorten_end, shorten_middle, to_one_line
from kernel.units import format_count, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kernel.rehearsal.result import BlockedTime, SuggestionResult, SuggestionTrial


@dataclass(frozen=True, slots=True, kw_only=True)
class LongestBlocked:
    """The longest stretches of a relation in seconds, and at which places of what was given they stand."""

    reads: float = 0.0
    writes: float = 0.0
    reads_index: int = 0
    writes_index: int = 0

    @property
    def longest_seconds(self) -> float:
        """The longer one of both."""
        return max(self.reads, self.writes)


def longest_blocked_by_relation(shut: Sequence[BlockedTime]) -> dict[str, LongestBlocked]:
    """By relation, through all of the files."""
    found: dict[str, LongestBlocked] = {}
    for place, one in enumerate(shut):
        known = found.get(one.relation.name, LongestBlocked())
        if one.reads_seconds > known.reads:
            known = replace(known, reads=one.reads_seconds, reads_index=place)
        if one.writes_seconds > known.writes:
            known = replace(known, writes=one.writes_seconds, writes_index=place)
        found[one.relation.name] = known
    return found


def blocks_no_shorter(trial: SuggestionTrial) -> bool:
    """Whether the suggestion shuts reads and writes out as long as the original does, in its worst moment."""
    before, after = (longest_blocked_by_relation(shut).values() for shut in (trial.blocked_before, trial.blocked_after))
    return all(
        max((seconds(one) for one in after), default=0.0) >= max((seconds(one) for one in before), default=0.0)
        for seconds in (attrgetter("reads"), attrgetter("writes"))
    )


# The text of what is suggested, for the terminal: for each migration how long it shut whom out, and now does.
#
# Plain text. What came with a dump or a migration is made visible, so that no name can move the cursor.


SUGGESTIONS_COLUMNS = 100
_LABEL_COLUMNS = 11  # as wide as the margin of a rehearsal's text
_NAME_COLUMNS = 34
_MAX_RELATIONS = 3  # of a migration, the longest shut ones
_MAX_DIFFERENCES = 4
_MAX_REFUSED = 4


def suggestions_text(advice: SuggestionResult, *, folder: Path | None = None) -> str:
    """Lines of at most 100 columns, without a newline at the end; "" where there is nothing to tell.

    `folder` is where the files were written.
    """
    return "\n".join(_suggestions_lines(advice, folder))


def _suggestions_lines(advice: SuggestionResult, folder: Path | None) -> Iterator[str]:
    if advice.trials:
        yield from _labelled_lines("suggested", _proof_sentence(advice))
    for trial in advice.trials:
        yield from _suggestion_lines(trial)
    yield from _limited_lines("", [f"differs: {line}" for line in advice.differences], _MAX_DIFFERENCES)
    refused = [f"{_short_name(name)}:{one.line or 1}: {one.rule}: {one.reason}" for name, one in advice.refused]
    yield from _limited_lines("not", refused, _MAX_REFUSED)
    if folder is not None and advice.trials:
        yield f"{'files':{_LABEL_COLUMNS}}{to_one_line(str(folder))}"  # never cut: it is there to be copied


def _proof_sentence(advice: SuggestionResult) -> str:
    count = format_quantity(len(advice.trials), "migration")
    if advice.failure:
        return f"{count} written anew, which fail: {to_one_line(advice.failure)}"
    if advice.differences:
        return f"{count} written anew, which do not come to the same end"
    return f"{count} written anew, tried on a clone: the same schema and the same rows{_uncompared_clause(advice)}"


def _uncompared_clause(advice: SuggestionResult) -> str:
    """What could not be compared."""
    if not advice.nondeterministic_values:
        return ""
    more = (
        f", and {format_count(len(advice.nondeterministic_values) - 1)} more"
        if len(advice.nondeterministic_values) > 1
        else ""
    )
    return f", but for what is another in every run ({advice.nondeterministic_values[0]}{more})"


def _suggestion_lines(trial: SuggestionTrial) -> Iterator[str]:
    suggested = trial.suggestion
    files = format_quantity(len(suggested.files), "file")
    yield from _labelled_lines(
        "", f"{_short_name(suggested.filename)} -> {files} from {suggested.files[0].filename} on"
    )
    for sentence in _blocked_sentences(trial):
        yield from _labelled_lines("", f"  {sentence}")
    for leftover in suggested.leftovers:
        yield from _labelled_lines("", f"  left: {to_one_line(leftover.description)}")


def _blocked_sentences(trial: SuggestionTrial) -> Iterator[str]:
    """The relations that were shut, with both figures; those of the suggestion are the longest stretches."""
    before, after = longest_blocked_by_relation(trial.blocked_before), longest_blocked_by_relation(trial.blocked_after)
    nothing = LongestBlocked(reads=0.0, writes=0.0)
    worst = sorted({**before, **after}, key=lambda name: before.get(name, nothing).longest_seconds, reverse=True)
    for name in worst[:_MAX_RELATIONS]:
        was, now = before.get(name, nothing), after.get(name, nothing)
        told = [
            f"{who} {format_seconds(before_)} -> {format_seconds(after_)}"
            for who, before_, after_ in (("reads", was.reads, now.reads), ("writes", was.writes, now.writes))
            if before_ or after_
        ]
        yield f"{_short_name(name)}: shut out: {', '.join(told)}"
    if blocks_no_shorter(trial):
        yield "it shuts others out no shorter than the original"


def _limited_lines(label: str, sentences: list[str], most: int) -> Iterator[str]:
    for place, sentence in enumerate(sentences[:most]):
        yield from _labelled_lines(label if not place else "", to_one_line(sentence))
    if len(sentences) > most:
        yield from _labelled_lines("", f"and {format_count(len(sentences) - most)} more")


def _short_name(name: str) -> str:
    return shorten_middle(to_one_line(name), _NAME_COLUMNS)


def _labelled_lines(label: str, said: str) -> list[str]:
    """A label at the margin and a sentence beside it, in two lines at most."""
    room = SUGGESTIONS_COLUMNS - _LABEL_COLUMNS
    indent = " " * (len(said) - len(said.lstrip()))
    lines = wrap(said.strip(), room - len(indent), break_on_hyphens=False)
    lines = [*lines[:1], *([" ".join(lines[1:])] if lines[1:] else [])]
    return [
        f"{label if not at else '':{_LABEL_COLUMNS}}{indent}{shorten_end(line, room)}" for at, line in enumerate(lines)
    ]
