"""The practices of the specification put to the test: safe to re-run, reverts, backward compatible."""

from __future__ import annotations
