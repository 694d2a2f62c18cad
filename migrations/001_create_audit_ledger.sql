-- Migration: 001 - Create audit ledger
-- Description: Create tenants and the append-only, hash-chained audit ledger, one chain for each tenant

-- Tenants come first because every entry of the ledger belongs to one.
CREATE TABLE IF NOT EXISTS tenants (
    id UUID CONSTRAINT tenants_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    slug TEXT NOT NULL
        CONSTRAINT tenants_slug_key UNIQUE
        CONSTRAINT tenants_slug_form CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(slug) <= 63),
    name TEXT NOT NULL CONSTRAINT tenants_name_present CHECK (btrim(name) <> ''),
    status TEXT NOT NULL DEFAULT 'active'
        CONSTRAINT tenants_status_known CHECK (status IN ('active', 'suspended', 'closed')),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

COMMENT ON TABLE tenants IS 'The customers of the Kernel; every other table belongs to one of them';
COMMENT ON COLUMN tenants.slug IS 'Name in addresses: lower case, digits and single hyphens, at most 63 characters';
COMMENT ON COLUMN tenants.name IS 'Name as people read it';
COMMENT ON COLUMN tenants.status IS
    'active, suspended or closed; a tenant with audit entries is closed, since it can no longer be deleted';

CREATE OR REPLACE FUNCTION touch_updated_at() RETURNS TRIGGER
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION touch_updated_at() IS
    'Sets updated_at to the start of the transaction, so that rows which changed together bear the same time';

-- The condition, here and in every later table, keeps an UPDATE that changes no value from looking like a change.
CREATE OR REPLACE TRIGGER tenants_touch_updated_at BEFORE UPDATE ON tenants
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_updated_at();

-- A head is the lock of a chain and remembers where it ends. A lock on the newest entry would not do: whoever waited
-- for it wakes up to a newer one. And without a head, a chain that has lost its last entries looks whole.
CREATE TABLE IF NOT EXISTS audit_chain_heads (
    tenant_id UUID
        CONSTRAINT audit_chain_heads_pkey PRIMARY KEY
        CONSTRAINT audit_chain_heads_tenant_id_fkey REFERENCES tenants (id) ON DELETE RESTRICT,
    sequence BIGINT NOT NULL DEFAULT 0
        CONSTRAINT audit_chain_heads_sequence_counted CHECK (sequence >= 0),
    entry_hash BYTEA NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
        CONSTRAINT audit_chain_heads_entry_hash_length CHECK (octet_length(entry_hash) = 32)
);

COMMENT ON TABLE audit_chain_heads IS
    'The end of each audit chain, written only by the triggers of audit_ledger. '
    'A copy of these rows outside the database also betrays a chain that was rewritten as a whole';
COMMENT ON COLUMN audit_chain_heads.sequence IS
    'Sequence of the newest entry, hence the number of entries; 0 before the first';
COMMENT ON COLUMN audit_chain_heads.entry_hash IS 'Hash of the newest entry; 32 zero bytes before the first';

CREATE TABLE IF NOT EXISTS audit_ledger (
    tenant_id UUID NOT NULL
        CONSTRAINT audit_ledger_tenant_id_fkey REFERENCES tenants (id) ON DELETE RESTRICT,
    sequence BIGINT NOT NULL CONSTRAINT audit_ledger_sequence_positive CHECK (sequence > 0),
    recorded_at TIMESTAMPTZ NOT NULL,
    actor TEXT NOT NULL CONSTRAINT audit_ledger_actor_present CHECK (btrim(actor) <> ''),
    action TEXT NOT NULL
        CONSTRAINT audit_ledger_action_form CHECK (action ~ '^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$'),
    subject_type TEXT NOT NULL CONSTRAINT audit_ledger_subject_type_present CHECK (btrim(subject_type) <> ''),
    subject_id TEXT NOT NULL CONSTRAINT audit_ledger_subject_id_present CHECK (btrim(subject_id) <> ''),
    payload JSONB NOT NULL DEFAULT '{}'
        CONSTRAINT audit_ledger_payload_object CHECK (jsonb_typeof(payload) = 'object'),
    previous_hash BYTEA NOT NULL
        CONSTRAINT audit_ledger_previous_hash_length CHECK (octet_length(previous_hash) = 32),
    entry_hash BYTEA NOT NULL
        CONSTRAINT audit_ledger_entry_hash_length CHECK (octet_length(entry_hash) = 32),
    CONSTRAINT audit_ledger_pkey PRIMARY KEY (tenant_id, sequence)
);

