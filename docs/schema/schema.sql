-- The schema, for comparison: in the order of names, and not to be run. Made by inv db.docs from the migrations.

CREATE TABLE public.audit_chain_heads (
    tenant_id uuid NOT NULL,
    sequence bigint DEFAULT 0 NOT NULL,
    entry_hash bytea DEFAULT decode(repeat('00'::text, 32), 'hex'::text) NOT NULL,
    CONSTRAINT audit_chain_heads_entry_hash_length CHECK ((octet_length(entry_hash) = 32)),
    CONSTRAINT audit_chain_heads_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT audit_chain_heads_sequence_counted CHECK ((sequence >= 0)),
    CONSTRAINT audit_chain_heads_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE RESTRICT
);
CREATE TRIGGER audit_chain_heads_refuse_removal BEFORE DELETE OR TRUNCATE ON public.audit_chain_heads FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse_change(); -- always
CREATE TRIGGER audit_chain_heads_refuse_writing BEFORE INSERT OR UPDATE ON public.audit_chain_heads FOR EACH STATEMENT WHEN ((pg_trigger_depth() = 0)) EXECUTE FUNCTION public.audit_refuse_change();
COMMENT ON TABLE public.audit_chain_heads IS 'The end of each audit chain, written only by the triggers of audit_ledger. A copy of these rows outside the database also betrays a chain that was rewritten as a whole';
COMMENT ON COLUMN public.audit_chain_heads.sequence IS 'Sequence of the newest entry, hence the number of entries; 0 before the first';
COMMENT ON COLUMN public.audit_chain_heads.entry_hash IS 'Hash of the newest entry; 32 zero bytes before the first';

CREATE TABLE public.audit_ledger (
    tenant_id uuid NOT NULL,
    sequence bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject_type text NOT NULL,
    subject_id text NOT NULL,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    previous_hash bytea NOT NULL,
    entry_hash bytea NOT NULL,
    CONSTRAINT audit_ledger_action_form CHECK ((action ~ '^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$'::text)),
    CONSTRAINT audit_ledger_actor_present CHECK ((btrim(actor) <> ''::text)),
    CONSTRAINT audit_ledger_entry_hash_length CHECK ((octet_length(entry_hash) = 32)),
    CONSTRAINT audit_ledger_payload_object CHECK ((jsonb_typeof(payload) = 'object'::text)),
    CONSTRAINT audit_ledger_pkey PRIMARY KEY (tenant_id, sequence),
    CONSTRAINT audit_ledger_previous_hash_length CHECK ((octet_length(previous_hash) = 32)),
    CONSTRAINT audit_ledger_sequence_positive CHECK ((sequence > 0)),
    CONSTRAINT audit_ledger_subject_id_present CHECK ((btrim(subject_id) <> ''::text)),
    CONSTRAINT audit_ledger_subject_type_present CHECK ((btrim(subject_type) <> ''::text)),
    CONSTRAINT audit_ledger_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE RESTRICT
);
CREATE INDEX idx_audit_ledger_subject ON public.audit_ledger USING btree (tenant_id, subject_type, subject_id, sequence);
CREATE TRIGGER audit_chain_heads_advance AFTER INSERT ON public.audit_ledger REFERENCING NEW TABLE AS appended FOR EACH STATEMENT EXECUTE FUNCTION public.audit_chain_heads_advance();
CREATE TRIGGER audit_ledger_append BEFORE INSERT ON public.audit_ledger FOR EACH ROW EXECUTE FUNCTION public.audit_ledger_append();
CREATE TRIGGER audit_ledger_refuse_change BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit_ledger FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse_change(); -- always
COMMENT ON TABLE public.audit_ledger IS 'Who did what, and when: append-only, each entry chained to the one before it by its hash. An INSERT gives tenant_id, actor, action, subject_type, subject_id and payload; the ledger sets the rest';
COMMENT ON COLUMN public.audit_ledger.sequence IS 'Position in the chain of the tenant: 1, 2, 3, without holes';
COMMENT ON COLUMN public.audit_ledger.recorded_at IS 'When the entry joined the chain, by the clock of the server';
COMMENT ON COLUMN public.audit_ledger.actor IS 'Id of the user or name of the service; not a foreign key, since entries outlive users';
COMMENT ON COLUMN public.audit_ledger.action IS 'What was done, in dotted lower case: contract.approved';
COMMENT ON COLUMN public.audit_ledger.subject_type IS 'Kind of thing it was done to: data_contract';
COMMENT ON COLUMN public.audit_ledger.subject_id IS 'Id of that thing; not a foreign key, since entries outlive it';
COMMENT ON COLUMN public.audit_ledger.payload IS 'Details of the action, a JSON object';
COMMENT ON COLUMN public.audit_ledger.previous_hash IS 'entry_hash of the entry before; 32 zero bytes in the first';
COMMENT ON COLUMN public.audit_ledger.entry_hash IS 'SHA-256 over every other column, see audit_entry_hash';

