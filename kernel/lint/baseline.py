"""The baseline of known findings: a file next to the directory of the migrations, by fingerprints.

It lets a gate speak of new findings only: those that it lists are known, and do not fail. It is written sorted and
without the time or lines, so that two runs on the same files write the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kernel.errors import UsageError
from kernel.files import replaceable_file, replacing_file
from kernel.sql.passwords import mask_passwords

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from kernel.lint.lint import LintResult

BASELINE_NAME = "lint-baseline.json"
_FORMAT_VERSION = 1
_KEYS = ("file", "rule", "message", "fingerprint")
_REWRITE = "write it again with: inv db.lint --write-baseline"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class KnownFinding:
    """A finding that was there when the baseline was written; `file` and `message` are for its reader."""

    file: str
    rule: str
    message: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.file}: {self.rule}: {self.message}"


def baseline_path(directory: Path) -> Path:
    """The path of the baseline for a directory of migrations: next to it."""
    return directory.parent / BASELINE_NAME


def read_baseline(path: Path) -> tuple[KnownFinding, ...]:
    """The known findings, () without a file. Raises UsageError with the place for a file that is no baseline."""
    try:
        document = json.loads(replaceable_file(path).read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}; move it away or correct its permissions"
        ) from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}:{error.colno}: no baseline: {error.msg}; {_REWRITE}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: no baseline: not UTF-8 at byte {error.start + 1}; {_REWRITE}") from error
    except (ValueError, RecursionError) as error:  # an integer that is too long, arrays in arrays
        raise UsageError(f"{path}: no baseline: {error}; {_REWRITE}") from error
    if problem := next(_problems_of(document), ""):
        raise UsageError(f"{path}: no baseline: {problem}; {_REWRITE}")
    return tuple(KnownFinding(**{key: one[key] for key in _KEYS}) for one in document["findings"])


def _problems_of(document: Any) -> Iterator[str]:
    if not isinstance(document, dict):
        yield "expected an object"
    elif document.get("version") != _FORMAT_VERSION:
        yield f"version: expected {_FORMAT_VERSION}"
    elif not isinstance(document.get("findings"), list):
        yield "findings: expected an array"
    else:
        for number, one in enumerate(document["findings"]):
            if not isinstance(one, dict):
                yield f"findings[{number}]: expected an object"
                return
            yield from (
                f"findings[{number}].{key}: expected a text" for key in _KEYS if not isinstance(one.get(key), str)
            )


def write_baseline(path: Path, found: LintResult) -> int:
    """Write the findings that the files do not accept as known; return their number. Raises UsageError."""
    known = sorted(
        KnownFinding(
            file=one.finding.filename,
            rule=one.finding.rule,
            message=mask_passwords(one.finding.message),
            fingerprint=one.finding.fingerprint,
        )
        for one in found.findings
    )
    document = {
        "version": _FORMAT_VERSION,
        "findings": [{key: getattr(one, key) for key in _KEYS} for one in known],
    }
    try:
        with replacing_file(path) as file:
            file.write(json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}; move it away or correct its folder") from error
    return len(known)


def without_known(found: LintResult, known: Iterable[KnownFinding]) -> LintResult:
    """The result with the findings of a baseline apart from the others."""
    fingerprints = {one.fingerprint for one in known}
    is_known = [one.finding.fingerprint in fingerprints for one in found.findings]
    return replace(
        found,
        findings=tuple(one for one, known in zip(found.findings, is_known, strict=True) if not known),
        known_findings=tuple(one for one, known in zip(found.findings, is_known, strict=True) if known),
    )


def obsolete_entries(known: Iterable[KnownFinding], everything: LintResult) -> tuple[KnownFinding, ...]:
    """The entries of which every file has no finding any more."""
    found: Collection[str] = {one.finding.fingerprint for one in everything.findings}
    return tuple(one for one in known if one.fingerprint not in found)
