"""The settings of a local server: for loading a dump, for rehearsing like production, and for returning to the store.

Under the loading settings the rewrite of a table writes no WAL; a rehearsal runs under its own settings, so that the
WAL is counted as production would write it. fsync stays off: the speed of this machine's disk says nothing about
production's, and the data can be restored again.
"""

from __future__ import annotations

import os
from pathlib import Path

MB = 1 << 20
GB = 1 << 30

# The memory limit of a container, of cgroups 2 and 1; without a limit it is "max", or more than the machine has.
CGROUP_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

# Enough for the locks of a migration that touches thousands of partitions.
LOCKS_PER_TRANSACTION = "512"

MAX_CHECKPOINT_TIMEOUT = "1d"  # the longest that checkpoint_timeout can be


def available_memory_bytes() -> int:
    """The memory that this process may use: the machine's, or a container's share of it."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in CGROUP_MEMORY_LIMITS:
        try:
            limits.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # another system, another version of cgroups, or no limit
    return min(limits)


def loading_settings(memory: int) -> dict[str, str]:
    """The fastest way to load a dump on a machine with `memory` bytes; after a crash the dump is restored again.

    More shared buffers would not be read before the restart, and the first use of a buffer takes longer than handing a
    page to the operating system. Foreign keys are checked by hashing the keys in work_mem; compiling that query takes
    longer than it saves.
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
    """Like production, without autovacuum and timed checkpoints, which would disturb the measurements.

    WAL is kept for the tracer to read. maintenance_work_mem and the like are PostgreSQL's defaults, which the settings
    of the dumped database may override.
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
    """The settings of a rehearsal without spare WAL, which would be stored with the data."""
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
