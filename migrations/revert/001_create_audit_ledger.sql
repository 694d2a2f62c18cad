-- Revert: 001 - Create audit ledger
-- Description: Drop the audit ledger and the tenants; every entry is lost, so export the ledger first

DROP FUNCTION IF EXISTS audit_ledger_verify(UUID);
DROP FUNCTION IF EXISTS audit_entry_hash(audit_ledger);
DROP TABLE IF EXISTS audit_ledger;
DROP TABLE IF EXISTS audit_chain_heads;
DROP FUNCTION IF EXISTS audit_ledger_append();
DROP FUNCTION IF EXISTS audit_chain_heads_advance();
DROP FUNCTION IF EXISTS audit_refuse_change();
DROP TABLE IF EXISTS tenants;
DROP FUNCTION IF EXISTS touch_updated_at();
