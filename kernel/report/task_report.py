"""The value that Markdown, SARIF and GitLab's format are made of: what a task checked, its verdict and its findings.

A task that has `--format` returns a TaskReport; each format is one module that takes it. Texts are as they came from a
file, a dump or a server: each format escapes them for itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.errors import Drift, FilesInvalid
from kernel.lint.fingerprint import FingerprintCounter
from kernel.lint.rules import Severity
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.errors import KernelError, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRule:
    """What findings of one kind have in common. `id` is stable; `effect`, `remedy` and the examples may be ""."""

    id: str
    name: str
    condition: str
    severity: Severity = Severity.ERROR
    effect: str = ""
    remedy: str = ""
    bad: str = ""
    good: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFinding:
    """A finding and its place. `file` is a POSIX path from the top of the repository, "" for none.

    `line` and `column` (characters) count from 1. `subject` is what the finding is about within its file, the same in
    every run: kernel.lint.fingerprint makes the fingerprint of it. `excerpt` are lines of the file to show.
    """

    rule: ReportRule
    severity: Severity
    message: str
    remedy: str = ""
    file: str = ""
    line: int | None = None
    column: int | None = None
    excerpt: str = ""
    subject: str = ""
    fingerprint: str = ""

    @property
    def place(self) -> str:
        """The file with line and column, as far as they are known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part) if self.file else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTable:
    """A table of figures; its first column are names. `more` says what is left out on purpose, "" for nothing."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """What a task reports. `scope` is a sentence about what was checked, and `files` are the files that it means.

    `verdict` is a sentence with the counts. `findings` are in the order to show them in, the worst first. `directory`
    is the path of the migrations from the top of the repository: the place of a finding without a file. A report that
    is not `completed` is about an error that ended the task.
    """

    task: str
    failed: bool
    scope: str
    verdict: str
    directory: str
    files: tuple[str, ...] = ()
    tables: tuple[ReportTable, ...] = ()
    findings: tuple[ReportFinding, ...] = ()
    notes: tuple[str, ...] = ()
    completed: bool = True


def with_fingerprints(findings: Iterable[ReportFinding]) -> tuple[ReportFinding, ...]:
    """The findings, each with a fingerprint; those that have one keep it."""
    listed = list(findings)
    counter = FingerprintCounter(one.fingerprint for one in listed if one.fingerprint)
    return tuple(
        one
        if one.fingerprint
        else replace(one, fingerprint=counter.next_fingerprint(one.rule.id, one.file, one.subject))
        for one in listed
    )


def join_path(directory: str, filename: str) -> str:
    """The path of a file of the migrations, from the top of the repository; "" without a name."""
    return f"{directory}/{filename}" if filename and directory not in ("", ".") else filename


_DIGITS = re.compile(r"[0-9]+")


def problem_finding(
    problem: Problem, rule: ReportRule, directory: str, *, subject: str | None = None, excerpt: str = ""
) -> ReportFinding:
    """A problem of a file as a finding. Its subject is its message without the numbers of lines, files and dates."""
    message, _, remedy = problem.message.rpartition("; ")
    return ReportFinding(
        rule=rule,
        severity=rule.severity,
        message=message or problem.message,
        remedy=remedy if message else "",
        file=join_path(directory, problem.file or ""),
        line=problem.line,
        column=problem.column,
        excerpt=excerpt,
        subject=_DIGITS.sub("", problem.message) if subject is None else subject,
    )


def error_report(error: KernelError, task: str, directory: str) -> TaskReport:
    """The report about an error that ended the task: a finding for each of its problems, else one for itself."""
    name = error.code.replace("_", " ")
    rule = ReportRule(id=error.code, name=name.capitalize(), condition=name)
    if isinstance(error, FilesInvalid | Drift):
        findings = [problem_finding(one, rule, directory) for one in error.problems]
    else:
        messages = [str(one) for one in error.problems] or [str(error)]
        findings = [
            ReportFinding(rule=rule, severity=rule.severity, message=one, remedy=error.hint or "", subject=rule.id)
            for one in messages
        ]
    return TaskReport(
        task=task,
        failed=True,
        completed=False,
        scope="the task ended with an error before it could report more",
        verdict=format_quantity(len(findings), "error"),
        directory=directory,
        findings=with_fingerprints(findings),
    )
