"""Local PostgreSQL servers: the development server with persistent data, and throwaway servers.

The package does not depend on Invoke, psycopg or the settings: paths are arguments, and the result is a `Server`.
"""

from __future__ import annotations
