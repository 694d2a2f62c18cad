DO $$
BEGIN
  EXECUTE format('ALTER DATABASE %I SET work_mem = %L', current_database(), '8MB');
  EXECUTE format('ALTER DATABASE %I SET search_path = "a;b", public', current_database());
  EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), 'it''s; told');
  EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO app_reader', current_database());
END;
$$;
