CREATE TABLE rows_of AS SELECT * FROM JSON_TABLE('[{"a": 1, "b": "x;"}, {"a": 2}]', '$[*]'
  COLUMNS (n FOR ORDINALITY, a integer PATH '$.a', b text PATH '$.b' DEFAULT 'none;' ON EMPTY));
CREATE VIEW built AS SELECT JSON_QUERY(jsonb '{"a": [1]}', '$.a' WITH WRAPPER) AS q, JSON_EXISTS(jsonb '{}', '$.a') AS e;
