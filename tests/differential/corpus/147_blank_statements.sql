;;
CREATE TABLE a (x integer);;
; -- nothing
/* nothing */;
	
CREATE TABLE b (x integer) ; ;

-- the end