CREATE INDEX IF NOT EXISTS idx_audit_ledger_subject
    ON audit_ledger (tenant_id, subject_type, subject_id, sequence);

COMMENT ON TABLE audit_ledger IS
    'Who did what, and when: append-only, each entry chained to the one before it by its hash. '
    'An INSERT gives tenant_id, actor, action, subject_type, subject_id and payload; the ledger sets the rest';
COMMENT ON COLUMN audit_ledger.sequence IS 'Position in the chain of the tenant: 1, 2, 3, without holes';
COMMENT ON COLUMN audit_ledger.recorded_at IS 'When the entry joined the chain, by the clock of the server';
COMMENT ON COLUMN audit_ledger.actor IS
    'Id of the user or name of the service; not a foreign key, since entries outlive users';
COMMENT ON COLUMN audit_ledger.action IS 'What was done, in dotted lower case: contract.approved';
COMMENT ON COLUMN audit_ledger.subject_type IS 'Kind of thing it was done to: data_contract';
COMMENT ON COLUMN audit_ledger.subject_id IS 'Id of that thing; not a foreign key, since entries outlive it';
COMMENT ON COLUMN audit_ledger.payload IS 'Details of the action, a JSON object';
COMMENT ON COLUMN audit_ledger.previous_hash IS 'entry_hash of the entry before; 32 zero bytes in the first';
COMMENT ON COLUMN audit_ledger.entry_hash IS 'SHA-256 over every other column, see audit_entry_hash';

-- A JSON array is unambiguous: quotes and commas inside a value are escaped, so no two entries share a text.
-- The time goes in as seconds since 1970, because the text of a timestamp follows TimeZone and DateStyle. The text of
-- jsonb is canonical: keys sorted and unique, numbers exact.
CREATE OR REPLACE FUNCTION audit_entry_hash(entry audit_ledger) RETURNS BYTEA
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT sha256(convert_to(jsonb_build_array(
        entry.tenant_id::text,
        entry.sequence::text,
        extract(epoch FROM entry.recorded_at)::text,
        entry.actor,
        entry.action,
        entry.subject_type,
        entry.subject_id,
        entry.payload,
        encode(entry.previous_hash, 'hex')
    )::text, 'UTF8'))
$$;

COMMENT ON FUNCTION audit_entry_hash(audit_ledger) IS
    'SHA-256 over every column of an entry but entry_hash; the same under any session settings';

