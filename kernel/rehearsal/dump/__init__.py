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
ours         whether the server is one of our own, and what is allowed there only
order        what comes first, what may run side by side, what comes last
crew         work side by side on several connections
hand         one of those connections
rows         rows on their way into their tables
split        one table's rows for several connections
unlogged     such a table filled without a log, on a server of our own
tables       the rows of many tables, dealt out to the connections
keys         indexes and foreign keys, side by side
proof        foreign keys of large tables, proven by a query of our own, on a server of our own
statistics   ANALYZE, table by table
losses       what the server refused: what a copy can do without, and what is missing from it
site         what everybody at work on a load shares
load         all of it

Archives, which pg_restore reads, as an account without rights:
header       the first bytes, for any version of archives
whole        whether the files of a directory are complete, which pg_restore does not ask
toc          the table of contents, as pg_restore lists it
archive      what is in one
reach        an archive where the account can read it
restore      all of it, as the same role as plain dumps
hired        pg_restore and vacuumdb at work
complaints   what pg_restore says, as values
gauge        how far it is

Production, dumped by pg_dump without a way to write there:
source       what production is
access       what pg_dump would be refused there
export       the dump

Both use:
program      client programs, their environment, and their end
libpq        a connection as an environment
reader       which programs can do it

The server that takes the copy:
preflight    everything that it lacks, before anything begins
package      which Debian package brings an extension
locale       locales that the system lacks, made privately
roles        roles that the dump speaks of, made bare
disarm       what would reach out of the copy, made harmless
"""

from __future__ import annotations
