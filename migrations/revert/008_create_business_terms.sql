-- Revert: 008 - Create business terms
-- Description: Drop the glossary; its terms are lost

DROP TABLE IF EXISTS business_terms;
