"""Render the page of a rehearsal from the templates in `templates/`: page.html.j2, and a file for each section."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from kernel.lint.lock_modes import blocked_commands
from kernel.report.html_page.filters import TEXT_FILTERS, fits_inline
from kernel.report.html_page.lanes import number_locks
from kernel.report.html_page.timeline import (
    lock_kind,
    magnification,
    run_timeline,
    timeline_seconds,
    to_percent,
    trial_timelines,
)
from kernel.report.html_page.views import (
    count_findings,
    harmless_findings,
    longest_wait,
    message_parts,
    receipts_by_touched,
    refused_without_suggestion,
    serious_findings,
    statement_of,
    summarize_rows,
)
from kernel.report.rehearsal import summarize_findings, summarize_reasons
from kernel.report.safe_text import show_hidden_characters, to_one_line
from kernel.report.suggestions import blocks_no_shorter, compared_relations, longest_blocked

if TYPE_CHECKING:
    from kernel.rehearsal.result import Rehearsal

_FUNCTIONS = (
    blocked_commands,
    blocks_no_shorter,
    compared_relations,
    count_findings,
    fits_inline,
    harmless_findings,
    lock_kind,
    magnification,
    longest_blocked,
    longest_wait,
    message_parts,
    number_locks,
    receipts_by_touched,
    refused_without_suggestion,
    run_timeline,
    serious_findings,
    statement_of,
    summarize_findings,
    summarize_reasons,
    summarize_rows,
    timeline_seconds,
    to_percent,
    trial_timelines,
)


def render_page(rehearsal: Rehearsal) -> str:
    """The whole page, to be written as UTF-8.

    Every value is escaped by Jinja2, and characters that do not show are made visible by `_visible`, in text and in
    attributes; a name that a template misspells raises jinja2.UndefinedError.
    """
    return _environment().get_template("page.html.j2").render(rehearsal=rehearsal) + "\n"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kernel.report.html_page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters |= TEXT_FILTERS | {"one_line": to_one_line}
    environment.globals |= {function.__name__: function for function in _FUNCTIONS}
    return environment


def _visible(value: object) -> object:
    """A value of a template as text to escape: nothing for None, hidden characters shown, line breaks kept."""
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Markup):
        return show_hidden_characters(value.replace("\r\n", "\n"), keep="\n\t")
    return value
