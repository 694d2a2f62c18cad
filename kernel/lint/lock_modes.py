"""Table lock modes: names, strength, and the commands that each blocks.

Source: PostgreSQL documentation, "Explicit Locking", table of conflicting lock modes.
"""

from __future__ import annotations

# From the weakest to the strongest: the name in pg_locks, the name in LOCK TABLE.
LOCK_MODE_NAMES = {
    "AccessShareLock": "ACCESS SHARE",
    "RowShareLock": "ROW SHARE",
    "RowExclusiveLock": "ROW EXCLUSIVE",
    "ShareUpdateExclusiveLock": "SHARE UPDATE EXCLUSIVE",
    "ShareLock": "SHARE",
    "ShareRowExclusiveLock": "SHARE ROW EXCLUSIVE",
    "ExclusiveLock": "EXCLUSIVE",
    "AccessExclusiveLock": "ACCESS EXCLUSIVE",
}
LOCK_MODE_STRENGTH = {name: rank for rank, name in enumerate(LOCK_MODE_NAMES.values())}

# For each mode the weakest one that conflicts with it. The stronger ones all do, but that SHARE goes with itself.
_WEAKEST_CONFLICT = {
    "ACCESS SHARE": "ACCESS EXCLUSIVE",
    "ROW SHARE": "EXCLUSIVE",
    "ROW EXCLUSIVE": "SHARE",
    "SHARE UPDATE EXCLUSIVE": "SHARE UPDATE EXCLUSIVE",
    "SHARE": "ROW EXCLUSIVE",
    "SHARE ROW EXCLUSIVE": "ROW EXCLUSIVE",
    "EXCLUSIVE": "ROW SHARE",
    "ACCESS EXCLUSIVE": "ACCESS SHARE",
}

# The commands of an application, each with the modes that block it.
_BLOCKING_MODES = (
    ("SELECT", ("ACCESS EXCLUSIVE",)),
    ("SELECT FOR UPDATE", ("EXCLUSIVE", "ACCESS EXCLUSIVE")),
    *(
        (command, ("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"))
        for command in ("INSERT", "UPDATE", "DELETE")
    ),
    ("VACUUM", ("SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE")),
)


def blocked_commands(mode: str) -> tuple[str, ...]:
    """The commands that wait while another session holds `mode` on their table."""
    return tuple(command for command, modes in _BLOCKING_MODES if mode in modes)


def modes_conflict(one: str, other: str) -> bool:
    """Whether two sessions cannot hold these modes on one table at the same time."""
    if one == other == "SHARE":
        return False
    return LOCK_MODE_STRENGTH[other] >= LOCK_MODE_STRENGTH[_WEAKEST_CONFLICT[one]]


def blocks_reads(mode: str) -> bool:
    """Whether a plain SELECT waits for it."""
    return "SELECT" in blocked_commands(mode)


def blocks_writes(mode: str) -> bool:
    """Whether INSERT, UPDATE and DELETE wait for it."""
    return "INSERT" in blocked_commands(mode)


def strongest_lock_mode(modes: tuple[str, ...]) -> str:
    """The strongest of several modes, "" of none."""
    return max(modes, key=LOCK_MODE_STRENGTH.__getitem__, default="")
