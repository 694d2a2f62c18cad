"""A rehearsal as one HTML file that needs nothing else: no network, no script, no font, no picture."""

from __future__ import annotations
