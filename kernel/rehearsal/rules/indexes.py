"""Building, dropping and repairing indexes."""

from __future__ import annotations

from kernel.rehearsal.result import Severity
from kernel.rehearsal.rules.rule import Nature, Rule

RULES = (
    Rule(
        id="create-index-not-concurrently",
        name="Index built under a lock",
        condition="an index is built without CONCURRENTLY on a table that may have rows",
        effect="writes to the table wait (SHARE) until every row is read and the transaction ends",
        workaround="CREATE INDEX CONCURRENTLY, alone in its file",
        severity=Severity.ERROR,
        nature=Nature.BOTH,
        hazards=(1,),
        bad="CREATE INDEX IF NOT EXISTS orders_placed_at_idx ON orders (placed_at);\n",
        good="CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_placed_at_idx ON orders (placed_at);\n",
    ),
    Rule(
        id="drop-index-not-concurrently",
        name="Index dropped under a lock",
        condition="an index is dropped without CONCURRENTLY",
        effect="reads and writes of its table wait (ACCESS EXCLUSIVE) behind every query that runs when it begins",
        workaround="DROP INDEX CONCURRENTLY, alone in its file",
        severity=Severity.ERROR,
        nature=Nature.BOTH,
        hazards=(2,),
        bad="DROP INDEX IF EXISTS users_status_idx;\n",
        good="DROP INDEX CONCURRENTLY IF EXISTS users_status_idx;\n",
    ),
    Rule(
        id="reindex-not-concurrently",
        name="Index rebuilt under a lock",
        condition="REINDEX without CONCURRENTLY",
        effect="writes to the table wait, and reads that would use the index, until it is built anew",
        workaround="REINDEX … CONCURRENTLY, alone in its file",
        severity=Severity.ERROR,
        nature=Nature.BOTH,
        hazards=(3,),
        bad="REINDEX TABLE orders;\n",
        good="REINDEX TABLE CONCURRENTLY orders;\n",
    ),
    Rule(
        id="concurrently-in-transaction",
        name="Statement that cannot run in a transaction",
        condition="a statement that cannot run in a transaction stands among others",
        effect="PostgreSQL refuses it (25001), and the file is refused before anything runs",
        workaround="give it a file of its own, or begin the file with -- migrate: no-transaction",
        severity=Severity.ERROR,
        nature=Nature.STATIC,
        hazards=(4,),
        bad=(
            "ALTER TABLE orders ADD COLUMN IF NOT EXISTS region text;\n"
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_region_idx ON orders (region);\n"
        ),
        good=(
            "-- migrate: no-transaction\n"
            "ALTER TABLE orders ADD COLUMN IF NOT EXISTS region text;\n"
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_region_idx ON orders (region);\n"
        ),
    ),
    Rule(
        id="invalid-index",
        name="Index left invalid",
        condition="an index is INVALID when the migrations are through",
        effect="it costs every write, helps no query, and IF NOT EXISTS takes it for the finished one",
        workaround="REINDEX INDEX CONCURRENTLY, once the rows in its way are gone",
        severity=Severity.ERROR,
        nature=Nature.DYNAMIC,
        hazards=(5,),
        given="CREATE TABLE events (id bigint) PARTITION BY RANGE (id);\n"
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (1000);\n",
        bad="CREATE INDEX IF NOT EXISTS events_id_idx ON ONLY events (id);\n",
        good="CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS users_email_key ON users (email);\n",
    ),
    Rule(
        id="plan-regression",
        name="Query became dear",
        condition="a query of the application has a plan at least five times dearer than before",
        effect="what was fast is slow from the moment the migration commits",
        workaround="keep the index that it used until another serves it, and ANALYZE what was rewritten",
        severity=Severity.ERROR,
        nature=Nature.DYNAMIC,
        hazards=(44,),
        given="INSERT INTO orders (user_id, total) SELECT n % 1000 + 1, n FROM generate_series(1, 20000) AS n;\n"
        "ANALYZE orders;\n",
        queries="SELECT id, total FROM orders WHERE user_id = $1;\n",
        bad="DROP INDEX CONCURRENTLY IF EXISTS orders_user_id_idx;\n",
        good="CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_user_placed_idx ON orders (user_id, placed_at);\n",
    ),
)
