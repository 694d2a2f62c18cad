-- Migration: 012 - Add effective from
-- Description: Add the time from which a data contract binds, still nullable

-- Two steps: a default given to ADD COLUMN would also fill the rows that exist, with the time of this migration.
-- Set afterwards it serves new rows only, those of instances too that do not know the column yet.
ALTER TABLE data_contracts ADD COLUMN IF NOT EXISTS effective_from TIMESTAMPTZ;
ALTER TABLE data_contracts ALTER COLUMN effective_from SET DEFAULT now();

COMMENT ON COLUMN data_contracts.effective_from IS 'When this version binds first; its creation unless told otherwise';
