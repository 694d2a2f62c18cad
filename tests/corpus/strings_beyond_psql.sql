SELECT E'one\''
  'two\'; three';
-- ===
SELECT E'one' -- a comment with a ' quote
-- and another; one

  'two\'; three';
-- ===
SELECT E'a'

	'\'; b' -- c ' d
  '\'; e';
