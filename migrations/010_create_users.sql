-- Migration: 010 - Create users
-- Description: Create the people who work in a tenant

CREATE TABLE IF NOT EXISTS users (
    id UUID CONSTRAINT users_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL
        CONSTRAINT users_tenant_id_fkey REFERENCES tenants (id) ON DELETE CASCADE,
    email TEXT NOT NULL
        CONSTRAINT users_email_form CHECK (email ~ '^[^@[:space:]]+@[^@[:space:]]+$' AND length(email) <= 254),
    display_name TEXT NOT NULL CONSTRAINT users_display_name_present CHECK (btrim(display_name) <> ''),
    status TEXT NOT NULL DEFAULT 'active'
        CONSTRAINT users_status_known CHECK (status IN ('invited', 'active', 'disabled')),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT users_tenant_id_id_key UNIQUE (tenant_id, id)
);

CREATE UNIQUE INDEX IF NOT EXISTS idx_users_email ON users (tenant_id, lower(email));

COMMENT ON TABLE users IS 'The people who work in a tenant; somebody who works in two tenants has a row in each';
COMMENT ON COLUMN users.email IS 'Address for signing in, unique within the tenant regardless of case';
COMMENT ON COLUMN users.display_name IS 'Name as others read it';
COMMENT ON COLUMN users.status IS 'invited, active or disabled; a steward who leaves is disabled, not deleted';

CREATE OR REPLACE TRIGGER users_touch_updated_at BEFORE UPDATE ON users
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_updated_at();
