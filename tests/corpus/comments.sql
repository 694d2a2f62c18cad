-- a comment; ahead
SELECT 1;
-- ===
/* a comment; ahead */ SELECT 1;
-- ===
SELECT 1 -- a comment; behind it's open
;
-- ===
SELECT 1 /* a comment; inside it's open */ ;
-- ===
SELECT 1 /* nested /* twice; /* thrice; */ */ ; */ ;
-- ===
SELECT 1 /**/ + /***/ 2 /*/ ; */ + /****/ 3;
-- ===
SELECT 1 /* /**/ ; */;
-- ===
SELECT 1 /* " ' $$ ; */;
-- ===
SELECT 1 +/* in an operator; */ 2;
-- ===
SELECT 1 *-- in an operator; too
2;
-- ===
SELECT 6/2, 6 / 2, 6 - -2, 6 --2;
;
-- ===
SELECT 2*/* ; */3;
-- ===
SELECT a @> b, a <@ b, a #- b, a -> 'b;', a ->> 'c;', a ~* ';', a !~~ ';', a ?| b, |/ 4, @ -5;
-- ===
SELECT a OPERATOR(pg_catalog.+) b, 1-1, - 1;
-- ===
SELECT/* ; */1/* ; */;
-- ===
--
SELECT 1--
;
-- ===
-- one; two
/* three; four */ -- five
/* six /* seven */ ; */
SELECT /* eight; */ 8 -- nine;
  , 9;
-- ===
SELECT '--' , /* ' */ ';' -- ' ;
;
-- ===
SELECT "--" /* " */ , ";" -- " ;
;
-- ===
CREATE /* in; between */ TABLE -- the; words
  t (a int /* ; */);
-- ===
CREATE FUNCTION /* BEGIN ATOMIC */ f() RETURNS int LANGUAGE sql AS 'SELECT 1' -- BEGIN ATOMIC
;
