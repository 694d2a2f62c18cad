CREATE TABLE a (x integer);
CREATE TABLE b (y text DEFAULT 'the last; without a semicolon')