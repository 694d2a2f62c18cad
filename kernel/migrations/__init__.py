"""Migration files: names, version numbers, checksums and directives, and the mode in which each file runs."""

from __future__ import annotations
