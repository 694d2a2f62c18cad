"""SQL scripts: split them into statements, and classify the effect of each on its transaction."""

from __future__ import annotations
