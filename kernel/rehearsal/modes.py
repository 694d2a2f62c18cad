"""The modes of table locks, what each shuts out, and what it is called.

Source: PostgreSQL documentation, "Explicit Locking", table of conflicting lock modes.
"""

from __future__ import annotations

# From the weakest to the strongest, by the names of pg_locks; people know them by the names of LOCK TABLE.
NAMES = {
    "AccessShareLock": "ACCESS SHARE",
    "RowShareLock": "ROW SHARE",
    "RowExclusiveLock": "ROW EXCLUSIVE",
    "ShareUpdateExclusiveLock": "SHARE UPDATE EXCLUSIVE",
    "ShareLock": "SHARE",
    "ShareRowExclusiveLock": "SHARE ROW EXCLUSIVE",
    "ExclusiveLock": "EXCLUSIVE",
    "AccessExclusiveLock": "ACCESS EXCLUSIVE",
}
STRENGTH = {name: rank for rank, name in enumerate(NAMES.values())}

# The commands of an application, by the weakest mode that keeps each of them waiting.
_SHUT_OUT = (
    ("SELECT", ("ACCESS EXCLUSIVE",)),
    ("SELECT FOR UPDATE", ("EXCLUSIVE", "ACCESS EXCLUSIVE")),
    *(
        (command, ("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"))
        for command in ("INSERT", "UPDATE", "DELETE")
    ),
    ("VACUUM", ("SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE")),
)


def blocks(mode: str) -> tuple[str, ...]:
    """The commands that wait while somebody holds `mode` on their table."""
    return tuple(command for command, modes in _SHUT_OUT if mode in modes)


def shuts_out_reads(mode: str) -> bool:
    """Whether a plain SELECT waits for it."""
    return "SELECT" in blocks(mode)


def shuts_out_writes(mode: str) -> bool:
    """Whether INSERT, UPDATE and DELETE wait for it."""
    return "INSERT" in blocks(mode)


def strongest(modes: tuple[str, ...]) -> str:
    """The strongest of several modes, "" of none."""
    return max(modes, key=STRENGTH.__getitem__, default="")
