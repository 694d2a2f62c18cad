-- +goose Up
CREATE TABLE a (x integer);
-- +goose Down
DROP TABLE a;
