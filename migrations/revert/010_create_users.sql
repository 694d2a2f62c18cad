-- Revert: 010 - Create users
-- Description: Drop the users; their rows are lost

DROP TABLE IF EXISTS users;
