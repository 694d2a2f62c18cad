"""Values as text for the terminal, as JSON, Markdown, SARIF, annotations of GitHub and as an HTML page."""

from __future__ import annotations