CREATE TABLE public.business_terms (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    definition text NOT NULL,
    status text DEFAULT 'draft'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT business_terms_definition_present CHECK ((btrim(definition) <> ''::text)),
    CONSTRAINT business_terms_name_present CHECK ((btrim(name) <> ''::text)),
    CONSTRAINT business_terms_pkey PRIMARY KEY (id),
    CONSTRAINT business_terms_status_known CHECK ((status = ANY (ARRAY['draft'::text, 'approved'::text, 'deprecated'::text]))),
    CONSTRAINT business_terms_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE,
    CONSTRAINT business_terms_tenant_id_id_key UNIQUE (tenant_id, id)
);
CREATE UNIQUE INDEX idx_business_terms_name ON public.business_terms USING btree (tenant_id, lower(name));
CREATE TRIGGER business_terms_touch_updated_at BEFORE UPDATE ON public.business_terms FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION public.touch_updated_at();
COMMENT ON TABLE public.business_terms IS 'The glossary of a tenant: what its words mean';
COMMENT ON COLUMN public.business_terms.name IS 'The word itself, unique within the tenant regardless of case';
COMMENT ON COLUMN public.business_terms.definition IS 'What the tenant means by it, in a sentence or two';
COMMENT ON COLUMN public.business_terms.status IS 'draft, approved or deprecated; a term in use is deprecated, not deleted';

CREATE TABLE public.data_contracts (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    status text DEFAULT 'draft'::text NOT NULL,
    definition jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    effective_from timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT data_contracts_definition_object CHECK ((jsonb_typeof(definition) = 'object'::text)),
    CONSTRAINT data_contracts_name_present CHECK ((btrim(name) <> ''::text)),
    CONSTRAINT data_contracts_pkey PRIMARY KEY (id),
    CONSTRAINT data_contracts_status_known CHECK ((status = ANY (ARRAY['draft'::text, 'active'::text, 'retired'::text]))),
    CONSTRAINT data_contracts_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE,
    CONSTRAINT data_contracts_tenant_id_name_version_key UNIQUE (tenant_id, name, version),
    CONSTRAINT data_contracts_version_positive CHECK ((version > 0))
);
CREATE UNIQUE INDEX idx_data_contracts_active ON public.data_contracts USING btree (tenant_id, name) WHERE (status = 'active'::text);
CREATE TRIGGER data_contracts_touch_updated_at BEFORE UPDATE ON public.data_contracts FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION public.touch_updated_at();
COMMENT ON TABLE public.data_contracts IS 'Agreements on the shape of exchanged data, one row for each version';
COMMENT ON COLUMN public.data_contracts.name IS 'Name that all versions of the contract share';
COMMENT ON COLUMN public.data_contracts.version IS 'Counts from 1 within the tenant and the name';
COMMENT ON COLUMN public.data_contracts.status IS 'draft, active or retired; one version of a name is active at most';
COMMENT ON COLUMN public.data_contracts.definition IS 'The agreed shape as a JSON Schema object';
COMMENT ON COLUMN public.data_contracts.effective_from IS 'When this version binds first; its creation unless told otherwise';

