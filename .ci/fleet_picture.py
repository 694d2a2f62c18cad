"""Draw a run of fleet.migrate from its journal: python .ci/fleet_picture.py .kernel/fleet/RUN.jsonl docs/fleet-run.svg.

Each row is a place for a target at a time, each bar a target from its start to its end.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path

WIDTH, LEFT, ROW, TOP = 960, 20, 26, 64
COLORS = {
    "applied": "#2da44e",
    "current": "#8c959f",
    "failed": "#cf222e",
    "drift": "#bf8700",
    "unreachable": "#6e7781",
    "timed_out": "#8250df",
}
OTHER = "#57606a"
STYLE = "font-family:ui-sans-serif,system-ui,sans-serif;font-size:13px"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A target: seconds from the start of the run, its row and state."""

    target: str
    state: str
    begin: float
    end: float
    row: int


def read_run(path: Path) -> tuple[list[Bar], list[tuple[str, float]]]:
    """The bars of a journal, and its waves with the seconds at which they began."""
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    first = datetime.fromisoformat(events[0]["at"])
    running: dict[str, tuple[float, int]] = {}
    bars, waves = [], []
    for event in events:
        at = (datetime.fromisoformat(event["at"]) - first).total_seconds()
        if event["event"] == "wave":
            waves.append((f"wave {event['wave']}, {event['targets']} targets", at))
        elif event["event"] == "started":
            taken = {row for _, row in running.values()}
            running[event["target"]] = at, next(row for row in range(len(taken) + 1) if row not in taken)
        elif event["event"] == "ended":
            begin, row = running.pop(event["target"])
            bars.append(Bar(target=event["target"], state=event["state"], begin=begin, end=at, row=row))
    return bars, waves


def draw(bars: list[Bar], waves: list[tuple[str, float]]) -> str:
    """The picture as SVG."""
    seconds = max(bar.end for bar in bars)
    rows = max(bar.row for bar in bars) + 1
    bottom = TOP + rows * ROW
    scale = (WIDTH - 2 * LEFT) / seconds
    states = {state: sum(bar.state == state for bar in bars) for state in dict.fromkeys(bar.state for bar in bars)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 56}" style="{STYLE}" role="img">',
        f"<title>{len(bars)} targets in {seconds:.1f} seconds</title>",
        f'<rect width="{WIDTH}" height="{bottom + 56}" fill="#ffffff"/>',
    ]
    for number, (name, at) in enumerate(waves):
        x, y = LEFT + at * scale, TOP - 44 + 18 * (number % 2)  # two lines, as waves may follow each other closely
        parts.append(f'<line x1="{x:.1f}" y1="{y - 12}" x2="{x:.1f}" y2="{bottom}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{x + 4:.1f}" y="{y}" fill="#1f2328">{escape(name)}</text>')
    for bar in bars:
        x, width = LEFT + bar.begin * scale, max(1.5, (bar.end - bar.begin) * scale - 1)
        color = COLORS.get(bar.state, OTHER)
        title = f"{bar.target}: {bar.state.replace('_', ' ')}, {bar.end - bar.begin:.2f} s"
        parts.append(
            f'<rect x="{x:.1f}" y="{TOP + bar.row * ROW}" width="{width:.1f}" height="{ROW - 6}" rx="2" fill="{color}">'
            f"<title>{escape(title)}</title></rect>"
        )
    for number in range(int(seconds) + 1):
        if seconds < 30 or number % 5 == 0:  # noqa: PLR2004 - room for a label each second
            x = LEFT + number * scale
            parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" fill="#57606a" font-size="11">{number} s</text>')
    x = LEFT
    for state, count in states.items():
        label = f"{count} {state.replace('_', ' ')}"
        parts.append(
            f'<rect x="{x}" y="{bottom + 32}" width="12" height="12" rx="2" fill="{COLORS.get(state, OTHER)}"/>'
        )
        parts.append(f'<text x="{x + 18}" y="{bottom + 43}" fill="#1f2328">{escape(label)}</text>')
        x += 40 + 8 * len(label)
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw(*read_run(Path(sys.argv[1]))), encoding="utf-8")
