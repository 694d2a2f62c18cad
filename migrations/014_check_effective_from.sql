-- Migration: 014 - Check effective from
-- Description: Let no further NULL into effective_from, without looking at the rows that exist

-- NOT VALID takes the exclusive lock for a moment only; 015 looks at the rows, under a weaker one.
-- Once the column is NOT NULL (015) there is nothing left to add.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'data_contracts'::regclass AND attname = 'effective_from' AND attnotnull
    ) AND NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'data_contracts'::regclass AND conname = 'data_contracts_effective_from_present'
    ) THEN
        ALTER TABLE data_contracts
            ADD CONSTRAINT data_contracts_effective_from_present CHECK (effective_from IS NOT NULL) NOT VALID;
    END IF;
END
$$;
