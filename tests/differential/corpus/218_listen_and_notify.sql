LISTEN channel;
LISTEN "other; channel";
NOTIFY channel, 'a message; to ourselves';
SELECT pg_notify('channel', 'it''s another');
CREATE TABLE t (a integer);
UNLISTEN "other; channel";
