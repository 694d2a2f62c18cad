-- Revert: 015 - Require effective from
-- Description: Make effective_from nullable again, guarded by the CHECK of 014 as before

ALTER TABLE data_contracts ALTER COLUMN effective_from DROP NOT NULL;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'data_contracts'::regclass AND conname = 'data_contracts_effective_from_present'
    ) THEN
        ALTER TABLE data_contracts
            ADD CONSTRAINT data_contracts_effective_from_present CHECK (effective_from IS NOT NULL) NOT VALID;
    END IF;
END
$$;
