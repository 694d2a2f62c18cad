"""Minimal programs to compare with. They import nothing of the project, except clone.py."""
