CREATE TABLE "A;" (x integer);
-- a comment; with a semicolon
SELECT "x
y;" FROM "A;";
