SET standard_conforming_strings = off;
SET escape_string_warning = off;
SET backslash_quote = on;
CREATE TABLE t (a text DEFAULT 'a\'b;');
INSERT INTO t DEFAULT VALUES;
