"""Values into text: the terminal, JSON."""

from __future__ import annotations
