CREATE TABLE boxed (j jsonb, a integer[]);
INSERT INTO boxed VALUES ('{}', '{}');
UPDATE boxed SET j['a']['b;'] = '1', a[2:3] = ARRAY[5, 6];
UPDATE boxed SET j['list'][2] = '"x"', a[5] = 1;
CREATE TABLE sliced AS SELECT a[2:] AS tail, a[:3] AS head, j['a'] AS inner_value, (a)[2:3][1:1] AS square FROM boxed;
