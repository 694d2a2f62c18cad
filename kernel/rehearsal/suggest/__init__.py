"""Suggestions: migrations rewritten so that they block less, run on a clone, and compared with the originals."""
