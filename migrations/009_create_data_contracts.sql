-- Migration: 009 - Create data contracts
-- Description: Create the versioned agreements on the shape of exchanged data

CREATE TABLE IF NOT EXISTS data_contracts (
    id UUID CONSTRAINT data_contracts_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL
        CONSTRAINT data_contracts_tenant_id_fkey REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL CONSTRAINT data_contracts_name_present CHECK (btrim(name) <> ''),
    version INTEGER NOT NULL DEFAULT 1 CONSTRAINT data_contracts_version_positive CHECK (version > 0),
    status TEXT NOT NULL DEFAULT 'draft'
        CONSTRAINT data_contracts_status_known CHECK (status IN ('draft', 'active', 'retired')),
    definition JSONB NOT NULL DEFAULT '{}'
        CONSTRAINT data_contracts_definition_object CHECK (jsonb_typeof(definition) = 'object'),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT data_contracts_tenant_id_name_version_key UNIQUE (tenant_id, name, version)
);

-- At most one version binds at a time.
CREATE UNIQUE INDEX IF NOT EXISTS idx_data_contracts_active
    ON data_contracts (tenant_id, name) WHERE status = 'active';

COMMENT ON TABLE data_contracts IS 'Agreements on the shape of exchanged data, one row for each version';
COMMENT ON COLUMN data_contracts.name IS 'Name that all versions of the contract share';
COMMENT ON COLUMN data_contracts.version IS 'Counts from 1 within the tenant and the name';
COMMENT ON COLUMN data_contracts.status IS 'draft, active or retired; one version of a name is active at most';
COMMENT ON COLUMN data_contracts.definition IS 'The agreed shape as a JSON Schema object';

CREATE OR REPLACE TRIGGER data_contracts_touch_updated_at BEFORE UPDATE ON data_contracts
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_updated_at();
