"""Dumps of production: acquire one, check what it needs, restore it, and cut the copy off from other systems.

acquire_dump gives a dump and its contents: a file of the user's (identify), or a dump of production (production).
check_target_server and create_missing_roles prepare the server that takes the copy (preflight, common.roles).
restore_dump fills an empty database: plain dumps by our own loader (plain), never by psql, as a dump is hostile input;
archives by pg_restore (archive). disable_external_access makes the copy harmless.
"""

from __future__ import annotations

from kernel.rehearsal.dump.acquire import AcquiredDump, DumpRequest, acquire_dump, format_progress, restore_dump
from kernel.rehearsal.dump.common.model import (
    Collation,
    Dump,
    DumpContents,
    DumpFormat,
    DumpProgress,
    ProgressCallback,
    RestoreOutcome,
)
from kernel.rehearsal.dump.common.roles import create_missing_roles
from kernel.rehearsal.dump.disable_external import disable_external_access
from kernel.rehearsal.dump.preflight import (
    TargetServer,
    check_target_server,
    describe_differences,
    estimate_needed_bytes,
    inspect_target_server,
    unavailable_locales,
)

__all__ = [
    "AcquiredDump",
    "Collation",
    "Dump",
    "DumpContents",
    "DumpFormat",
    "DumpProgress",
    "DumpRequest",
    "ProgressCallback",
    "RestoreOutcome",
    "TargetServer",
    "acquire_dump",
    "check_target_server",
    "create_missing_roles",
    "describe_differences",
    "disable_external_access",
    "estimate_needed_bytes",
    "format_progress",
    "inspect_target_server",
    "restore_dump",
    "unavailable_locales",
]
