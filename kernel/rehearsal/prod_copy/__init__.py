"""A copy of production: a template database that is restored once and never changed, and disposable clones of it.

The copy lives on a local throwaway server, or on the user's server next to TEST_DB. `open_copy` chooses.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.rehearsal.prod_copy.copy import Clone, ProdCopy
from kernel.rehearsal.prod_copy.local_server import open_local_copy
from kernel.rehearsal.prod_copy.model import CopyRequest, CopyTarget, DatabaseLocale
from kernel.rehearsal.prod_copy.test_db import open_test_db_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.prod_copy.model import Restorer

__all__ = ["Clone", "CopyRequest", "CopyTarget", "DatabaseLocale", "ProdCopy", "open_copy"]


@contextmanager
def open_copy(request: CopyRequest, *, restore: Restorer) -> Iterator[ProdCopy]:
    """The copy of a dump, kept from an earlier rehearsal or restored now by `restore`.

    Raises EnvironmentFailed, UsageError where --yes is missing, LockBusy, and what `restore` raises.
    """
    opened = open_local_copy if request.target.test_db is None else open_test_db_copy
    with opened(request, restore) as copy:
        yield copy
