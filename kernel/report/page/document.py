"""The page put together: the verdict and its reasons first, then what was measured, then where and with what."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from kernel.report.page import findings, markup, migrations, receipts, suggestion, surroundings, traffic, verdict
from kernel.report.page.markup import tag
from kernel.report.visible import one_line

if TYPE_CHECKING:
    from kernel.rehearsal.result import Rehearsal
    from kernel.report.page.markup import Html

# The page runs nothing and fetches nothing, whatever a name in it says. `data:` is for the icon below, which is empty:
# without one, browsers ask the server for theirs.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def html(rehearsal: Rehearsal) -> str:
    """The whole page, to be written as UTF-8."""
    sections = {
        "reasons": ("Reasons", verdict.reasons(rehearsal)),
        "migrations": ("Migrations", migrations.overview(rehearsal)),
        "timeline": ("Timeline", migrations.each(rehearsal)),
        "safer": ("A safer way", suggestion.safer(rehearsal)),
        "traffic": ("Traffic", traffic.traffic(rehearsal)),
        "data": ("Data", receipts.receipts(rehearsal)),
        "findings": ("Findings", findings.findings(rehearsal)),
        "schema": ("Schema", surroundings.schema(rehearsal)),
        "practices": ("Practices", surroundings.practices(rehearsal)),
        "environment": ("Environment", surroundings.environment(rehearsal)),
    }
    there = {key: (title, section) for key, (title, section) in sections.items() if section}
    return markup.page(
        "en",
        _head(rehearsal),
        tag(
            "body",
            tag("a", "Skip to the reasons", href="#content", class_="skip"),
            verdict.header(rehearsal, [(key, title) for key, (title, _) in there.items()]),
            tag("main", [section for _, section in there.values()], id="content"),
        ),
    )


def _head(rehearsal: Rehearsal) -> Html:
    sheet = resources.files(__package__ or __name__).joinpath("style.css").read_text(encoding="utf-8")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("meta", name_="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{rehearsal.verdict}: rehearsal for {one_line(rehearsal.database)}"),
        markup.style(sheet),
    )
