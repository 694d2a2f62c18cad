SELECT lo_create(424242);
SELECT lo_from_bytea(424243, 'bytes; \\x00 and more'::bytea);
SELECT lo_put(424242, 3, 'abc;');
COMMENT ON LARGE OBJECT 424243 IS 'large; object';
ALTER LARGE OBJECT 424242 OWNER TO app_owner;
GRANT SELECT ON LARGE OBJECT 424242 TO app_reader;
