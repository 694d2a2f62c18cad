"""Findings and the verdict, made of what was measured and of the linter's findings. Pure."""

from __future__ import annotations
