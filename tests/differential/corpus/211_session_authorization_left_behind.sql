GRANT CREATE ON SCHEMA public TO app_owner;
SET SESSION AUTHORIZATION app_owner;
CREATE TABLE owned AS SELECT session_user, current_user;
