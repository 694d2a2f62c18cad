"""Indexes and constraints: building, adding, validating, dropping."""

from __future__ import annotations

from kernel.lint.rules.rule import NEXT_FILE_LINE, Detection, Rule, Severity

INDEX_RULES = (
    Rule(
        id="create-index-not-concurrently",
        name="Index built under a lock",
        condition="an index is built without CONCURRENTLY on a table that may have rows",
        effect="writes to the table wait (SHARE) until every row is read and the transaction ends",
        workaround="CREATE INDEX CONCURRENTLY, alone in its file",
        bad="CREATE INDEX IF NOT EXISTS orders_placed_at_idx ON orders (placed_at);\n",
        good="CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_placed_at_idx ON orders (placed_at);\n",
    ),
    Rule(
        id="drop-index-not-concurrently",
        name="Index dropped under a lock",
        condition="an index is dropped without CONCURRENTLY",
        effect="reads and writes of its table wait (ACCESS EXCLUSIVE) for every query that is running when it starts",
        workaround="DROP INDEX CONCURRENTLY, alone in its file",
        bad="DROP INDEX IF EXISTS users_status_idx;\n",
        good="DROP INDEX CONCURRENTLY IF EXISTS users_status_idx;\n",
    ),
    Rule(
        id="reindex-not-concurrently",
        name="Index rebuilt under a lock",
        condition="REINDEX without CONCURRENTLY",
        effect="writes to the table wait, and reads that would use the index, until it is rebuilt",
        workaround="REINDEX … CONCURRENTLY, alone in its file",
        bad="REINDEX TABLE orders;\n",
        good="REINDEX TABLE CONCURRENTLY orders;\n",
    ),
    Rule(
        id="concurrently-in-transaction",
        name="Statement that cannot run in a transaction",
        condition="a statement that cannot run in a transaction is mixed with others",
        effect="PostgreSQL refuses it (25001), and the file is refused before anything runs",
        workaround="give it a file of its own, or begin the file with -- migrate: no-transaction",
        detection=Detection.STATIC,
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
        condition="an index is INVALID after the migrations",
        effect="it costs every write, helps no query, and IF NOT EXISTS takes it for the finished one",
        workaround="REINDEX INDEX CONCURRENTLY, once the rows that prevent it are corrected",
        detection=Detection.DYNAMIC,
        setup="CREATE TABLE events (id bigint) PARTITION BY RANGE (id);\n"
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (1000);\n",
        bad="CREATE INDEX IF NOT EXISTS events_id_idx ON ONLY events (id);\n",
        good="CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS users_email_key ON users (email);\n",
    ),
    Rule(
        id="plan-regression",
        name="Query became expensive",
        condition="the plan of a query of the application costs at least five times as much as before",
        effect="the query is slow from the moment the migration commits",
        workaround="keep the index that it used until another serves it, and ANALYZE what was rewritten",
        detection=Detection.DYNAMIC,
        setup="INSERT INTO orders (user_id, total) SELECT n % 1000 + 1, n FROM generate_series(1, 20000) AS n;\n"
        "ANALYZE orders;\n",
        queries="SELECT id, total FROM orders WHERE user_id = $1;\n",
        bad="DROP INDEX CONCURRENTLY IF EXISTS orders_user_id_idx;\n",
        good="CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_user_placed_idx ON orders (user_id, placed_at);\n",
    ),
)


_PARTITIONED_TABLE = """\
ALTER TABLE users ADD CONSTRAINT users_email_present CHECK (email IS NOT NULL) NOT VALID;
-- next file
ALTER TABLE users VALIDATE CONSTRAINT users_email_present;
"""

