"""A task's report as Markdown for a comment on a pull request: GitHub's flavour, which GitLab reads too.

Names and messages may come from a dump, and the comment is written by an account that may do more than their author:
they become text without structure, links, HTML, mentions of users or references to issues. Sources: GitHub Flavored
Markdown Spec, "Code spans", "Tables (extension)", "Autolinks (extension)", "Entity and numeric character references".
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from kernel.lint.rules import Severity
from kernel.report.safe_text import shorten_middle, show_hidden_characters, to_one_line
from kernel.sql.passwords import mask_passwords
from kernel.units import clip_text, format_count, format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.report.task_report import ReportFinding, ReportTable, TaskReport

# GitHub refuses a comment of more than 65,536 characters; the rest is for what a workflow adds.
MAX_CHARACTERS = 65_000
_TABLE_CHARACTERS = 12_000  # of each table, so that findings have room
_FILES_CHARACTERS = 4_000
_NOTE_CHARACTERS = 2_000
_ENDING_CHARACTERS = 2_000  # room for the names of what is cut
_MESSAGE_CHARACTERS = 1_500
_SENTENCE_CHARACTERS = 500  # of the scope, the verdict and a cell of a table
_NAME_COLUMNS = 120
_EXCERPT_LINES = 12

_SEVERITY_WORDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HARMLESS: "remark"}
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
# What means nothing in Markdown where a sentence or a name has it, and makes no link: a colon only before a blank.
_PLAIN_PUNCTUATION = re.compile(r"[,;()'?%=/-]|:(?= |$)|(?<!www)\.|(?<=[A-Za-z0-9])_(?=[A-Za-z0-9])", re.IGNORECASE)
# What begins a list, a rule or a heading where it begins a text, which may follow the mark of a list item itself.
_BLOCK_START = re.compile(r"^(?P<number>[0-9]*)(?P<mark>[-=.)])")
# GitHub and GitLab look for mentions and references in the text that is shown, after entities are decoded.
_REFERENCE = re.compile(r"[@#!$%&~^](?=\S)|(?<![A-Za-z0-9])GH-(?=[0-9])", re.IGNORECASE)
_ZERO_WIDTH_SPACE = "&#8203;"


def markdown_text(report: TaskReport) -> str:
    """The report in fewer than MAX_CHARACTERS characters, without a newline at its end; what is cut is named."""
    head = [f"### {report.task}: {'failed' if report.failed else 'passed'}", _scope_line(report)]
    head.append(f"**{'FAIL' if report.failed else 'PASS'}** {escape_sentence(report.verdict)}")
    blocks = [*head, *filter(None, map(_table_block, report.tables))]
    if report.notes:
        blocks.append(_fit_lines([f"- {escape_sentence(one)}" for one in report.notes], _NOTE_CHARACTERS, "note"))
    if report.findings:
        room = MAX_CHARACTERS - _ENDING_CHARACTERS - sum(len(block) + 2 for block in blocks)
        blocks += ["#### Findings", *_finding_blocks(report.findings, room)]
    return "\n\n".join(blocks)


def escape_name(name: str) -> str:
    """A name as a code span: in it nothing is a link, a mention, HTML or markup. Safe in a cell of a table too."""
    shown = shorten_middle(to_one_line(name), _NAME_COLUMNS)
    if not shown:
        return ""
    if set(shown).isdisjoint("`|\\"):
        return f"`{shown}`"
    return f"<code>{_PUNCTUATION.sub(_entity, shown)}</code>"


def escape_sentence(text: str, characters: int = _SENTENCE_CHARACTERS) -> str:
    """A sentence that may contain names, as text without markup, on one line, cut after so many characters."""
    shown = clip_text(to_one_line(mask_passwords(text)), characters)
    pieces, at = [], 0
    for found in _REFERENCE.finditer(shown):
        pieces += [_escape_punctuation(shown[at : found.end()], shown[found.end() :]), _ZERO_WIDTH_SPACE]
        at = found.end()
    escaped = "".join([*pieces, _escape_punctuation(shown[at:])])
    return _BLOCK_START.sub(lambda found: f"{found['number']}&#{ord(found['mark'])};", escaped)


def _escape_punctuation(text: str, rest: str = "") -> str:
    whole = text + rest[:1]
    return "".join(
        one if not _PUNCTUATION.match(one) or _PLAIN_PUNCTUATION.match(whole, at) else f"&#{ord(one)};"
        for at, one in enumerate(text)
    )


def _entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


def _scope_line(report: TaskReport) -> str:
    scope = escape_sentence(report.scope)
    if not report.files:
        return scope
    names: list[str] = []
    for name in map(escape_name, report.files):
        if sum(len(one) + 2 for one in names) + len(name) > _FILES_CHARACTERS:
            break
        names.append(name)
    more = len(report.files) - len(names)
    return f"{scope}: {', '.join(names)}" + (f" and {format_count(more)} more" if more else "")


def _table_block(table: ReportTable) -> str:
    """The title and the rows; of a table without rows only what is left out on purpose, "" for nothing."""
    if not table.rows:
        return escape_sentence(table.more)
    lines = [f"**{table.title}**", "", f"| {' | '.join(table.header)} |"]
    lines.append(f"|---|{'---:|' * (len(table.header) - 1)}")
    kept = 0
    used = sum(map(len, lines))
    for row in table.rows:
        name, *figures = row
        line = f"| {' | '.join([escape_name(name), *map(escape_sentence, figures)])} |"
        used += len(line) + 1
        if used > _TABLE_CHARACTERS:
            break
        lines.append(line)
        kept += 1
    cut = f"not shown: {format_quantity(len(table.rows) - kept, 'more row')}" if kept < len(table.rows) else ""
    ending = "; ".join(filter(None, (table.more, cut)))
    return "\n".join([*lines, *(["", escape_sentence(ending)] if ending else [])])


def _finding_blocks(findings: Sequence[ReportFinding], room: int) -> Iterable[str]:
    """An item for each finding as far as there is room, then the number of those cut, by rule."""
    items: list[str] = []
    for at, one in enumerate(findings):
        item = _finding_item(one)
        room -= len(item) + 1
        if room < 0:
            return ["\n".join(items), _cut_line(findings[at:])] if items else [_cut_line(findings)]
        items.append(item)
    return ["\n".join(items)]


def _finding_item(finding: ReportFinding) -> str:
    place = f" {escape_name(finding.place)}" if finding.place else ""
    lines = [
        f"- **{_SEVERITY_WORDS[finding.severity]}**{place} {escape_sentence(finding.message, _MESSAGE_CHARACTERS)}"
    ]
    if finding.remedy:
        lines.append(f"  <br>instead: {escape_sentence(finding.remedy, _MESSAGE_CHARACTERS)}")
    lines.append(f"  <br>rule: {escape_name(finding.rule.id)}")
    if finding.excerpt:
        lines += ["", *(f"  {line}" for line in _fenced(finding.excerpt)), ""]
    return "\n".join(lines)


def _fenced(text: str) -> list[str]:
    """A block of code; its fence is longer than any in the text."""
    shown = [clip_text(show_hidden_characters(line, keep="\t"), _NAME_COLUMNS) for line in text.split("\n")]
    shown = shown[:_EXCERPT_LINES]
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", "\n".join(shown))), default=0))
    return [f"{fence}{'diff' if text.startswith('@@ ') else 'sql'}", *shown, fence]


def _cut_line(cut: Sequence[ReportFinding]) -> str:
    counts = Counter(one.rule.id for one in cut)
    named = ", ".join(f"{format_count(number)} {escape_name(rule)}" for rule, number in counts.most_common(20))
    return f"not shown: {format_quantity(len(cut), 'more finding')} ({named}); --json has all of them"


def _fit_lines(lines: Sequence[str], room: int, word: str) -> str:
    kept: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            return "\n".join([*kept, f"- not shown: {format_quantity(len(lines) - len(kept), f'more {word}')}"])
        kept.append(line)
    return "\n".join(kept)
