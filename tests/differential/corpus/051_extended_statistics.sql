CREATE TABLE observed (a integer, b integer, c text);
INSERT INTO observed SELECT n, n / 10, 'v' || n / 20 FROM generate_series(1, 100) AS n;
CREATE STATISTICS dependent (dependencies, ndistinct, mcv) ON a, b, c FROM observed;
CREATE STATISTICS computed ON (a + b), lower(c) FROM observed;
ALTER STATISTICS dependent SET STATISTICS 50;
ANALYZE observed (a, b);
