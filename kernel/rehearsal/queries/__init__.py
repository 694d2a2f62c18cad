"""The application's own queries, before and after the migrations: which break, which change, which become dear.

corpus     what --queries names, read
query      a query, and reading queries from a file
statistics reading them from production's pg_stat_statements
watch      a session that prepares them before, and looks at them again after each migration
desk       one query in that session: prepared, explained, executed where that is harmless
change     PURE: what became of a query, and the findings that say so
"""

from __future__ import annotations
