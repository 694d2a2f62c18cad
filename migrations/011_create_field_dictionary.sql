-- Migration: 011 - Create field dictionary
-- Description: Create the canonical fields of a tenant and the names that other systems give them

CREATE TABLE IF NOT EXISTS field_dictionary (
    id UUID CONSTRAINT field_dictionary_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL
        CONSTRAINT field_dictionary_tenant_id_fkey REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL
        CONSTRAINT field_dictionary_name_form CHECK (name ~ '^[a-z][a-z0-9_]*$' AND length(name) <= 63),
    data_type TEXT NOT NULL
        CONSTRAINT field_dictionary_data_type_known
        CHECK (data_type IN ('text', 'integer', 'decimal', 'boolean', 'date', 'timestamp', 'uuid', 'json')),
    description TEXT NOT NULL DEFAULT '',
    business_term_id UUID,
    steward_id UUID,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT field_dictionary_tenant_id_id_key UNIQUE (tenant_id, id),
    CONSTRAINT field_dictionary_tenant_id_name_key UNIQUE (tenant_id, name),
    -- The tenant is part of these keys, so that no field can point into another tenant. NO ACTION waits for the end of
    -- the statement: a term in use stays, and yet the deletion of the whole tenant goes through.
    CONSTRAINT field_dictionary_business_term_fkey
        FOREIGN KEY (tenant_id, business_term_id) REFERENCES business_terms (tenant_id, id) ON DELETE NO ACTION,
    CONSTRAINT field_dictionary_steward_fkey
        FOREIGN KEY (tenant_id, steward_id) REFERENCES users (tenant_id, id) ON DELETE NO ACTION
);

CREATE INDEX IF NOT EXISTS idx_field_dictionary_business_term ON field_dictionary (tenant_id, business_term_id);
CREATE INDEX IF NOT EXISTS idx_field_dictionary_steward ON field_dictionary (tenant_id, steward_id);

COMMENT ON TABLE field_dictionary IS 'The canonical fields of a tenant, each described once';
COMMENT ON COLUMN field_dictionary.name IS 'Canonical name in snake_case, unique within the tenant';
COMMENT ON COLUMN field_dictionary.data_type IS 'Logical type, independent of any one database';
COMMENT ON COLUMN field_dictionary.description IS 'What a value of the field says; may be empty';
COMMENT ON COLUMN field_dictionary.business_term_id IS 'Term of the glossary that the field carries, if there is one';
COMMENT ON COLUMN field_dictionary.steward_id IS 'User who answers for the field; hands it over before being deleted';

CREATE OR REPLACE TRIGGER field_dictionary_touch_updated_at BEFORE UPDATE ON field_dictionary
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_updated_at();

CREATE TABLE IF NOT EXISTS field_aliases (
    id UUID CONSTRAINT field_aliases_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL
        CONSTRAINT field_aliases_tenant_id_fkey REFERENCES tenants (id) ON DELETE CASCADE,
    field_id UUID NOT NULL,
    source TEXT NOT NULL CONSTRAINT field_aliases_source_present CHECK (btrim(source) <> ''),
    alias TEXT NOT NULL CONSTRAINT field_aliases_alias_present CHECK (btrim(alias) <> ''),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT field_aliases_field_fkey
        FOREIGN KEY (tenant_id, field_id) REFERENCES field_dictionary (tenant_id, id) ON DELETE CASCADE
);

-- One name in one system means one field: a lookup by alias finds at most one row.
CREATE UNIQUE INDEX IF NOT EXISTS idx_field_aliases_alias ON field_aliases (tenant_id, source, lower(alias));
CREATE INDEX IF NOT EXISTS idx_field_aliases_field ON field_aliases (tenant_id, field_id);

COMMENT ON TABLE field_aliases IS 'The names that other systems give to canonical fields';
COMMENT ON COLUMN field_aliases.field_id IS 'The canonical field; its aliases are deleted with it';
COMMENT ON COLUMN field_aliases.source IS 'System that uses the alias: sap, salesforce';
COMMENT ON COLUMN field_aliases.alias IS 'The name there, unique within the source regardless of case';

CREATE OR REPLACE TRIGGER field_aliases_touch_updated_at BEFORE UPDATE ON field_aliases
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_updated_at();
