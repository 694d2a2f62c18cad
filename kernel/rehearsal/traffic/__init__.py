"""Traffic: the pending migrations run once more, under sessions that read and write the tables that they lock.

measure    the run, and what it is told as: a Standstill for each relation
load       the sessions, driven by one thread: who asks when, and who is kept waiting
turn       PURE: a probe's place in the round, and whether it was kept waiting
onlooker   who waits for a lock, and not for a processor
caller     one session that asks without blocking
probe      what is asked of a relation: a read and a write that change nothing
reader     a long transaction in front of the migrations
felt       PURE: waits into standstills
"""

from __future__ import annotations
