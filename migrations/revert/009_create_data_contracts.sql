-- Revert: 009 - Create data contracts
-- Description: Drop the data contracts; all their versions are lost

DROP TABLE IF EXISTS data_contracts;