CONSTRAINT_RULES = (
    Rule(
        id="check-validated-under-lock",
        name="CHECK validated under a lock",
        condition="a CHECK constraint is added without NOT VALID to a table that may have rows",
        effect="reads and writes wait (ACCESS EXCLUSIVE) until every row is checked",
        workaround="add it NOT VALID, and VALIDATE CONSTRAINT in a later file",
        bad="ALTER TABLE users ADD CONSTRAINT users_age_adult CHECK (age >= 18);\n",
        good=(
            "ALTER TABLE users ADD CONSTRAINT users_age_adult CHECK (age >= 18) NOT VALID;\n"
            "-- next file\n"
            "ALTER TABLE users VALIDATE CONSTRAINT users_age_adult;\n"
        ),
    ),
    Rule(
        id="foreign-key-validated-under-lock",
        name="Foreign key validated under a lock",
        condition="a foreign key is added without NOT VALID to a table that may have rows",
        effect="writes to both tables wait (SHARE ROW EXCLUSIVE) until every row has found its parent",
        workaround="add it NOT VALID, and VALIDATE CONSTRAINT in a later file",
        bad="ALTER TABLE orders ADD CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id);\n",
        good=(
            "ALTER TABLE orders ADD CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id)"
            " NOT VALID;\n"
            "-- next file\n"
            "ALTER TABLE orders VALIDATE CONSTRAINT orders_user_id_fkey;\n"
        ),
    ),
    Rule(
        id="foreign-key-locks-parent",
        name="New column with a foreign key locks the parent",
        condition="a column with REFERENCES is added to a table that is in use",
        effect="reads of the table and writes to the parent wait together until the transaction ends",
        workaround="add the column; then the foreign key NOT VALID; then VALIDATE CONSTRAINT, each in its file",
        bad="ALTER TABLE orders ADD COLUMN IF NOT EXISTS payer_id bigint REFERENCES users (id);\n",
        good=(
            "ALTER TABLE orders ADD COLUMN IF NOT EXISTS payer_id bigint;\n"
            "-- next file\n"
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_payer_id_idx ON orders (payer_id);\n"
            "-- next file\n"
            "ALTER TABLE orders ADD CONSTRAINT orders_payer_fkey FOREIGN KEY (payer_id) REFERENCES users NOT VALID;\n"
            "-- next file\n"
            "ALTER TABLE orders VALIDATE CONSTRAINT orders_payer_fkey;\n"
        ),
    ),
    Rule(
        id="foreign-key-without-index",
        name="Foreign key without an index",
        condition="no index begins with the columns of a foreign key",
        effect="every DELETE in the parent, and every UPDATE of its key, reads the whole table",
        workaround="CREATE INDEX CONCURRENTLY on the columns, before the foreign key",
        severity=Severity.HARMLESS,
        bad=(
            "ALTER TABLE orders ADD COLUMN IF NOT EXISTS payer_id bigint;\n"
            "ALTER TABLE orders ADD CONSTRAINT orders_payer_fkey FOREIGN KEY (payer_id) REFERENCES users NOT VALID;\n"
        ),
        good="ALTER TABLE orders ADD CONSTRAINT orders_user_fkey FOREIGN KEY (user_id) REFERENCES users NOT VALID;\n",
    ),
    Rule(
        id="validate-in-same-transaction",
        name="Constraint validated in the transaction that adds it",
        condition="VALIDATE CONSTRAINT runs in the transaction that added the constraint NOT VALID",
        effect="the lock of ADD CONSTRAINT is held while every row is checked: NOT VALID has no use",
        workaround="move VALIDATE CONSTRAINT to the next file",
        bad=_PARTITIONED_TABLE.replace(NEXT_FILE_LINE, ""),
        good=_PARTITIONED_TABLE,
    ),
    Rule(
        id="constraint-not-validated",
        name="Constraint never validated",
        condition="a constraint was added NOT VALID and no later file validates it",
        effect="existing rows may violate it, and the planner cannot rely on it",
        workaround="VALIDATE CONSTRAINT in a later file, once the query finds no violating rows",
        severity=Severity.HARMLESS,
        bad=(
            "ALTER TABLE users ADD CONSTRAINT users_email_present CHECK (email IS NOT NULL) NOT VALID;\n"
            "-- next file\n"
            "ALTER TABLE orders ADD COLUMN IF NOT EXISTS region text;\n"
        ),
        good=_PARTITIONED_TABLE,
    ),
    Rule(
        id="unique-builds-index-under-lock",
        name="UNIQUE or PRIMARY KEY builds its index under a lock",
        condition="UNIQUE or PRIMARY KEY is added to a table that may have rows, without USING INDEX",
        effect="reads and writes wait (ACCESS EXCLUSIVE) until the index is built",
        workaround="CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … UNIQUE USING INDEX in the next file",
        bad="ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE (email);\n",
        good=(
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS users_email_key ON users (email);\n"
            "-- next file\n"
            "ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE USING INDEX users_email_key;\n"
        ),
    ),
    Rule(
        id="primary-key-sets-not-null",
        name="PRIMARY KEY USING INDEX scans for NULL",
        condition="PRIMARY KEY USING INDEX makes a nullable column NOT NULL",
        effect="reads and writes wait (ACCESS EXCLUSIVE) until every row is checked for NULL",
        workaround="prove NOT NULL first by a validated CHECK, then SET NOT NULL, then add the primary key",
        detection=Detection.DYNAMIC,
        setup="CREATE TABLE tags AS SELECT n AS id FROM generate_series(1, 1000) AS n;\n"
        "CREATE UNIQUE INDEX tags_id_key ON tags (id);\n",
        bad="ALTER TABLE tags ADD CONSTRAINT tags_pkey PRIMARY KEY USING INDEX tags_id_key;\n",
        good=(
            "ALTER TABLE tags ADD CONSTRAINT tags_id_present CHECK (id IS NOT NULL) NOT VALID;\n"
            "-- next file\n"
            "ALTER TABLE tags VALIDATE CONSTRAINT tags_id_present;\n"
            "-- next file\n"
            "ALTER TABLE tags ALTER COLUMN id SET NOT NULL;\n"
            "ALTER TABLE tags ADD CONSTRAINT tags_pkey PRIMARY KEY USING INDEX tags_id_key;\n"
        ),
    ),
    Rule(
        id="exclusion-constraint",
        name="EXCLUDE builds its index under a lock",
        condition="an EXCLUDE constraint is added to a table that may have rows",
        effect="reads and writes wait (ACCESS EXCLUSIVE) until the index is built; it cannot be built concurrently",
        workaround="declare it with CREATE TABLE, or plan a time without traffic and accept it with -- migrate: allow",
        bad="ALTER TABLE orders ADD CONSTRAINT orders_once EXCLUDE USING btree (id WITH =);\n",
        good=(
            "CREATE TABLE IF NOT EXISTS bookings (\n    span tstzrange NOT NULL,\n"
            "    CONSTRAINT bookings_apart EXCLUDE USING gist (span WITH &&)\n);\n"
        ),
    ),
    Rule(
        id="set-not-null-scans",
        name="SET NOT NULL scans the table",
        condition="SET NOT NULL on a column that no validated CHECK proves to have no NULL",
        effect="reads and writes wait (ACCESS EXCLUSIVE) until every row is checked",
        workaround="add CHECK (column IS NOT NULL) NOT VALID, VALIDATE it in the next file, SET NOT NULL in a third",
        practice_number=3,
        bad="ALTER TABLE users ALTER COLUMN email SET NOT NULL;\n",
        good=_PARTITIONED_TABLE + "-- next file\n"
        "ALTER TABLE users ALTER COLUMN email SET NOT NULL;\n"
        "ALTER TABLE users DROP CONSTRAINT users_email_present;\n",
    ),
    Rule(
        id="constraint-violated",
        name="Rows violate the new constraint",
        condition="existing rows violate a constraint that the migration adds",
        effect="the migration fails in production, after it held its locks for as long as it took to find out",
        workaround="first clean up the rows in a migration of their own; the rehearsal gives the query that lists them",
        detection=Detection.DYNAMIC,
        bad="ALTER TABLE users ADD CONSTRAINT users_age_young CHECK (age < 60) NOT VALID;\n"
        "-- next file\n"
        "ALTER TABLE users VALIDATE CONSTRAINT users_age_young;\n",
        good="ALTER TABLE users ADD CONSTRAINT users_age_adult CHECK (age >= 18) NOT VALID;\n"
        "-- next file\n"
        "ALTER TABLE users VALIDATE CONSTRAINT users_age_adult;\n",
    ),
    Rule(
        id="domain-constraint-scans",
        name="Domain constraint scans every user of the domain",
        condition="a constraint is added to a domain without NOT VALID",
        effect="every table with a column of that domain is locked (SHARE) and read completely",
        workaround="add it NOT VALID; VALIDATE CONSTRAINT locks and reads the same tables, so run it in quiet hours",
        setup="CREATE DOMAIN percentage AS integer;\nCREATE TABLE discounts (rate percentage);\n"
        "INSERT INTO discounts SELECT n % 100 FROM generate_series(1, 1000) AS n;\n",
        bad="ALTER DOMAIN percentage ADD CONSTRAINT percentage_range CHECK (VALUE BETWEEN 0 AND 100);\n",
        good="ALTER DOMAIN percentage ADD CONSTRAINT percentage_range CHECK (VALUE BETWEEN 0 AND 100) NOT VALID;\n",
    ),
)
