-- it's a comment; with everything: "quotes", $$dollars$$, $1, %s, \backslash
/* an apostrophe ' and a quote " and a dollar $$ ; and */ CREATE TABLE a (x integer /* ; */ DEFAULT 1 -- ;'
  , y text DEFAULT '--' -- '
  , z text DEFAULT '/*' /* ' */
);
/* nested /* comments; /* very */ 'nested */ ; */
INSERT INTO a VALUES (1--1
  , 'a'/**/, $$/* $$);--;
-- \i nothing; \set x 1
/* \copy a from stdin */
