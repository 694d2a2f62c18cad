"""Suggestions: pending migrations rewritten so that they block less, run on a clone, and compared with the originals.

suggest      for each migration with such findings: the rewritten files, a run of them, the comparison
rewrite      a file and its findings -> the files to have instead; what must stay one file
source       a file as statements that can be moved to other files
alter_table  ALTER TABLE as a list of actions
indexes, constraints, backfill   the rewrites of single statements and actions
catalog      what the database knows of the tables that a file names; reads only
model        steps that files are composed of; names that PostgreSQL chooses
files        steps -> files with numbers, directives and comments; the directory next to the report
equivalence  compares schemas and rows of the two clones
"""