-- The lock on the head lasts until the transaction ends: the next append to this chain waits for it, and goes on from
-- what was committed. Under REPEATABLE READ it fails with 40001 instead, to be retried. A transaction that appends to
-- several chains should do so in the order of tenant_id, or be ready to retry after a deadlock (40P01).
-- SECURITY DEFINER lets a role append with INSERT on audit_ledger alone.
CREATE OR REPLACE FUNCTION audit_ledger_append() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    newest RECORD;
BEGIN
    IF num_nonnulls(NEW.sequence, NEW.recorded_at, NEW.previous_hash, NEW.entry_hash) > 0 THEN
        RAISE EXCEPTION 'audit_ledger sets sequence, recorded_at, previous_hash and entry_hash itself'
            USING ERRCODE = 'generated_always', HINT = 'Leave these columns out of the INSERT.';
    END IF;

    INSERT INTO audit_chain_heads (tenant_id) VALUES (NEW.tenant_id) ON CONFLICT (tenant_id) DO NOTHING;
    PERFORM FROM audit_chain_heads WHERE tenant_id = NEW.tenant_id FOR UPDATE;

    -- The ledger is ahead of the head by the rows of this very statement. The head is ahead of the ledger only when
    -- entries were removed, and then counting on from the head keeps the gap in sight.
    SELECT known.sequence, known.entry_hash INTO STRICT newest
    FROM (
        SELECT head.sequence, head.entry_hash FROM audit_chain_heads AS head WHERE head.tenant_id = NEW.tenant_id
        UNION ALL
        (SELECT entry.sequence, entry.entry_hash FROM audit_ledger AS entry
        WHERE entry.tenant_id = NEW.tenant_id ORDER BY entry.sequence DESC LIMIT 1)
    ) AS known
    ORDER BY known.sequence DESC LIMIT 1;

    NEW.sequence := newest.sequence + 1;
    NEW.previous_hash := newest.entry_hash;
    -- now() is when the transaction began, which may be before the entry that this one waited for.
    NEW.recorded_at := clock_timestamp();
    NEW.entry_hash := audit_entry_hash(NEW);
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION audit_ledger_append() IS 'Chains a new entry to the newest one of its tenant, one append at a time';

-- Once for each statement: a head moved for each row leaves a dead version behind each time, none of which can be
-- cleared before the commit, and the time for n entries in one INSERT grows with the square of n.
CREATE OR REPLACE FUNCTION audit_chain_heads_advance() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    UPDATE audit_chain_heads AS head
    SET sequence = newest.sequence, entry_hash = newest.entry_hash
    FROM (
        SELECT DISTINCT ON (tenant_id) tenant_id, sequence, entry_hash FROM appended ORDER BY tenant_id, sequence DESC
    ) AS newest
    WHERE head.tenant_id = newest.tenant_id AND head.sequence < newest.sequence;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION audit_chain_heads_advance() IS
    'Moves the heads to the newest of the entries that a statement appended';

CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS TRIGGER
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% of % refused: the audit ledger is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'Append an entry that corrects the wrong one.';
END
$$;

COMMENT ON FUNCTION audit_refuse_change() IS 'Raises 23001, whatever the statement and however few rows it would reach';

CREATE OR REPLACE FUNCTION audit_ledger_verify(only_tenant UUID DEFAULT NULL)
RETURNS TABLE (tenant_id UUID, sequence BIGINT, problem TEXT)
LANGUAGE sql STABLE
AS $$
    WITH walked AS (
        SELECT
            entry.tenant_id, entry.sequence, entry.previous_hash, entry.entry_hash,
            row_number() OVER chain AS expected_sequence,
            lag(entry.entry_hash, 1, decode(repeat('00', 32), 'hex')) OVER chain AS expected_previous,
            lead(entry.sequence) OVER chain IS NULL AS newest,
            audit_entry_hash(entry) AS expected_hash
        FROM audit_ledger AS entry
        WHERE only_tenant IS NULL OR entry.tenant_id = only_tenant
        WINDOW chain AS (PARTITION BY entry.tenant_id ORDER BY entry.sequence)
    ),
    within AS (
        SELECT walked.tenant_id, walked.expected_sequence AS sequence, CASE
            WHEN walked.sequence <> walked.expected_sequence THEN 'the entry is missing'
            WHEN walked.entry_hash IS DISTINCT FROM walked.expected_hash
                THEN 'the entry was changed after it was appended'
            WHEN walked.previous_hash IS DISTINCT FROM walked.expected_previous
                THEN 'the entry does not continue the one before it'
        END AS problem
        FROM walked
    ),
    -- A chain cut off at its end is consistent in itself: only its head remembers more.
    at_the_end AS (
        SELECT
            coalesce(head.tenant_id, last.tenant_id) AS tenant_id,
            CASE
                WHEN head.sequence = last.sequence THEN head.sequence
                ELSE least(coalesce(head.sequence, 0), coalesce(last.sequence, 0)) + 1
            END AS sequence,
            CASE
                WHEN head.sequence = last.sequence THEN 'the entry is not the one that the head of the chain remembers'
                WHEN head.sequence > coalesce(last.sequence, 0) THEN 'the entry is missing'
                ELSE 'the entry is unknown to the head of the chain'
            END AS problem
        FROM (
            SELECT heads.* FROM audit_chain_heads AS heads WHERE only_tenant IS NULL OR heads.tenant_id = only_tenant
        ) AS head
        FULL JOIN (SELECT walked.* FROM walked WHERE walked.newest) AS last ON last.tenant_id = head.tenant_id
        WHERE head.sequence IS DISTINCT FROM coalesce(last.sequence, 0)
            OR head.entry_hash IS DISTINCT FROM coalesce(last.entry_hash, decode(repeat('00', 32), 'hex'))
    )
    SELECT DISTINCT ON (found.tenant_id) found.tenant_id, found.sequence, found.problem
    FROM (
        SELECT within.*, 1 AS place FROM within WHERE within.problem IS NOT NULL
        UNION ALL
        SELECT at_the_end.*, 2 FROM at_the_end
    ) AS found
    ORDER BY found.tenant_id, found.sequence, found.place
