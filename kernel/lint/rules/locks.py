"""Locks: how many, how long, and what runs while they are held."""

from __future__ import annotations

from kernel.lint.rules.rule import Rule, Severity

_TRIGGER_FUNCTION = (
    "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.status := 'new'; RETURN NEW; END$$;\n"
)

LOCK_RULES = (
    Rule(
        id="work-under-exclusive-lock",
        name="Work while a table is shut",
        condition="a statement that may take long runs while a table is locked ACCESS EXCLUSIVE",
        effect="every read and write of the locked table waits for it too: locks are held until the commit",
        workaround="move it to a file of its own, or before the statement that locks",
        bad="ALTER TABLE users ADD COLUMN IF NOT EXISTS region text;\n"
        "CREATE MATERIALIZED VIEW IF NOT EXISTS order_totals AS\n"
        "    SELECT user_id, sum(total) AS total FROM orders GROUP BY user_id;\n",
        good="ALTER TABLE users ADD COLUMN IF NOT EXISTS region text;\n"
        "-- next file\n"
        "CREATE MATERIALIZED VIEW IF NOT EXISTS order_totals AS\n"
        "    SELECT user_id, sum(total) AS total FROM orders GROUP BY user_id;\n",
    ),
    Rule(
        id="work-under-share-lock",
        name="Work while a table cannot be written",
        condition="a statement that may take long runs while a table is locked SHARE or SHARE ROW EXCLUSIVE",
        effect="every write to the locked table waits for it too: locks are held until the commit",
        workaround="move it to a file of its own, or before the statement that locks",
        bad="ALTER TABLE orders ADD CONSTRAINT orders_user_fkey FOREIGN KEY (user_id) REFERENCES users NOT VALID;\n"
        "CREATE TABLE IF NOT EXISTS order_totals AS SELECT user_id, sum(total) AS total FROM orders GROUP BY 1;\n",
        good="ALTER TABLE orders ADD CONSTRAINT orders_user_fkey FOREIGN KEY (user_id) REFERENCES users NOT VALID;\n",
    ),
    Rule(
        id="several-tables-locked",
        name="Several tables locked in one transaction",
        condition="a second table is locked ACCESS EXCLUSIVE in one transaction",
        effect="the first stays locked while the second is waited for, and two such transactions may deadlock",
        workaround="a file for each table",
        practice_number=2,
        bad="ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n"
        "ALTER TABLE orders ADD COLUMN IF NOT EXISTS billing_id text;\n",
        good="ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n"
        "-- next file\n"
        "ALTER TABLE orders ADD COLUMN IF NOT EXISTS billing_id text;\n",
    ),
    Rule(
        id="no-lock-timeout",
        name="Lock timeout taken away",
        condition="the file sets lock_timeout to 0 and then locks a table that is in use",
        effect="it waits without limit for a long query, and every other session waits for it",
        workaround="leave it to the runner (KERNEL_LOCK_TIMEOUT), which retries",
        bad="SET lock_timeout = 0;\nALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n",
        good="SET lock_timeout = '2s';\nALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n",
    ),
    Rule(
        id="no-statement-timeout",
        name="Statement timeout taken away",
        condition="the file sets statement_timeout to 0 and then locks a table that is in use",
        effect="a statement that takes hours under a lock is not stopped",
        workaround="set one that is long enough: SET LOCAL statement_timeout = '10min'",
        severity=Severity.WARNING,
        bad="SET statement_timeout = 0;\nALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n",
        good="SET statement_timeout = '10s';\nALTER TABLE users ADD COLUMN IF NOT EXISTS phone text;\n",
    ),
    Rule(
        id="policy-or-trigger-lock",
        name="Trigger, rule or policy changed on a table in use",
        condition="a trigger, a rule or a policy of a table in use is created, dropped, enabled or disabled",
        effect="writes wait (SHARE ROW EXCLUSIVE), for a policy or a rule reads too, until the transaction ends",
        workaround="a file of its own, so that the lock is held for a moment only",
        severity=Severity.WARNING,
        setup=_TRIGGER_FUNCTION,
        bad="CREATE OR REPLACE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();\n",
        good="CREATE TABLE IF NOT EXISTS drafts (id bigint PRIMARY KEY, status text);\n"
        "CREATE OR REPLACE TRIGGER drafts_touch BEFORE UPDATE ON drafts FOR EACH ROW EXECUTE FUNCTION touch();\n",
    ),
    Rule(
        id="row-security-switched",
        name="Row security switched on a table in use",
        condition="row level security is switched on or off for a table in use",
        effect="switched on, roles without a policy see no row; switched off, they see all; reads wait meanwhile",
        workaround="create the policies first, and switch it on in a file of its own once they are tested",
        bad="ALTER TABLE orders ENABLE ROW LEVEL SECURITY;\n",
        good="CREATE TABLE IF NOT EXISTS drafts (id bigint PRIMARY KEY, status text);\n"
        "ALTER TABLE drafts ENABLE ROW LEVEL SECURITY;\n",
    ),
    Rule(
        id="lock-table",
        name="LOCK TABLE",
        condition="a table is locked by hand",
        effect="it stays locked until the transaction ends, however long the later statements take",
        workaround="let each statement take the lock it needs; keep several runners apart by the runner's own lock",
        bad="LOCK TABLE orders IN ACCESS EXCLUSIVE MODE;\n",
        good="-- rehearse: changes orders.note\nUPDATE orders SET note = '' WHERE id = 1 AND note <> '';\n",
    ),
)
