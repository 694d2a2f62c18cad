"""The rows that stand in the way of another type: their values are none of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.rehearsal.data import alter, violators

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.database import Connection
    from kernel.rehearsal.data.alter import Alter, Token
    from kernel.rehearsal.result import Violation

# A variable of plpgsql is assigned by the casts that ALTER TYPE uses, which refuse what an explicit cast cuts off.
_FITS = """CREATE FUNCTION pg_temp.fits({relation}) RETURNS boolean LANGUAGE plpgsql AS $fits$
#variable_conflict use_column
DECLARE fitting {kind};
BEGIN SELECT ({expression}) INTO fitting FROM (SELECT ($1).*) AS {bare}; RETURN true;
EXCEPTION WHEN data_exception THEN RETURN false; END $fits$"""


def refused(connection: Connection, text: bytes, altered: Alter, action: tuple[Token, ...]) -> Iterator[Violation]:
    """ALTER COLUMN … TYPE: the rows whose value the new type does not take, tried one by one."""
    column, rest = alter.column_of(text, action)
    words = [token.word for token in rest]
    if words[:3] == ["SET", "DATA", "TYPE"]:
        rest, words = rest[2:], words[2:]
    if words[:1] != ["TYPE"]:
        return
    cut = next((at for at, word in enumerate(words) if word in ("USING", "COLLATE")), len(words))
    kind = alter.text(text, rest[1:cut])
    using = words.index("USING") + 1 if "USING" in words else len(words)
    expression = alter.text(text, rest[using:]) or column
    relation = violators.named(connection, altered.table)
    function = _FITS.format(relation=relation, kind=kind, expression=expression, bare=altered.bare)
    if "$fits$" in kind + expression:
        return
    connection.execute("SAVEPOINT fits")
    connection.execute(function.encode())
    rows = altered.rows(relation)
    found = violators.where(connection, relation, f"{column} {kind}", rows=rows, condition="NOT pg_temp.fits(t)")
    connection.execute("ROLLBACK TO fits")
    yield replace(found, query=f"{function};\n{found.query}")
