-- Migration: 015 - Require effective from
-- Description: Make effective_from NOT NULL without a scan that keeps readers and writers out

-- VALIDATE reads the table while others read and write it, but only in a transaction of its own: in that of 014 it
-- would read under the exclusive lock that ADD CONSTRAINT took.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'data_contracts'::regclass AND conname = 'data_contracts_effective_from_present'
    ) THEN
        ALTER TABLE data_contracts VALIDATE CONSTRAINT data_contracts_effective_from_present;
    END IF;
END
$$;

-- The valid CHECK proves that there is no NULL, so this does not read the table again.
ALTER TABLE data_contracts ALTER COLUMN effective_from SET NOT NULL;
ALTER TABLE data_contracts DROP CONSTRAINT IF EXISTS data_contracts_effective_from_present;
