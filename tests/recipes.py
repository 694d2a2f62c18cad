"""docs/recipes.md as data: its files, the queries of the application, and the bounds of the table."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/recipes.md"
RUNNING, NEXT = "Running version", "Next version"
# A file or a version of the application: its name in bold, and a fenced block.
_BLOCK = re.compile(
    r"^\*\*(?:`migrations/(?P<file>[^`]+)`|(?P<version>[^*`]+))\*\*"
    r"\n\n```sql\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_ROW = re.compile(r"^\| \[(?P<title>[^]]+)\]\(#(?P<anchor>[^)]+)\) \|(?P<cells>.*)\|$", re.MULTILINE)
_DURATION = re.compile(r"(?P<number>[\d.]+) (?P<unit>ms|s)\b")


@dataclass(kw_only=True)
class Recipe:
    """Files, and the queries of the application: of the version that runs before, and of the one deployed in between.

    `later_queries` is "" where one version of the application runs all the time.
    """

    queries: str
    later_queries: str = ""
    files: dict[str, str] = field(default_factory=dict)

    @property
    def migrations(self) -> tuple[str, ...]:
        """The names of the migrations, without those in revert/ and verify/."""
        return tuple(name for name in self.files if "/" not in name)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The row of a recipe in the table: the number of files, and how long reads and writes are blocked at most.

    `measured_seconds` is the longest that either was blocked in the run that the page shows.
    """

    files: int
    reads_seconds: float
    writes_seconds: float
    measured_seconds: float


@dataclass(frozen=True, kw_only=True)
class Page:
    """The page: what the examples are of, the recipes by their headings, and the rows of the table."""

    given: Recipe
    recipes: dict[str, Recipe]
    bounds: dict[str, Bounds]


def read_page(text: str) -> Page:
    """Parse the page."""
    introduction, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    given = _recipe(introduction, "")
    recipes = {}
    for section in sections:
        heading, _, body = section.partition("\n")
        recipe = _recipe(body, given.queries)
        if recipe.files:
            recipes[heading] = recipe
    bounds = {}
    for row in _ROW.finditer(introduction):
        assert row["anchor"] == row["title"].lower().replace(" ", "-"), row["anchor"]
        files, reads, writes, measured, *_ = (cell.strip() for cell in row["cells"].split("|"))
        assert reads.startswith("< "), reads
        assert writes.startswith("< "), writes
        bounds[row["title"]] = Bounds(
            files=int(files),
            reads_seconds=_seconds(reads),
            writes_seconds=_seconds(writes),
            measured_seconds=_seconds(measured),
        )
    return Page(given=given, recipes=recipes, bounds=bounds)


def _recipe(body: str, queries: str) -> Recipe:
    recipe = Recipe(queries=queries)
    for block in _BLOCK.finditer(body):
        if block["file"]:
            recipe.files[block["file"]] = block["text"]
        elif block["version"] == RUNNING:
            recipe.queries = block["text"]
        else:
            assert block["version"] == NEXT, block["version"]
            recipe.later_queries = block["text"]
    return recipe


def _seconds(cell: str) -> float:
    duration = _DURATION.search(cell)
    assert duration, cell
    return float(duration["number"]) / (1000 if duration["unit"] == "ms" else 1)
