"""The text of the suggestions for the terminal: how long each migration and its suggestion block other sessions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from kernel.report.safe_text import label_line, labelled_lines, short_name, to_one_line
from kernel.units import format_count, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kernel.rehearsal.result import BlockedTime, SuggestionResult, SuggestionTrial

_MAX_RELATIONS = 3  # of a migration, the longest blocked ones
_MAX_DIFFERENCES = 4
_MAX_REFUSED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LongestBlocked:
    """The longest times in seconds for which a relation was blocked, with their places in the sequence of times."""

    reads: float = 0.0
    writes: float = 0.0
    reads_index: int = 0
    writes_index: int = 0

    @property
    def longest_seconds(self) -> float:
        """The longer one of both."""
        return max(self.reads, self.writes)


def longest_blocked_by_relation(blocked: Sequence[BlockedTime]) -> dict[str, LongestBlocked]:
    """The longest times by the name of the relation, through all of the files."""
    longest: dict[str, LongestBlocked] = {}
    for at, one in enumerate(blocked):
        known = longest.get(one.relation.name, LongestBlocked())
        if one.reads_seconds > known.reads:
            known = replace(known, reads=one.reads_seconds, reads_index=at)
        if one.writes_seconds > known.writes:
            known = replace(known, writes=one.writes_seconds, writes_index=at)
        longest[one.relation.name] = known
    return longest


def blocks_no_shorter(trial: SuggestionTrial) -> bool:
    """Whether the suggestion blocks both reads and writes at least as long as the original, in its worst moment."""
    return all(
        max(map(seconds, trial.blocked_after), default=0.0) >= max(map(seconds, trial.blocked_before), default=0.0)
        for seconds in (attrgetter("reads_seconds"), attrgetter("writes_seconds"))
    )


def suggestions_text(advice: SuggestionResult, *, folder: Path | None = None) -> str:
    """Lines of at most 100 columns, without a newline at the end; "" where nothing is suggested or refused.

    `folder` is where the suggested files were written.
    """
    return "\n".join(_suggestions_lines(advice, folder))


def _suggestions_lines(advice: SuggestionResult, folder: Path | None) -> Iterator[str]:
    if advice.trials:
        yield from labelled_lines("suggested", _proof_sentence(advice), max_lines=2)
    for trial in advice.trials:
        yield from _trial_lines(trial)
    yield from _limited_lines("", [f"differs: {line}" for line in advice.differences], _MAX_DIFFERENCES)
    refused = [f"{short_name(name)}:{one.line or 1}: {one.rule}: {one.reason}" for name, one in advice.refused]
    yield from _limited_lines("not", refused, _MAX_REFUSED)
    if folder is not None and advice.trials:
        yield label_line("files", to_one_line(str(folder)))


def _proof_sentence(advice: SuggestionResult) -> str:
    count = format_quantity(len(advice.trials), "migration")
    if advice.failure:
        return f"{count} written anew, which fail: {to_one_line(advice.failure)}"
    if advice.differences:
        return f"{count} written anew, which do not come to the same end"
    return f"{count} written anew, tried on a clone: the same schema and the same rows{_uncompared_clause(advice)}"


def _uncompared_clause(advice: SuggestionResult) -> str:
    """Which values differ in every run and were not compared."""
    if not advice.nondeterministic_values:
        return ""
    first, *others = advice.nondeterministic_values
    more = f", and {format_count(len(others))} more" if others else ""
    return f", but for what is another in every run ({first}{more})"


def _trial_lines(trial: SuggestionTrial) -> Iterator[str]:
    suggestion = trial.suggestion
    files = format_quantity(len(suggestion.files), "file")
    sentences = [
        f"{short_name(suggestion.filename)} -> {files} from {suggestion.files[0].filename} on",
        *(f"  {sentence}" for sentence in _blocked_sentences(trial)),
    ]
    for sentence in sentences:
        yield from labelled_lines("", sentence, max_lines=2)


def _blocked_sentences(trial: SuggestionTrial) -> Iterator[str]:
    """A sentence for each relation with the times before and after, those that the original blocks longest first."""
    before, after = longest_blocked_by_relation(trial.blocked_before), longest_blocked_by_relation(trial.blocked_after)
    none = LongestBlocked()
    order = sorted({**before, **after}, key=lambda name: before.get(name, none).longest_seconds, reverse=True)
    for name in order[:_MAX_RELATIONS]:
        old, new = before.get(name, none), after.get(name, none)
        changes = [
            f"{access} {format_seconds(old_seconds)} -> {format_seconds(new_seconds)}"
            for access, old_seconds, new_seconds in (
                ("reads", old.reads, new.reads),
                ("writes", old.writes, new.writes),
            )
            if old_seconds or new_seconds
        ]
        yield f"{short_name(name)}: shut out: {', '.join(changes)}"
    if blocks_no_shorter(trial):
        yield "it shuts others out no shorter than the original"


def _limited_lines(label: str, sentences: list[str], most: int) -> Iterator[str]:
    for at, sentence in enumerate(sentences[:most]):
        yield from labelled_lines(label if not at else "", to_one_line(sentence), max_lines=2)
    if len(sentences) > most:
        yield from labelled_lines("", f"and {format_count(len(sentences) - most)} more", max_lines=2)
