CREATE TABLE booking (
  room int4range NOT NULL,
  during tsrange NOT NULL,
  cancelled boolean DEFAULT false,
  CONSTRAINT no_overlap EXCLUDE USING gist (room WITH &&, during WITH &&) WHERE (NOT cancelled)
);
INSERT INTO booking VALUES ('[1,2)', '[2026-01-01 10:00, 2026-01-01 11:00)'), ('[1,2)', '[2026-01-01 11:00,)');
INSERT INTO booking VALUES ('[1,2)', '[2026-01-01 10:30, 2026-01-01 10:40]', true);
CREATE TABLE seat (number integer, EXCLUDE (number WITH =) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO seat SELECT generate_series(1, 5);
