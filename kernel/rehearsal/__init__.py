"""Rehearse migrations: restore a copy of production, migrate it under observation, compare data and schema.

    rehearsal = rehearse(migrations, RehearsalRequest(dump=Path("production.dump")), Reporter())

Other packages import from here; the values of a Rehearsal are in kernel.rehearsal.result.
"""

from __future__ import annotations

# Not imported lazily: a submodule of the same name would take the place of the function, and no other task imports
# this package.
from kernel.rehearsal.prod_copy import CopyTarget
from kernel.rehearsal.rehearse import rehearse
from kernel.rehearsal.request import RehearsalRequest, Reporter
from kernel.rehearsal.restore import forget_kept_copies
from kernel.rehearsal.result import Limits, Rehearsal

__all__ = [
    "CopyTarget",
    "Limits",
    "Rehearsal",
    "RehearsalRequest",
    "Reporter",
    "forget_kept_copies",
    "rehearse",
]
