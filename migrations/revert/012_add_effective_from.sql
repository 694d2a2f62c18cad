-- Revert: 012 - Add effective from
-- Description: Drop the column; the times in it are lost

ALTER TABLE data_contracts DROP COLUMN IF EXISTS effective_from;
