CREATE TABLE a (x integer);
VACUUM a;
COMMIT;
-- +goose Down
DROP TABLE a;
