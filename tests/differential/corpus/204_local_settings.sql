CREATE SCHEMA other;
SET LOCAL search_path = other;
CREATE TABLE here (a integer);
SET LOCAL ROLE app_owner;
CREATE TEMP TABLE whose AS SELECT current_user;
