"""Filling a column in batches: a DO block that commits after each stretch of the table's pages.

By ctid and not by key, because every table has one, whatever its key is, and because what was there when it began lies
within the pages of then: what is written later has been filled by the default or the trigger. Such a stretch is read
by itself since PostgreSQL 14 (release notes: "Allow TID range scans"). Rows that are filled are passed over, so that
an interrupted block can run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.suggest.indexes import outside
from kernel.rehearsal.suggest.piece import Unsure, comment

if TYPE_CHECKING:
    from kernel.rehearsal.suggest.facts import Table
    from kernel.rehearsal.suggest.ground import Ground
    from kernel.rehearsal.suggest.piece import Piece

_SINCE = 140000
_PAGES = 512  # 4 MB of rows locked at a time, and as much WAL at least before others get a turn
_SAYS = (
    "Batch by batch, each committed: rows are locked for a moment and the table never. By stretches of pages, since "
    "every table has them, whatever its key is; rows written meanwhile are filled already. Safe to run again."
)


def refuse(table: Table, ground: Ground) -> None:
    """Raise Unsure where an UPDATE of every row would do more than fill a column, or cannot be had in batches."""
    if ground.server_version < _SINCE:
        raise Unsure("before PostgreSQL 14 a stretch of a table's pages cannot be read by itself")
    if table.family:
        raise Unsure(f"{comment(table.quoted)} has partitions, parents or children, whose rows a batch would mix up")
    if table.firing:
        raise Unsure(f"the backfill would fire the trigger {comment(table.firing[0])} for every row")
    if table.rules:
        raise Unsure(f"{comment(table.quoted)} has rules, which would rewrite the backfill")


def piece(table: Table, assignment: str, condition: str, *, also: str = "") -> Piece:
    """The block: UPDATE … SET `assignment` WHERE `condition`, and the statement `also` behind it."""
    tag = dollars(f"{table.quoted}{assignment}{condition}")
    sql = f"""\
DO {tag}
DECLARE
    stretch CONSTANT bigint := {_PAGES};
    pages CONSTANT bigint := pg_relation_size({literal(table.quoted)}::regclass)
        / current_setting('block_size')::bigint;
    page bigint := 0;
BEGIN
    WHILE page <= pages LOOP
        UPDATE {table.quoted} SET {assignment}
        WHERE ctid >= format('(%s,0)', page)::tid AND ctid < format('(%s,0)', page + stretch)::tid
            AND {condition};
        COMMIT;
        page := page + stretch;
    END LOOP;
END
{tag};
"""  # noqa: S608 - a file to be read by people, and run by them
    return outside(sql + also, label="backfill", says=_SAYS)


def dollars(text: str) -> str:
    """A dollar quote that does not occur in a text."""
    number = 0
    while (tag := f"$step{number or ''}$") in text:
        number += 1
    return tag


def literal(text: str) -> str:
    """A string for SQL, where standard_conforming_strings is on, as the runner insists."""
    return "'" + text.replace("'", "''") + "'"
