"""The golden copy of production, which nobody changes, and its clones, which are migrated.

opening   the copy as one value: `with golden.opened(wish, restore=…) as copy:`, then `copy.clone(…)`
wish      what to copy, and where to
own       on a throwaway server of our own, tuned for loading first, then like production
given     on the user's server, beside TEST_DB
store     the golden copies that are kept between rehearsals
slot      one of them: its lock, its mark, what is known of it
memo      the digests of dumps that have been read before
filling   make a golden copy: empty, filled by the restorer, sealed
place     the server and the names there
clone     databases from databases
carry     settings and privileges, which a template does not pass on
shared    roles and all else that clones have in common
identity  whether two connections reach one database
content   whether a database holds anything
mark      which databases on a server of others are ours
tuning    the settings of a server that loads, rehearses, or is put away
boot      which start of the machine this is
"""

from __future__ import annotations

from kernel.rehearsal.prod_copy.copy import Clone, ProdCopy, open_copy
from kernel.rehearsal.prod_copy.model import CopyRequest, DatabaseLocale, ProtectedDatabase

__all__ = ["Clone", "CopyRequest", "DatabaseLocale", "ProdCopy", "ProtectedDatabase", "open_copy"]
