CREATE TEXT SEARCH DICTIONARY plain_words (TEMPLATE = simple, STOPWORDS = english, ACCEPT = false);
CREATE TEXT SEARCH CONFIGURATION house (COPY = english);
ALTER TEXT SEARCH CONFIGURATION house ALTER MAPPING FOR asciiword, word WITH plain_words, english_stem;
ALTER TEXT SEARCH CONFIGURATION house DROP MAPPING IF EXISTS FOR email;
CREATE TEXT SEARCH PARSER own (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype);
CREATE TEXT SEARCH TEMPLATE own (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TABLE page (body text, words tsvector GENERATED ALWAYS AS (to_tsvector('house', body)) STORED);
INSERT INTO page (body) VALUES ('the cats; and the dogs'), ('it''s raining');
