CREATE TABLE reading (at date NOT NULL, sensor integer, value double precision) PARTITION BY RANGE (at);
CREATE TABLE reading_2025 PARTITION OF reading FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE reading_2026 PARTITION OF reading (PRIMARY KEY (at, sensor)) FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
CREATE TABLE reading_old PARTITION OF reading FOR VALUES FROM (MINVALUE) TO ('2025-01-01') PARTITION BY RANGE (sensor);
CREATE TABLE reading_old_1 PARTITION OF reading_old FOR VALUES FROM (0) TO (100);
CREATE INDEX ON reading (sensor);
INSERT INTO reading SELECT date '2024-12-30' + n, n % 7, n / 4.0 FROM generate_series(0, 40) AS n;
