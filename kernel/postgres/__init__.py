"""Local PostgreSQL servers: the development server with persistent data, and throwaway servers.

programs     find postgres and initdb: KERNEL_PG_BINDIR, an installed PostgreSQL, or a wheel
account      the account that a server runs as, and the folders that it can enter
process      start a program as that account, in an environment without secrets
file_lock    file locks, which the system releases when their process ends
cache        copies of programs and templates of new data, created once
initdb       create the data of a cluster and its first database
cluster      a folder with the data of a server: start the server, wait for it, stop it
watchdog     a watchdog for a cluster, across restarts with other settings
development  one server for each checkout, shared by concurrent commands, with persistent data
throwaway    one server for one process, removed with its data when the process ends

The package does not depend on Invoke, psycopg or the settings: paths are arguments, and the result is a `Server`.
"""

from __future__ import annotations
