CREATE TABLE t AS SELECT 1::text||';'AS a,'{1,2}'::int[]AS b,-1-/*c*/-2 AS c,2*-3 AS d,5!=4 AS e,'a'~'^a;?$'AS f, 1.e3 AS g,.5 AS h,0.1e-2 AS i;
SELECT '{"a;": {"b": 1}}'::jsonb#>>'{a;,b}','[1]'::jsonb@>'[1]', '{"a":1}'::jsonb?'a', -(-1), + 1, |/ 25, @ -1;
SELECT a[1:2], (ARRAY[1,2,3])[2:], 12::integer FROM (SELECT ARRAY[1,2,3] AS a) AS s;
