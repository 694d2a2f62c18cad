CREATE TYPE point_of_sale AS (id integer, label text);
CREATE TABLE shop OF point_of_sale (PRIMARY KEY (id), label WITH OPTIONS DEFAULT 'none; yet');
INSERT INTO shop (id) VALUES (1);
ALTER TYPE point_of_sale ADD ATTRIBUTE city text CASCADE;
CREATE TABLE till (id integer, label text, city text);
ALTER TABLE till OF point_of_sale;
ALTER TABLE till NOT OF;
