"""Write one migration in place of the older ones, and prove on throwaway servers that it makes the same database."""

from __future__ import annotations

from kernel.squash.squash import Squash, squash_migrations

__all__ = ["Squash", "squash_migrations"]
