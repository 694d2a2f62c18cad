"""Dumps of production: what a file is, what is in it, and a copy made of it.

dump         the values: a dump, its contents, what became of a restore; recognised by its first bytes
signature    the first bytes of dumps, and of what people take for dumps
unpack       gzip and zstd, as streams

Plain dumps, which are read and loaded here and never by psql:
text         the bytes, unpacked, readable at any place
skip         the statements among them as a stream for the lexer, without the rows
scan         one pass: the index of statements and rows, and what is refused before anything runs
restrict     the pair of lines that pg_dump writes around a dump
shape        the statements of pg_dump told apart, and what each means for loading
settings     which session settings hold for which statement
survey       what the dump needs and makes
index        the values that scanning makes and loading reads
role         as whom a dump is loaded, and why it can do nothing to the machine
order        what comes first, what may run side by side, what comes last
crew         work side by side on several connections
hand         one of those connections
rows         rows on their way into their tables
losses       what the server refused: what a copy can do without, and what is missing from it
load         all of it
"""
