CREATE TABLE unicode (a text, b text);
INSERT INTO unicode VALUES ('äöüß;', '日本語;'), ('𝄞', '😀;');
COMMENT ON TABLE unicode IS 'Größe; naïve — “quoted” …';
CREATE INDEX "idx_größe;" ON unicode (a) WHERE b <> '§;';
