CREATE SCHEMA crypt;
CREATE EXTENSION pgcrypto WITH SCHEMA crypt;
CREATE TABLE hashed AS SELECT encode(crypt.digest('a;b', 'sha256'), 'hex') AS hash;
CREATE TABLE keyed (id uuid DEFAULT gen_random_uuid(), h bytea DEFAULT crypt.digest('x'::text, 'md5'));
