"""Reading SQL scripts: where statements begin and end, and what each does to the transaction it runs in."""

from __future__ import annotations
