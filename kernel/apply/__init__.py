"""Apply migrations: messages and batches, transactions, files outside of a transaction, errors of statements."""

from __future__ import annotations
