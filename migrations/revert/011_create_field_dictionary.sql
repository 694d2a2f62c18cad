-- Revert: 011 - Create field dictionary
-- Description: Drop the aliases, then the fields they point to; both are lost

DROP TABLE IF EXISTS field_aliases;
DROP TABLE IF EXISTS field_dictionary;
