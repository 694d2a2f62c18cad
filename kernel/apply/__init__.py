"""Carrying a plan out: messages and batches, transactions and steps, and what to do when a statement fails."""

from __future__ import annotations
