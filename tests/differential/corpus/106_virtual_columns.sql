CREATE TABLE priced (net numeric, gross numeric GENERATED ALWAYS AS (net * 1.2) VIRTUAL, label text GENERATED ALWAYS AS (';' || net::text));
INSERT INTO priced VALUES (10), (20.5);
CREATE TABLE stay (room int4range, during daterange, PRIMARY KEY (room, during WITHOUT OVERLAPS));
