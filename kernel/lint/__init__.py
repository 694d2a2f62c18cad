"""Hazards told from the text of migrations alone: what may happen. What does happen, a rehearsal measures."""

from __future__ import annotations
