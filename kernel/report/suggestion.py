"""The text of what is suggested, for the terminal: for each migration how long it shut whom out, and now does.

Plain text. What came with a dump or a migration is made visible, so that no name can move the cursor.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from kernel import units
from kernel.report.shut_out import Longest, longest, no_shorter
from kernel.report.visible import clipped, one_line, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.rehearsal.suggest.suggested import Advice, Trial

COLUMNS = 100
_LABEL = 11  # as wide as the margin of a rehearsal's text
_NAME = 34
_RELATIONS = 3  # of a migration, the longest shut ones
_DIFFERENCES = 4
_REFUSED = 4


def text(advice: Advice, *, folder: Path | None = None) -> str:
    """Lines of at most 100 columns, without a newline at the end; "" where there is nothing to tell.

    `folder` is where the files were written.
    """
    return "\n".join(_lines(advice, folder))


def _lines(advice: Advice, folder: Path | None) -> Iterator[str]:
    if advice.trials:
        yield from _block("suggested", _verdict(advice))
    for trial in advice.trials:
        yield from _trial(trial)
    yield from _listed("", [f"differs: {line}" for line in advice.differences], _DIFFERENCES)
    refused = [f"{_named(name)}:{one.line or 1}: {one.rule}: {one.reason}" for name, one in advice.refused]
    yield from _listed("not", refused, _REFUSED)
    if folder is not None and advice.trials:
        yield f"{'files':{_LABEL}}{one_line(str(folder))}"  # never cut: it is there to be copied


def _verdict(advice: Advice) -> str:
    count = units.several(len(advice.trials), "migration")
    if advice.failed:
        return f"{count} written anew, which fail: {one_line(advice.failed)}"
    if advice.differences:
        return f"{count} written anew, which do not come to the same end"
    return f"{count} written anew, tried on a clone: the same schema and the same rows{_but(advice)}"


def _but(advice: Advice) -> str:
    """What could not be compared."""
    if not advice.fresh:
        return ""
    more = f", and {units.count(len(advice.fresh) - 1)} more" if len(advice.fresh) > 1 else ""
    return f", but for what is another in every run ({advice.fresh[0]}{more})"


def _trial(trial: Trial) -> Iterator[str]:
    suggested = trial.suggested
    files = units.several(len(suggested.files), "file")
    yield from _block("", f"{_named(suggested.filename)} -> {files} from {suggested.files[0].filename} on")
    for sentence in _told(trial):
        yield from _block("", f"  {sentence}")
    for leftover in suggested.leaves:
        yield from _block("", f"  left: {one_line(leftover.says)}")


def _told(trial: Trial) -> Iterator[str]:
    """The relations that were shut, with both figures; those of the suggestion are the longest stretches."""
    before, after = longest(trial.shut_before), longest(trial.shut_after)
    nothing = Longest(reads=0.0, writes=0.0)
    worst = sorted({**before, **after}, key=lambda name: before.get(name, nothing).most, reverse=True)
    for name in worst[:_RELATIONS]:
        was, now = before.get(name, nothing), after.get(name, nothing)
        told = [
            f"{who} {units.seconds(before_)} -> {units.seconds(after_)}"
            for who, before_, after_ in (("reads", was.reads, now.reads), ("writes", was.writes, now.writes))
            if before_ or after_
        ]
        yield f"{_named(name)}: shut out: {', '.join(told)}"
    if no_shorter(trial):
        yield "it shuts others out no shorter than the original"


def _listed(label: str, sentences: list[str], most: int) -> Iterator[str]:
    for place, sentence in enumerate(sentences[:most]):
        yield from _block(label if not place else "", one_line(sentence))
    if len(sentences) > most:
        yield from _block("", f"and {units.count(len(sentences) - most)} more")


def _named(name: str) -> str:
    return shortened(one_line(name), _NAME)


def _block(label: str, said: str) -> list[str]:
    """A label at the margin and a sentence beside it, in two lines at most."""
    room = COLUMNS - _LABEL
    indent = " " * (len(said) - len(said.lstrip()))
    lines = wrap(said.strip(), room - len(indent), break_on_hyphens=False)
    lines = [*lines[:1], *([" ".join(lines[1:])] if lines[1:] else [])]
    return [f"{label if not at else '':{_LABEL}}{indent}{clipped(line, room)}" for at, line in enumerate(lines)]
