"""Tracing: what the pending migrations do to a clone while `db.migrate` runs them, statement by statement."""

from __future__ import annotations
