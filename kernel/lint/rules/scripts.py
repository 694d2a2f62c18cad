"""How a migration is written: its transaction, its names, its size, and whether it can be run again."""

from __future__ import annotations

from kernel.lint.rules.rule import Detection, Rule, Severity

SCRIPT_RULES = (
    Rule(
        id="not-rerunnable",
        name="Not safe to re-run",
        condition="a second run would fail, or add rows again",
        effect="a database that has part of it already needs repair by hand",
        workaround="IF NOT EXISTS, IF EXISTS, OR REPLACE, ON CONFLICT DO NOTHING, or a DO block that looks first",
        severity=Severity.HARMLESS,
        practice_number=1,
        bad="CREATE TABLE notes (id bigint PRIMARY KEY, body text);\n",
        good="CREATE TABLE IF NOT EXISTS notes (id bigint PRIMARY KEY, body text);\n",
    ),
    Rule(
        id="unrelated-changes",
        name="Several unrelated changes",
        condition="one file changes an existing table and creates unrelated ones",
        effect="none of them can be applied, observed or undone without the others",
        workaround="a file for each change",
        severity=Severity.HARMLESS,
        detection=Detection.STATIC,
        practice_number=2,
        bad="ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n"
        "CREATE TABLE IF NOT EXISTS invoices (id bigint PRIMARY KEY, total numeric NOT NULL);\n",
        good="ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n"
        "-- next file\n"
        "CREATE TABLE IF NOT EXISTS invoices (id bigint PRIMARY KEY, total numeric NOT NULL);\n",
    ),
    Rule(
        id="schema-and-data-mixed",
        name="Schema and data changed in one transaction",
        condition="rows are changed in bulk in the transaction that changes a table in use",
        effect="the table stays locked while the rows are changed",
        workaround="schema in one file, data in the next",
        practice_number=4,
        bad="ALTER TABLE users ADD COLUMN IF NOT EXISTS tier text;\n"
        "UPDATE users SET tier = 'basic' WHERE tier IS NULL;\n",
        good="ALTER TABLE users ADD COLUMN IF NOT EXISTS tier text;\n"
        "-- next file\n"
        "UPDATE users SET tier = 'basic' WHERE tier IS NULL;\n",
    ),
    Rule(
        id="not-rehearsed",
        name="Not tested on production's data",
        condition="the copy that the migration was rehearsed on has no rows",
        effect="how long it takes, and whether the rows fit, is unknown",
        workaround="rehearse it on a dump with data",
        severity=Severity.WARNING,
        detection=Detection.DYNAMIC,
        practice_number=5,
        setup="TRUNCATE users, orders;\n",
        bad="ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n",
        good="CREATE TABLE IF NOT EXISTS notes (id bigint PRIMARY KEY, body text);\n",
    ),
    Rule(
        id="transaction-in-file",
        name="Transaction begun or ended in the file",
        condition="transaction control that conflicts with the runner's transaction",
        effect="part of the file is committed although the rest failed; so the file is refused before anything runs",
        workaround="remove it, or begin the file with -- migrate: no-transaction",
        detection=Detection.STATIC,
        bad="ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\nCOMMIT;\n",
        good="BEGIN;\nALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\nCOMMIT;\n",
    ),
    Rule(
        id="range-not-repeatable",
        name="Backfill not safe to repeat",
        condition="a range of a backfill that runs again would change its rows again",
        effect="a restarted file gives other values than one run; so the file is refused before anything runs",
        workaround="a condition that no longer holds for the rows that are done, ON CONFLICT DO NOTHING, or a reason "
        "why it is safe with -- migrate: allow",
        detection=Detection.STATIC,
        practice_number=1,
        bad="-- migrate: batch=1000 by=orders.id\nUPDATE orders SET quantity = quantity + 1 WHERE quantity > 5;\n",
        good="-- migrate: batch=1000 by=orders.id\nUPDATE orders SET quantity = 1 WHERE quantity < 1;\n",
    ),
    Rule(
        id="psql-meta-command",
        name="Command of psql",
        condition="a command of psql, which is not SQL",
        effect="the server does not know it, and psql's can run programs; so the file is refused before anything runs",
        workaround="write it in SQL, or remove the line",
        detection=Detection.STATIC,
        bad="\\i tables.sql\nALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n",
        good="ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n",
    ),
    Rule(
        id="hidden-ddl",
        name="DDL hidden in EXECUTE or a function",
        condition="a schema change is built as text, or is in a function",
        effect="neither a reader nor the linter sees which table it locks",
        workaround="write the statement out in the file",
        bad="DO $$\nBEGIN\n"
        "    EXECUTE format('ALTER TABLE %I ADD COLUMN IF NOT EXISTS region text', 'orders');\n"
        "END\n$$;\n",
        good="ALTER TABLE orders ADD COLUMN IF NOT EXISTS region text;\n",
    ),
    Rule(
        id="identifier-too-long",
        name="Name of more than 63 bytes",
        condition="a name is longer than 63 bytes",
        effect="PostgreSQL cuts it off; two names may become one, and programs do not find it by the full name",
        workaround="a shorter name",
        detection=Detection.STATIC,
        bad=f"CREATE TABLE IF NOT EXISTS {'very_' * 13}long (id bigint PRIMARY KEY);\n",
        good=f"CREATE TABLE IF NOT EXISTS {'very_' * 11}long (id bigint PRIMARY KEY);\n",
    ),
    Rule(
        id="duplicate-version",
        name="Version used twice",
        condition="two files have the same version",
        effect="which of them is applied depends on the file system; so both are refused before anything runs",
        workaround="move one of them: inv db.renumber FILE",
        detection=Detection.STATIC,
        bad="ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n",
        good="ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n",
    ),
)
