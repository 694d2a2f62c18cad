CREATE TABLE s (n serial, v text);
INSERT INTO s (v) VALUES ('it''s'), (E'it\'s;'), (e'\\'), ('\'), ('\;'), (E'\x41\u00e4\U0001F600\101\n;'), (N'n;'), (U&'\00e4;\+01F600'),
  (U&'!00e4;' UESCAPE '!'), ('a'
  'b;'
  'c'), (E'a'
  'b\'c;'), ($$;'$$), ($a$$$;$b$;$a$), ($größe$;$größe$), (''), (' '), ('''');
INSERT INTO s (v) VALUES (B'101'::text), (X'1F'::text), ('multi
line; -- text
/* still text');
