"""The safe way, proven: a migration written anew so that it shuts nobody out, run on a clone, and both compared.

advise     all of it: for each migration with such findings the suggestion, applied in its place, and the proof
rewrite    PURE: a file and its findings -> the files to have instead
source     PURE: a file as units that can be put apart
cut        PURE: a statement that pieces are cut out of, by its words
piece      PURE: what files are put together from, and how each piece has to run
files      PURE: pieces -> files with their numbers, directives and comments
dividing   PURE: files that hold too much for one transaction, and those that must stay one
facts      what the database says of the tables that a file names; reads only
ground     PURE: facts, and what the file itself has added to them so far
names      PURE: the names that PostgreSQL gives
indexes    PURE: indexes built, dropped and rebuilt concurrently
altered    PURE: ALTER TABLE action by action
constraints, required, defaults, retype, carried  PURE: the recipes for its actions
backfill   PURE: the statement that fills a column in batches
proof      whether the suggestion comes to the originals' end; they run once more where rows differ
fresh      PURE: which values are others in every run
same       whether two databases hold the same schema and the same rows
folder     the files beside the report
suggested  the values
"""

from __future__ import annotations
