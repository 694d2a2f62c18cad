"""The schema of a database as a value, and what makes two of them differ, in words."""

from __future__ import annotations
