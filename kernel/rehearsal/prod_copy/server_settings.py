"""The settings of a server of our own: for loading a dump, for rehearsing like production, and for being put away.

Under the settings for loading, a rewrite of a table writes no WAL at all; a rehearsal therefore runs under others, and
counts what production would write. fsync stays off: how fast this machine's disk is says nothing about production's,
and the data can be had again.
"""

from __future__ import annotations

import os
from pathlib import Path

MB = 1 << 20
GB = 1 << 30

# Where a container's limit stands, of cgroups 2 and 1; without a limit it is "max", or more than there is.
CGROUP_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

# Enough for every lock of a migration that goes through thousands of partitions.
LOCKS_PER_TRANSACTION = "512"

MAX_CHECKPOINT_TIMEOUT = "1d"  # the longest that checkpoint_timeout can be


def available_memory_bytes() -> int:
    """The memory that this process may use: the machine's, or a container's share of it."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in CGROUP_MEMORY_LIMITS:
        try:
            found.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # another system, another version of cgroups, or no limit
    return min(found)


def loading_settings(memory: int) -> dict[str, str]:
    """The fastest way to fill a server with `memory` bytes: a crash would cost nothing but the time to do it again.

    More shared buffers would be read no more before the restart, and to touch one for the first time takes longer than
    to hand a page to the operating system. Foreign keys are checked by hashing the keys, in work_mem; to compile the
    check takes longer than it saves.
    """
    return {
        **_common_settings(memory),
        "shared_buffers": _clamped_megabytes(memory // 8, least=128, most=256),
        "work_mem": _clamped_megabytes(memory // 64, least=4, most=128),
        "jit": "off",
        "wal_init_zero": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "maintenance_work_mem": _clamped_megabytes(memory // 16, least=64, most=512),
        "max_wal_size": "8GB",
    }


def rehearsal_settings(memory: int) -> dict[str, str]:
    """Like production, but for what would come between the measurements: autovacuum and checkpoints of its own.

    WAL is kept for as long as the witnesses want to read it. maintenance_work_mem and the like are PostgreSQL's
    defaults, which the settings of the dumped database may override.
    """
    return {
        **_common_settings(memory),
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "wal_level": "replica",
        "max_wal_senders": "10",
        "wal_keep_size": "4GB",
        "max_wal_size": "16GB",
        "track_counts": "on",
    }


def storage_settings(memory: int) -> dict[str, str]:
    """The settings of practice, but none of its WAL is kept: it would lie in the store beside the data."""
    return {**rehearsal_settings(memory), "wal_keep_size": "0", "min_wal_size": "32MB", "max_wal_size": "32MB"}


def _common_settings(memory: int) -> dict[str, str]:
    return {
        "fsync": "off",
        "autovacuum": "off",
        "checkpoint_timeout": MAX_CHECKPOINT_TIMEOUT,
        "shared_buffers": _clamped_megabytes(memory // 8, least=128, most=2048),
        "max_connections": "100",
        "max_locks_per_transaction": LOCKS_PER_TRANSACTION,
    }


def _clamped_megabytes(size_bytes: int, *, least: int, most: int) -> str:
    return f"{min(max(size_bytes // MB, least), most)}MB"
