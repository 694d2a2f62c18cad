"""Results of a rehearsal: a failed migration, blocked sessions, lost rows, incompatible changes."""

from __future__ import annotations

from kernel.lint.rules.rule import REVERT_FILE_LINE, Detection, Rule, Severity

OUTCOME_RULES = (
    Rule(
        id="migration-failed",
        name="The migration fails",
        condition="the migration fails on a copy of production",
        effect="it fails in production as well, and the deployment stops there",
        workaround="fix it as the message says, and rehearse again",
        detection=Detection.DYNAMIC,
        bad="ALTER TABLE user_preferences ADD COLUMN IF NOT EXISTS theme text;\n",
        good="ALTER TABLE users ADD COLUMN IF NOT EXISTS theme text;\n",
    ),
    Rule(
        id="standstill",
        name="Reads or writes are blocked",
        condition="reads or writes of a table are blocked for longer than --max-block",
        effect="requests queue for the lock until the connection pool is exhausted",
        workaround="shorten what runs under the lock: one table a file, long work before it or in another file",
        detection=Detection.DYNAMIC,
        bad="DO $$ BEGIN ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text; PERFORM pg_sleep(1.2); END $$;\n",
        good="ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n",
    ),
    Rule(
        id="data-lost",
        name="Rows lost or changed, and not declared",
        condition="rows are removed or values changed, and the file does not declare it",
        effect="production's data changes, and the file does not say that this is intended",
        workaround="if it is intended, declare it (-- rehearse: rows orders=-10); otherwise fix the statement",
        detection=Detection.DYNAMIC,
        practice_number=5,
        bad="DELETE FROM orders WHERE id <= 10;\n",
        good="-- rehearse: rows orders=-10\nDELETE FROM orders WHERE id <= 10;\n",
    ),
    Rule(
        id="breaks-running-version",
        name="The running version breaks",
        condition="what the running application uses is missing or changed",
        effect="instances of the previous version, which run until the deployment is complete, fail",
        workaround="add the new next to the old, and remove the old in a file with -- migrate: phase=after",
        severity=Severity.WARNING,
        detection=Detection.DYNAMIC,
        practice_number=3,
        concerns_running_version=True,
        setup="CREATE FUNCTION retire() RETURNS void LANGUAGE sql AS\n"
        "    'ALTER TABLE orders RENAME COLUMN note TO remark';\n",
        bad="SELECT retire();\n",
        good="ALTER TABLE orders ADD COLUMN IF NOT EXISTS remark text;\n",
    ),
    Rule(
        id="rule-gone",
        name="A table lost a constraint, default or trigger",
        condition="a key, constraint, default or trigger that no statement names is missing after the migration",
        effect="rows that it rejected or completed are accepted as they are from the commit on",
        workaround="drop by name, without CASCADE; create again what is to stay",
        severity=Severity.WARNING,
        detection=Detection.DYNAMIC,
        setup="CREATE FUNCTION positive(integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';\n"
        "ALTER TABLE orders ADD CONSTRAINT orders_quantity_positive CHECK (positive(quantity));\n",
        bad="-- migrate: allow=drop-object the check is replaced\nDROP FUNCTION IF EXISTS positive(integer) CASCADE;\n",
        good="-- migrate: allow=drop-object the check is replaced\n"
        "ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_quantity_positive;\n"
        "DROP FUNCTION IF EXISTS positive(integer);\n",
    ),
    Rule(
        id="revert-differs",
        name="The revert file does not undo the migration",
        condition="after the revert the schema or the data differs from before the migration",
        effect="inv db.rollback --revert leaves a database that no version of the files describes",
        workaround="make the revert file undo what the migration does, or remove it",
        severity=Severity.WARNING,
        detection=Detection.DYNAMIC,
        bad="CREATE TABLE IF NOT EXISTS notes (id bigint PRIMARY KEY);\n"
        + REVERT_FILE_LINE
        + "SELECT 'nothing is undone';\n",
        good="CREATE TABLE IF NOT EXISTS notes (id bigint PRIMARY KEY);\n" + REVERT_FILE_LINE + "DROP TABLE notes;\n",
    ),
)
