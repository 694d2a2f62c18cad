"""What became of the rows: the tables that a migration touched, compared with the golden copy.

catalog -> touched -> compare (sources, hashes, buckets, spread, batches, listing) -> receipt, in the order of check.
What the files mean to do is read by declared and brought to the tables by expected. sanity and violations count the
rows that stand in the way of constraints. Nothing here writes to the golden copy, and to the clone only temporary
tables.
"""

from __future__ import annotations
