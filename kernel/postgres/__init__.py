"""PostgreSQL servers of our own: the development server that keeps its data, and throwaway servers that never do.

programs     find postgres and initdb: KERNEL_PG_BINDIR, an installed PostgreSQL, or a wheel
account      as whom a server runs, and which folders that account can reach
process      start a program as that account, with an environment that holds no secrets
locks        locks on files that die with their process
cache        things worth making once: copies of programs, templates of fresh data
postmaster   what a running server says about itself
cluster      one folder of data: make it, start it, wait for it, stop it
guard        a watchdog over a cluster, across restarts with other settings
development  one server for a checkout, shared by commands, its data kept
throwaway    one server for one process, which neither it nor its data outlives

Nothing here knows Invoke, psycopg or the settings: paths come in as arguments, and a `Server` comes out.
"""

from __future__ import annotations
