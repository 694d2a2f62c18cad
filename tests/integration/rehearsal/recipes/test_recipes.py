"""Every recipe of docs/recipes.md, rehearsed and run on a million rows while an application reads and writes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from kernel.lint.finding import Severity
from kernel.migrations.phases import Phase
from tests.recipes import PAGE, read_page

if TYPE_CHECKING:
    from kernel.rehearsal.result import Rehearsal
    from tests.integration.rehearsal.recipes.production import Live, Production
    from tests.recipes import Recipe

# A recipe with a backfill writes the million rows five times.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

THE_PAGE = read_page(PAGE.read_text(encoding="utf-8"))
_ATTEMPTS = 3  # a busy machine makes a wait longer, never shorter
_BOTH_VERSIONS_SECONDS = 0.3
_LONGEST_QUERY_SECONDS = 2.0  # far above what a batch of rows takes, and below what all of them would


@pytest.mark.parametrize("heading", THE_PAGE.recipes)
def test_a_recipe_blocks_the_application_no_longer_than_the_page_says(production: Production, heading: str) -> None:
    bounds, recipe = THE_PAGE.bounds[heading], THE_PAGE.recipes[heading]
    with production.database(f"live_{list(THE_PAGE.recipes).index(heading)}") as live:
        live.put(recipe)
        for attempt in range(_ATTEMPTS):
            began = time.monotonic()
            rehearsal = live.rehearse(recipe)
            reads, writes = blocked_seconds(rehearsal)
            print(  # noqa: T201 - the figures of the page
                f"{heading}: reads {1000 * reads:.0f} ms, writes {1000 * writes:.0f} ms; files "
                f"{sum(run.seconds for run in rehearsal.runs):.1f} s; rehearsed in {time.monotonic() - began:.1f} s"
            )
            harmful = [one for one in rehearsal.findings if one.severity is not Severity.HARMLESS]
            assert not harmful, "\n".join(f"{one.rule} {one.filename}:{one.line} {one.message}" for one in harmful)
            if reads < bounds.reads_seconds and writes < bounds.writes_seconds:
                break
            assert attempt + 1 < _ATTEMPTS, (reads, writes)
        run_release(live, recipe, heading)


def run_release(live: Live, recipe: Recipe, heading: str) -> None:
    """Apply the files of both phases while the application runs, the version of each phase and then both."""
    began = time.monotonic()
    with live.application(recipe.queries) as running:
        before = live.migrate(Phase.BEFORE)
    with live.application(recipe.queries, recipe.later_queries) as both:
        time.sleep(_BOTH_VERSIONS_SECONDS)
    with live.application(recipe.later_queries or recipe.queries) as later:
        after = live.migrate(Phase.AFTER)
    print(  # noqa: T201 - the figures of the page
        f"{heading}: {len(before)} + {len(after)} files in {time.monotonic() - began:.1f} s; longest query "
        f"{1000 * max(running.longest_seconds, later.longest_seconds):.0f} ms of {running.sent} + {later.sent}"
    )
    assert sorted((*before, *after)) == sorted(recipe.migrations)
    assert [*running.errors, *both.errors, *later.errors] == []
    assert running.sent
    assert both.sent
    assert max(running.longest_seconds, later.longest_seconds) < _LONGEST_QUERY_SECONDS


def blocked_seconds(rehearsal: Rehearsal) -> tuple[float, float]:
    """How long reads and writes were blocked, by the locks of the first run and as traffic saw it in the second."""
    reads = [one.reads_seconds for one in rehearsal.blocked] + [one.reads_longest_seconds for one in rehearsal.traffic]
    writes = [one.writes_seconds for one in rehearsal.blocked]
    writes += [one.writes_longest_seconds for one in rehearsal.traffic]
    return max(reads, default=0.0), max(writes, default=0.0)
