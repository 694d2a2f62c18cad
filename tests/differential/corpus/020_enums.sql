CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'semi;colon', '');
CREATE TABLE diary (day integer, felt mood DEFAULT 'sad');
INSERT INTO diary VALUES (1, 'semi;colon'), (2, ''), (3, DEFAULT);
ALTER TYPE mood ADD VALUE 'happy' AFTER 'sad';
ALTER TYPE mood ADD VALUE IF NOT EXISTS 'sad';
ALTER TYPE mood RENAME VALUE 'it''s ok' TO 'fine';
