"""Values as text for the terminal, as JSON, as annotations of GitHub and as an HTML page."""

from __future__ import annotations
