"""The implementation of the tasks: parse flags, print text or JSON, return an exit code."""

from __future__ import annotations
