CREATE TABLE zoo (
  a smallint, b double precision, c character varying(5), d character(3), e bit(3), f bit varying(8),
  g timestamp(3) with time zone, h time without time zone, i interval day to second(2), j inet, k cidr, l macaddr8,
  m json, n xml, o tsquery, p int4multirange, q point, r polygon, s pg_lsn, t "char", u name, v oid, w regclass,
  x integer[][3], y money, z uuid
);
INSERT INTO zoo VALUES (
  -1, 'NaN', 'a;b', 'x', B'101', B'10'::bit varying, '2026-01-01 00:00:00.1234+02', '24:00', '1 02:03:04.567',
  '::1', '10.0.0.0/8', '08:00:2b:01:02:03:04:05', '{"a": ";"}', NULL, 'a & !b', '{[1,2)}', '(1,2)',
  '((0,0),(1,1),(2,0))', '16/B374D848', ';', 'n;', 42, 'pg_class', '{{1,2,3},{4,5,6}}', '$1', '00000000-0000-0000-0000-00000000000a'
);
