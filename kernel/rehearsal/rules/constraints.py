"""Adding, validating and proving constraints."""

from __future__ import annotations

from kernel.rehearsal.result import Severity
from kernel.rehearsal.rules.rule import NEXT_FILE, Nature, Rule

_PARTS = """\
ALTER TABLE users ADD CONSTRAINT users_email_present CHECK (email IS NOT NULL) NOT VALID;
-- next file
ALTER TABLE users VALIDATE CONSTRAINT users_email_present;
"""

RULES = (
    Rule(
        id="check-validated-under-lock",
        name="CHECK validated under a lock",
        condition="a CHECK constraint is added without NOT VALID to a table that may have rows",
        effect="reads and writes wait (ACCESS EXCLUSIVE) until every row is checked",
        workaround="add it NOT VALID, and VALIDATE CONSTRAINT in a later file",
        severity=Severity.ERROR,
        nature=Nature.BOTH,
        hazards=(6,),
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
        severity=Severity.ERROR,
        nature=Nature.BOTH,
        hazards=(7,),
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
        severity=Severity.ERROR,
        nature=Nature.BOTH,
        hazards=(8,),
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
        nature=Nature.BOTH,
        hazards=(9,),
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
        effect="the lock of ADD CONSTRAINT is held while every row is checked: NOT VALID was for nothing",
        workaround="move VALIDATE CONSTRAINT to the next file",
        severity=Severity.ERROR,
        nature=Nature.BOTH,
        hazards=(10,),
        bad=_PARTS.replace(NEXT_FILE, ""),
        good=_PARTS,
    ),
    Rule(
        id="constraint-not-validated",
        name="Constraint never validated",
        condition="a constraint was added NOT VALID and no later file validates it",
        effect="rows from before may violate it, and the planner cannot rely on it",
        workaround="VALIDATE CONSTRAINT in a later file, once the query finds no violating rows",
        severity=Severity.HARMLESS,
        nature=Nature.BOTH,
        hazards=(11,),
        bad=(
            "ALTER TABLE users ADD CONSTRAINT users_email_present CHECK (email IS NOT NULL) NOT VALID;\n"
            "-- next file\n"
            "ALTER TABLE orders ADD COLUMN IF NOT EXISTS region text;\n"
        ),
        good=_PARTS,
    ),
    Rule(
        id="unique-builds-index-under-lock",
        name="UNIQUE or PRIMARY KEY builds its index under a lock",
        condition="UNIQUE or PRIMARY KEY is added to a table that may have rows, without USING INDEX",
        effect="reads and writes wait (ACCESS EXCLUSIVE) until the index is built",
        workaround="CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … UNIQUE USING INDEX in the next file",
        severity=Severity.ERROR,
        nature=Nature.BOTH,
        hazards=(12,),
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
        severity=Severity.ERROR,
        nature=Nature.DYNAMIC,
        hazards=(13,),
        given="CREATE TABLE tags AS SELECT n AS id FROM generate_series(1, 1000) AS n;\n"
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
        effect="reads and writes wait (ACCESS EXCLUSIVE) until the index is built; there is no concurrent way",
        workaround="declare it with CREATE TABLE, or plan a time without traffic and accept it with -- migrate: allow",
        severity=Severity.ERROR,
        nature=Nature.BOTH,
        hazards=(14,),
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
        severity=Severity.ERROR,
        nature=Nature.BOTH,
        hazards=(15,),
        practice=3,
        bad="ALTER TABLE users ALTER COLUMN email SET NOT NULL;\n",
        good=_PARTS + "-- next file\n"
        "ALTER TABLE users ALTER COLUMN email SET NOT NULL;\n"
        "ALTER TABLE users DROP CONSTRAINT users_email_present;\n",
    ),
    Rule(
        id="constraint-violated",
        name="Rows violate the new constraint",
        condition="rows that are there violate what the migration adds",
        effect="the migration fails in production, after it held its locks for as long as it took to find out",
        workaround="clean the rows up in a migration of their own first; the rehearsal gives the query that lists them",
        severity=Severity.ERROR,
        nature=Nature.DYNAMIC,
        hazards=(16, 17, 18),
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
        effect="every table with a column of that domain is locked (SHARE) and read through",
        workaround="add it NOT VALID; VALIDATE CONSTRAINT locks and reads the same tables, so at a time of few writes",
        severity=Severity.ERROR,
        nature=Nature.BOTH,
        hazards=(48,),
        given="CREATE DOMAIN percentage AS integer;\nCREATE TABLE discounts (rate percentage);\n"
        "INSERT INTO discounts SELECT n % 100 FROM generate_series(1, 1000) AS n;\n",
        bad="ALTER DOMAIN percentage ADD CONSTRAINT percentage_range CHECK (VALUE BETWEEN 0 AND 100);\n",
        good="ALTER DOMAIN percentage ADD CONSTRAINT percentage_range CHECK (VALUE BETWEEN 0 AND 100) NOT VALID;\n",
    ),
)