CREATE TABLE public.field_aliases (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    field_id uuid NOT NULL,
    source text NOT NULL,
    alias text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT field_aliases_alias_present CHECK ((btrim(alias) <> ''::text)),
    CONSTRAINT field_aliases_field_fkey FOREIGN KEY (tenant_id, field_id) REFERENCES public.field_dictionary(tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT field_aliases_pkey PRIMARY KEY (id),
    CONSTRAINT field_aliases_source_present CHECK ((btrim(source) <> ''::text)),
    CONSTRAINT field_aliases_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX idx_field_aliases_alias ON public.field_aliases USING btree (tenant_id, source, lower(alias));
CREATE INDEX idx_field_aliases_field ON public.field_aliases USING btree (tenant_id, field_id);
CREATE TRIGGER field_aliases_touch_updated_at BEFORE UPDATE ON public.field_aliases FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION public.touch_updated_at();
COMMENT ON TABLE public.field_aliases IS 'The names that other systems give to canonical fields';
COMMENT ON COLUMN public.field_aliases.field_id IS 'The canonical field; its aliases are deleted with it';
COMMENT ON COLUMN public.field_aliases.source IS 'System that uses the alias: sap, salesforce';
COMMENT ON COLUMN public.field_aliases.alias IS 'The name there, unique within the source regardless of case';

CREATE TABLE public.field_dictionary (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    data_type text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    business_term_id uuid,
    steward_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT field_dictionary_business_term_fkey FOREIGN KEY (tenant_id, business_term_id) REFERENCES public.business_terms(tenant_id, id),
    CONSTRAINT field_dictionary_data_type_known CHECK ((data_type = ANY (ARRAY['text'::text, 'integer'::text, 'decimal'::text, 'boolean'::text, 'date'::text, 'timestamp'::text, 'uuid'::text, 'json'::text]))),
    CONSTRAINT field_dictionary_name_form CHECK (((name ~ '^[a-z][a-z0-9_]*$'::text) AND (length(name) <= 63))),
    CONSTRAINT field_dictionary_pkey PRIMARY KEY (id),
    CONSTRAINT field_dictionary_steward_fkey FOREIGN KEY (tenant_id, steward_id) REFERENCES public.users(tenant_id, id),
    CONSTRAINT field_dictionary_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE,
    CONSTRAINT field_dictionary_tenant_id_id_key UNIQUE (tenant_id, id),
    CONSTRAINT field_dictionary_tenant_id_name_key UNIQUE (tenant_id, name)
);
CREATE INDEX idx_field_dictionary_business_term ON public.field_dictionary USING btree (tenant_id, business_term_id);
CREATE INDEX idx_field_dictionary_steward ON public.field_dictionary USING btree (tenant_id, steward_id);
CREATE TRIGGER field_dictionary_touch_updated_at BEFORE UPDATE ON public.field_dictionary FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION public.touch_updated_at();
COMMENT ON TABLE public.field_dictionary IS 'The canonical fields of a tenant, each described once';
COMMENT ON COLUMN public.field_dictionary.name IS 'Canonical name in snake_case, unique within the tenant';
COMMENT ON COLUMN public.field_dictionary.data_type IS 'Logical type, independent of any one database';
COMMENT ON COLUMN public.field_dictionary.description IS 'What a value of the field says; may be empty';
COMMENT ON COLUMN public.field_dictionary.business_term_id IS 'Term of the glossary that the field carries, if there is one';
COMMENT ON COLUMN public.field_dictionary.steward_id IS 'User who answers for the field; hands it over before being deleted';

CREATE TABLE public.tenants (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    slug text NOT NULL,
    name text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT tenants_name_present CHECK ((btrim(name) <> ''::text)),
    CONSTRAINT tenants_pkey PRIMARY KEY (id),
    CONSTRAINT tenants_slug_form CHECK (((slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'::text) AND (length(slug) <= 63))),
    CONSTRAINT tenants_slug_key UNIQUE (slug),
    CONSTRAINT tenants_status_known CHECK ((status = ANY (ARRAY['active'::text, 'suspended'::text, 'closed'::text])))
);
CREATE TRIGGER tenants_touch_updated_at BEFORE UPDATE ON public.tenants FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION public.touch_updated_at();
COMMENT ON TABLE public.tenants IS 'The customers of the Kernel; every other table belongs to one of them';
COMMENT ON COLUMN public.tenants.slug IS 'Name in addresses: lower case, digits and single hyphens, at most 63 characters';
COMMENT ON COLUMN public.tenants.name IS 'Name as people read it';
COMMENT ON COLUMN public.tenants.status IS 'active, suspended or closed; a tenant with audit entries is closed, since it can no longer be deleted';

CREATE TABLE public.users (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    email text NOT NULL,
    display_name text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT users_display_name_present CHECK ((btrim(display_name) <> ''::text)),
    CONSTRAINT users_email_form CHECK (((email ~ '^[^@[:space:]]+@[^@[:space:]]+$'::text) AND (length(email) <= 254))),
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_status_known CHECK ((status = ANY (ARRAY['invited'::text, 'active'::text, 'disabled'::text]))),
    CONSTRAINT users_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE,
    CONSTRAINT users_tenant_id_id_key UNIQUE (tenant_id, id)
);
CREATE UNIQUE INDEX idx_users_email ON public.users USING btree (tenant_id, lower(email));
CREATE TRIGGER users_touch_updated_at BEFORE UPDATE ON public.users FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION public.touch_updated_at();
COMMENT ON TABLE public.users IS 'The people who work in a tenant; somebody who works in two tenants has a row in each';
COMMENT ON COLUMN public.users.email IS 'Address for signing in, unique within the tenant regardless of case';
COMMENT ON COLUMN public.users.display_name IS 'Name as others read it';
COMMENT ON COLUMN public.users.status IS 'invited, active or disabled; a steward who leaves is disabled, not deleted';

CREATE FUNCTION public.audit_chain_heads_advance()
    -- no arguments
    -- returns: trigger
    -- language: plpgsql
    -- volatility: volatile
    -- security definer: security definer
    -- parallel: unsafe
    -- settings: search_path=pg_catalog, public, pg_temp
AS '
BEGIN
    UPDATE audit_chain_heads AS head
    SET sequence = newest.sequence, entry_hash = newest.entry_hash
    FROM (
        SELECT DISTINCT ON (tenant_id) tenant_id, sequence, entry_hash FROM appended ORDER BY tenant_id, sequence DESC
    ) AS newest
    WHERE head.tenant_id = newest.tenant_id AND head.sequence < newest.sequence;
    RETURN NULL;
END
';
COMMENT ON FUNCTION public.audit_chain_heads_advance() IS 'Moves the heads to the newest of the entries that a statement appended';

CREATE FUNCTION public.audit_entry_hash(entry public.audit_ledger)
    -- arguments: entry public.audit_ledger
    -- returns: bytea
    -- language: sql
    -- volatility: stable
    -- parallel: safe
    -- settings: search_path=pg_catalog, pg_temp
AS '
    SELECT sha256(convert_to(jsonb_build_array(
        entry.tenant_id::text,
        entry.sequence::text,
        extract(epoch FROM entry.recorded_at)::text,
        entry.actor,
        entry.action,
        entry.subject_type,
        entry.subject_id,
        entry.payload,
        encode(entry.previous_hash, ''hex'')
    )::text, ''UTF8''))
';
GRANT EXECUTE to public ON public.audit_entry_hash(entry public.audit_ledger);
COMMENT ON FUNCTION public.audit_entry_hash(entry public.audit_ledger) IS 'SHA-256 over every column of an entry but entry_hash; the same under any session settings';

CREATE FUNCTION public.audit_ledger_append()
    -- no arguments
    -- returns: trigger
    -- language: plpgsql
    -- volatility: volatile
    -- security definer: security definer
    -- parallel: unsafe
    -- settings: search_path=pg_catalog, public, pg_temp
AS '
DECLARE
    newest RECORD;
BEGIN
    IF num_nonnulls(NEW.sequence, NEW.recorded_at, NEW.previous_hash, NEW.entry_hash) > 0 THEN
        RAISE EXCEPTION ''audit_ledger sets sequence, recorded_at, previous_hash and entry_hash itself''
            USING ERRCODE = ''generated_always'', HINT = ''Leave these columns out of the INSERT.'';
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
';
COMMENT ON FUNCTION public.audit_ledger_append() IS 'Chains a new entry to the newest one of its tenant, one append at a time';

CREATE FUNCTION public.audit_ledger_verify(only_tenant uuid)
    -- arguments: only_tenant uuid DEFAULT NULL::uuid
    -- returns: TABLE(tenant_id uuid, sequence bigint, problem text)
    -- language: sql
    -- volatility: stable
    -- parallel: unsafe
    -- settings: search_path=pg_catalog, public, pg_temp
AS '
    WITH walked AS (
        SELECT
            entry.tenant_id, entry.sequence, entry.previous_hash, entry.entry_hash,
            row_number() OVER chain AS expected_sequence,
            lag(entry.entry_hash, 1, decode(repeat(''00'', 32), ''hex'')) OVER chain AS expected_previous,
            lead(entry.sequence) OVER chain IS NULL AS newest,
            audit_entry_hash(entry) AS expected_hash
        FROM audit_ledger AS entry
        WHERE only_tenant IS NULL OR entry.tenant_id = only_tenant
        WINDOW chain AS (PARTITION BY entry.tenant_id ORDER BY entry.sequence)
    ),
    within AS (
        SELECT walked.tenant_id, walked.expected_sequence AS sequence, CASE
            WHEN walked.sequence <> walked.expected_sequence THEN ''the entry is missing''
            WHEN walked.entry_hash IS DISTINCT FROM walked.expected_hash
                THEN ''the entry was changed after it was appended''
            WHEN walked.previous_hash IS DISTINCT FROM walked.expected_previous
                THEN ''the entry does not continue the one before it''
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
                WHEN head.sequence = last.sequence THEN ''the entry is not the one that the head of the chain remembers''
                WHEN head.sequence > coalesce(last.sequence, 0) THEN ''the entry is missing''
                ELSE ''the entry is unknown to the head of the chain''
            END AS problem
        FROM (
            SELECT heads.* FROM audit_chain_heads AS heads WHERE only_tenant IS NULL OR heads.tenant_id = only_tenant
        ) AS head
        FULL JOIN (SELECT walked.* FROM walked WHERE walked.newest) AS last ON last.tenant_id = head.tenant_id
        WHERE head.sequence IS DISTINCT FROM coalesce(last.sequence, 0)
            OR head.entry_hash IS DISTINCT FROM coalesce(last.entry_hash, decode(repeat(''00'', 32), ''hex''))
    )
    SELECT DISTINCT ON (found.tenant_id) found.tenant_id, found.sequence, found.problem
    FROM (
        SELECT within.*, 1 AS place FROM within WHERE within.problem IS NOT NULL
        UNION ALL
        SELECT at_the_end.*, 2 FROM at_the_end
    ) AS found
    ORDER BY found.tenant_id, found.sequence, found.place
';
GRANT EXECUTE to public ON public.audit_ledger_verify(only_tenant uuid);
COMMENT ON FUNCTION public.audit_ledger_verify(only_tenant uuid) IS 'The first broken entry of each chain, or of the chain of one tenant; no row when all is well';

CREATE FUNCTION public.audit_refuse_change()
    -- no arguments
    -- returns: trigger
    -- language: plpgsql
    -- volatility: volatile
    -- parallel: unsafe
    -- settings: search_path=pg_catalog, pg_temp
AS '
BEGIN
    RAISE EXCEPTION ''% of % refused: the audit ledger is append-only'', TG_OP, TG_TABLE_NAME
        USING ERRCODE = ''restrict_violation'', HINT = ''Append an entry that corrects the wrong one.'';
END
';
GRANT EXECUTE to public ON public.audit_refuse_change();
COMMENT ON FUNCTION public.audit_refuse_change() IS 'Raises 23001, whatever the statement and however few rows it would reach';

CREATE FUNCTION public.touch_updated_at()
    -- no arguments
    -- returns: trigger
    -- language: plpgsql
    -- volatility: volatile
    -- parallel: unsafe
    -- settings: search_path=pg_catalog, pg_temp
AS '
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
';
GRANT EXECUTE to public ON public.touch_updated_at();
COMMENT ON FUNCTION public.touch_updated_at() IS 'Sets updated_at to the start of the transaction, so that rows which changed together bear the same time';
