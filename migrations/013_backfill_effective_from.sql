-- Migration: 013 - Backfill effective from
-- Description: Fill effective_from of the contracts that are older than the column

-- updated_at moves with it: whoever copies the table by updated_at must see the new value.
-- Nothing but the UPDATE: an ALTER TABLE after it would wait for writers who already wait for these rows, a deadlock.
UPDATE data_contracts SET effective_from = created_at WHERE effective_from IS NULL;
