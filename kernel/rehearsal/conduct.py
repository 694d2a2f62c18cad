"""A rehearsal from the dump to the verdict: copy it, then take the course."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.rehearsal import among, course, obtain, origin

if TYPE_CHECKING:
    from kernel.files.migration import Migration
    from kernel.rehearsal.result import Rehearsal
    from kernel.rehearsal.wish import Telling, Wish


def rehearse(found: tuple[Migration, ...], wish: Wish, telling: Telling) -> Rehearsal:
    """Rehearse what is pending in the copied database; a Rehearsal without runs when nothing is.

    Raises what reading files raises (FilesInvalid), Drift, Unrecorded, UsageError, and EnvironmentFailed for
    everything that concerns the dump and the servers. However it ends, nothing of the copy stays but what is kept.
    """
    began = time.monotonic()
    if wish.dump is None and wish.prod_db:
        obtain.refuse(wish)
    asked = among.queries(wish)  # what is wrong with them should not be found after a restore
    with origin.found(wish, telling) as its_origin, obtain.copied(its_origin, wish, telling) as copy:
        rehearsal = course.rehearsed(found, copy, its_origin.source, wish, telling, asked=asked)
    named = its_origin.contents.database or its_origin.source.name
    return replace(rehearsal, database=named, seconds=time.monotonic() - began)