$$;

COMMENT ON FUNCTION audit_ledger_verify(UUID) IS
    'The first broken entry of each chain, or of the chain of one tenant; no row when all is well';

-- A SECURITY DEFINER function must not look names up on the caller's search_path. FROM CURRENT would keep "$user",
-- which is another schema for another role, so the path names the schema that this file writes to.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION %1$I.audit_ledger_append() SET search_path = pg_catalog, %1$I, pg_temp',
        current_schema());
    EXECUTE format('ALTER FUNCTION %1$I.audit_chain_heads_advance() SET search_path = pg_catalog, %1$I, pg_temp',
        current_schema());
    EXECUTE format('ALTER FUNCTION %1$I.audit_ledger_verify(UUID) SET search_path = pg_catalog, %1$I, pg_temp',
        current_schema());
END
$$;

-- Nobody else may hang them on a table of their own and so move a head.
REVOKE EXECUTE ON FUNCTION audit_ledger_append(), audit_chain_heads_advance() FROM PUBLIC;

CREATE OR REPLACE TRIGGER audit_ledger_append
    BEFORE INSERT ON audit_ledger FOR EACH ROW EXECUTE FUNCTION audit_ledger_append();

CREATE OR REPLACE TRIGGER audit_chain_heads_advance
    AFTER INSERT ON audit_ledger REFERENCING NEW TABLE AS appended
    FOR EACH STATEMENT EXECUTE FUNCTION audit_chain_heads_advance();

-- For each statement, so that one which reaches no row is refused as well, and TRUNCATE tenants CASCADE too.
CREATE OR REPLACE TRIGGER audit_ledger_refuse_change
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_ledger FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

CREATE OR REPLACE TRIGGER audit_chain_heads_refuse_removal
    BEFORE DELETE OR TRUNCATE ON audit_chain_heads FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();

-- Depth 0 is a statement that somebody typed; the two triggers above write from inside one.
CREATE OR REPLACE TRIGGER audit_chain_heads_refuse_writing
    BEFORE INSERT OR UPDATE ON audit_chain_heads FOR EACH STATEMENT
    WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION audit_refuse_change();

-- ALWAYS: session_replication_role = replica skips ordinary triggers.
ALTER TABLE audit_ledger ENABLE ALWAYS TRIGGER audit_ledger_refuse_change;
ALTER TABLE audit_chain_heads ENABLE ALWAYS TRIGGER audit_chain_heads_refuse_removal;
