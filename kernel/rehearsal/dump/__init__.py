"""Dumps of production: acquire one, check what it needs, restore it, and cut the copy off from other systems.

acquire opens a dump and its contents: a file of the user's (identify), or a dump of production (production).
check_target_server and create_missing_roles prepare the server that takes the copy (preflight, common.roles).
Plain dumps are restored by our own loader (plain), never by psql, as a dump is hostile input; archives by pg_restore
(archive). disable_external_access makes the copy harmless.
"""

from __future__ import annotations
