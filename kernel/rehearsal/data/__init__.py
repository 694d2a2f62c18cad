"""Changes of rows: the tables that a migration touched, in the clone and in the template database.

Only temporary tables are written, in the clone.
"""

from __future__ import annotations
