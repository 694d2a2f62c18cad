"""A rehearsal as one HTML file without scripts, fonts, pictures or network access, made from Jinja2 templates."""

from __future__ import annotations
