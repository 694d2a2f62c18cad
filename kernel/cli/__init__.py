"""The tasks: flags in, text or JSON out, and an exit code."""

from __future__ import annotations
