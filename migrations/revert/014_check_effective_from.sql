-- Revert: 014 - Check effective from
-- Description: Let NULL into effective_from again

ALTER TABLE data_contracts DROP CONSTRAINT IF EXISTS data_contracts_effective_from_present;
