GRANT CREATE ON SCHEMA public TO app_owner;
SET ROLE app_owner;
CREATE TABLE owned (a integer);
INSERT INTO owned VALUES (1);
