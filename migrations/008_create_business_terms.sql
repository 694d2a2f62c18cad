-- Migration: 008 - Create business terms
-- Description: Create the glossary in which each tenant defines its words

CREATE TABLE IF NOT EXISTS business_terms (
    id UUID CONSTRAINT business_terms_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL
        CONSTRAINT business_terms_tenant_id_fkey REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL CONSTRAINT business_terms_name_present CHECK (btrim(name) <> ''),
    definition TEXT NOT NULL CONSTRAINT business_terms_definition_present CHECK (btrim(definition) <> ''),
    status TEXT NOT NULL DEFAULT 'draft'
        CONSTRAINT business_terms_status_known CHECK (status IN ('draft', 'approved', 'deprecated')),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- The target of foreign keys that must stay within one tenant.
    CONSTRAINT business_terms_tenant_id_id_key UNIQUE (tenant_id, id)
);

CREATE UNIQUE INDEX IF NOT EXISTS idx_business_terms_name ON business_terms (tenant_id, lower(name));

COMMENT ON TABLE business_terms IS 'The glossary of a tenant: what its words mean';
COMMENT ON COLUMN business_terms.name IS 'The word itself, unique within the tenant regardless of case';
COMMENT ON COLUMN business_terms.definition IS 'What the tenant means by it, in a sentence or two';
COMMENT ON COLUMN business_terms.status IS 'draft, approved or deprecated; a term in use is deprecated, not deleted';

CREATE OR REPLACE TRIGGER business_terms_touch_updated_at BEFORE UPDATE ON business_terms
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_updated_at();
