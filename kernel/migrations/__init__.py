"""Migration files: their names and numbers, checksums and directives, and what each asks of the runner."""

from __future__ import annotations
