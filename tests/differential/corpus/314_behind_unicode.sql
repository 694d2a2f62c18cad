CREATE TABLE größe (ä text);
INSERT INTO größe VALUES ('日本; 𝄞'); SELECT '𝄞' , ö FROM größe;
