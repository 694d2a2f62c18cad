"""Shared by plain dumps and archives: values, decompression, roles, client programs, and words for messages."""
