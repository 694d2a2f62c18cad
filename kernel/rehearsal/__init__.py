"""Rehearsals: restore a copy of production, migrate it under watch, compare the data, judge."""

from __future__ import annotations
