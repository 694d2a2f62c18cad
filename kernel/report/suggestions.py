"""The text of the suggestions for the terminal: how long each migration and its suggestion block other sessions."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

from kernel.report.safe_text import label_line, labelled_lines, short_name, to_one_line
from kernel.units import format_count, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from kernel.rehearsal.result import BlockedTime, SuggestionResult, SuggestionTrial

Access = Literal["reads", "writes"]
ACCESSES: tuple[Access, Access] = ("reads", "writes")

_MAX_RELATIONS = 3  # of a migration, the longest blocked ones
_MAX_DIFFERENCES = 4
_MAX_REFUSED = 4


class Figure(NamedTuple):
    """A duration in seconds, the JSON pointer (RFC 6901) of the same figure in the document, and its relation."""

    seconds: float
    pointer: str
    relation: str


class ComparedRelation(NamedTuple):
    """How long a relation was blocked at a stretch by the original and by its suggestion, None for never."""

    relation: str
    reads_before: Figure | None
    reads_after: Figure | None
    writes_before: Figure | None
    writes_after: Figure | None


def longest_figure(figures: Iterable[Figure]) -> Figure | None:
    """The longest of durations, None where all are zero."""
    longest = max(figures, key=lambda figure: figure.seconds, default=None)
    return longest if longest and longest.seconds else None


def longest_blocked(
    blocked: Sequence[BlockedTime], access: Access, pointer: str, *, version: str = "", relation: str = ""
) -> Figure | None:
    """The longest time that a relation was blocked, of a version or a relation where one is given; None for never."""
    return longest_figure(
        Figure(getattr(one, f"{access}_seconds"), f"{pointer}/{at}/{access}_seconds", one.relation.name)
        for at, one in enumerate(blocked)
        if version in ("", one.version) and relation in ("", one.relation.name)
    )


def compared_relations(at: int, trial: SuggestionTrial) -> list[ComparedRelation]:
    """A row for each relation that either blocked, those that the original blocked longest first.

    `at` is the place of the trial in the JSON document.
    """
    sides = {"before": trial.blocked_before, "after": trial.blocked_after}
    names = dict.fromkeys(one.relation.name for blocked in sides.values() for one in blocked)
    rows = []
    for name in names:
        reads, writes = (
            [longest_blocked(sides[side], access, f"/suggestions/{at}/{side}", relation=name) for side in sides]
            for access in ACCESSES
        )
        rows.append(ComparedRelation(name, *reads, *writes))
    return sorted(rows, key=lambda row: max(_seconds(row.reads_before), _seconds(row.writes_before)), reverse=True)


def _seconds(figure: Figure | None) -> float:
    return figure.seconds if figure else 0.0


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
        return f"{count} rewritten, which fail: {to_one_line(advice.failure)}"
    if advice.differences:
        return f"{count} rewritten, with another result"
    return f"{count} rewritten, tried on a clone: the same schema and the same rows{_uncompared_clause(advice)}"


def _uncompared_clause(advice: SuggestionResult) -> str:
    """Which values differ in every run and were not compared."""
    if not advice.nondeterministic_values:
        return ""
    first, *others = advice.nondeterministic_values
    more = f", and {format_count(len(others))} more" if others else ""
    return f", except values that differ in every run ({first}{more})"


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
    for row in compared_relations(0, trial)[:_MAX_RELATIONS]:
        changes = [
            f"{access} {format_seconds(_seconds(before))} -> {format_seconds(_seconds(after))}"
            for access, before, after in (
                ("reads", row.reads_before, row.reads_after),
                ("writes", row.writes_before, row.writes_after),
            )
            if before or after
        ]
        yield f"{short_name(row.relation)}: blocked: {', '.join(changes)}"
    if blocks_no_shorter(trial):
        yield "it blocks other sessions no shorter than the original"


def _limited_lines(label: str, sentences: list[str], most: int) -> Iterator[str]:
    for at, sentence in enumerate(sentences[:most]):
        yield from labelled_lines(label if not at else "", to_one_line(sentence), max_lines=2)
    if len(sentences) > most:
        yield from labelled_lines("", f"and {format_count(len(sentences) - most)} more", max_lines=2)
