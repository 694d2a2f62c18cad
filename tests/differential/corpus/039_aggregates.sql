CREATE FUNCTION join_step(state text, next text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(state || '; ', '') || next $$;
CREATE AGGREGATE joined(text) (SFUNC = join_step, STYPE = text);
CREATE AGGREGATE total(integer) (SFUNC = int4_sum, STYPE = bigint, INITCOND = '0', COMBINEFUNC = int8pl, PARALLEL = safe);
CREATE AGGREGATE own_percentile(float8 ORDER BY anyelement) (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);
CREATE TABLE summed AS SELECT joined(n::text ORDER BY n DESC), total(n) FROM generate_series(1, 5) AS n;
COMMENT ON AGGREGATE joined(text) IS 'all of them; in order';
