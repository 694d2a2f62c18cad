"""Witnesses: what the pending migrations do to a clone while the very code of db.migrate runs them.

rehearse   the run: migrate under witnesses, a Run for each migration
shut       PURE: for how long reads and writes were shut out of each relation
attendant  the Witness of kernel.apply: asks them all, statement by statement
clock      time without the time that the witnesses take themselves
sight      what the migration's own session says of relations: locks, files, counters
lookout    a second session that sees locks come and go while a statement runs
aside      what is asked from another database: sizes, and the log of changes
marks      event triggers that tell of DDL wherever it hides
relations  what is known of relations by their OID
held       locks from when to when, by the session's word and the lookout's
journal    locks that nobody saw, by the log of changes
changes    PURE: rewrites, index rebuilds, scans and writes between two sights
spans      PURE: which locks are worth telling
record     what is noted of a migration until it becomes a Run
wording    how a statement is told, and which there is nothing to see of
"""

from __future__ import annotations
