"""The safer way in the JSON document of db.snapshot-test: `suggestions`, one by one, and the `proof` for all."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from kernel.report.document_parts import seconds, shut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.suggest.suggested import Advice, Refused, Trial
    from kernel.report.documents import Document


def keys(advice: Advice | None) -> Document:
    """Both keys; nothing was tried where `proof` is null, and files without a suggestion stand behind the others."""
    if advice is None:
        return {"suggestions": [], "proof": None}
    tried = {trial.suggested.filename for trial in advice.trials}
    untried = [(name, one) for name, one in advice.refused if name not in tried]
    return {
        "suggestions": [
            *(_trial(trial, proven=advice.proven) for trial in advice.trials),
            *(_untried(name, [one for _, one in group]) for name, group in groupby(untried, key=lambda pair: pair[0])),
        ],
        "proof": {
            "proven": advice.proven,
            "differences": list(advice.differences),
            "fresh": list(advice.fresh),
            "failed": advice.failed or None,
            "seconds": seconds(advice.seconds),
        },
    }


def _trial(trial: Trial, *, proven: bool) -> Document:
    suggested = trial.suggested
    return {
        "version": suggested.version,
        "filename": suggested.filename,
        "files": [file.filename for file in suggested.files],
        "before": [shut(one) for one in trial.shut_before],
        "after": [shut(one) for one in trial.shut_after],
        "proven": proven,
        "leaves": [one.says for one in suggested.leaves],
        "refused": [_refused(one) for one in suggested.refused],
    }


def _untried(filename: str, refused: Sequence[Refused]) -> Document:
    return {
        "version": filename.partition("_")[0],
        "filename": filename,
        "files": [],
        "before": [],
        "after": [],
        "proven": False,
        "leaves": [],
        "refused": [_refused(one) for one in refused],
    }


def _refused(one: Refused) -> Document:
    return {"rule": one.rule, "line": one.line, "reason": one.reason}
