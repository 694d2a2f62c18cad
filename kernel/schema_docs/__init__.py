"""Document a schema: Markdown pages with diagrams, schema.json for the viewers of tbls, schema.sql to compare."""

from __future__ import annotations
