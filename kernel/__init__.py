"""The migration toolkit of the AI-BOS Kernel; tasks.py is its command line."""

from __future__ import annotations
