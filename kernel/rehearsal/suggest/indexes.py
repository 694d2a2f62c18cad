"""Indexes without a lock that shuts writes out: CONCURRENTLY, each alone in its file.

Source: PostgreSQL documentation, "CREATE INDEX", "DROP INDEX", "REINDEX".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.static.words import Reader, split
from kernel.rehearsal.suggest import ground as ground_
from kernel.rehearsal.suggest import names
from kernel.rehearsal.suggest.cut import Cut
from kernel.rehearsal.suggest.piece import How, Piece, Unsure, Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.static.words import Word
    from kernel.rehearsal.suggest.facts import Table
    from kernel.rehearsal.suggest.ground import Ground

_UNNAMED = "the index has no name, and one that PostgreSQL makes of an expression; give it a name"
_BUILT = "Built while the table is read and written: that takes longer, and waits for transactions that are older."


def create(sql: bytes, ground: Ground) -> Way:
    """CREATE INDEX. One without a name gets the one that PostgreSQL would choose: IF NOT EXISTS asks for a name."""
    cut = Cut(sql)
    reader = cut.reader()
    reader.take("CREATE")
    unique = "UNIQUE " if reader.take("UNIQUE") else ""
    reader.take("INDEX")
    reader.take("IF", "NOT", "EXISTS")
    begin = reader.at
    given = "" if reader.key == "ON" else ground_.name(reader) and cut.text(begin, reader.at)
    if not reader.take("ON"):
        raise Unsure("the statement is written in a way that is not known here")
    begin = reader.at
    table = ground.table(ground_.name(reader))
    if table.kind == "p":
        raise Unsure("an index of a partitioned table cannot be built concurrently; build those of its partitions so")
    if not given:
        reader.until("(")
        keys = [_key(item) for item in split(reader.group())]
        if reader.take("INCLUDE"):
            keys += [_key(item) for item in split(reader.group())]
        given = names.quoted(ground.default_name(table, names.of_an_index(keys), "idx"))
    built = f"CREATE {unique}INDEX CONCURRENTLY IF NOT EXISTS {given} ON {cut.text(begin)};\n"
    return Way(pieces=(outside(built, label="index", says=_BUILT),))


def outside(sql: str, *, label: str, says: str = "") -> Piece:
    """A statement that runs outside of any transaction, and so in a file of its own."""
    return Piece(sql=sql, how=How.OUTSIDE, label=label, says=says)


def unique(name: str, table: Table, written: str, keys: str) -> Piece:
    """The unique index for a constraint: `keys` begin with its columns in parentheses."""
    sql = f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {written} {keys};\n"
    if table.kind != "r":
        raise Unsure("an index of a partitioned table cannot be built concurrently")
    return outside(sql, label="index", says=_BUILT)


def _key(item: Sequence[Word]) -> str:
    """What PostgreSQL calls a key: the column, the function that is called, or expr (FigureIndexColname)."""
    reader = Reader(item)
    if reader.key == "(":
        return _of_expression(reader.group())
    name = _last_name(reader)
    if name in ("cast", "case", ""):
        raise Unsure(_UNNAMED)
    return name


def _of_expression(inner: Sequence[Word]) -> str:
    reader = Reader(inner)
    if reader.key == "(":
        group = reader.group()
        if not reader.key:
            return _of_expression(group)
    name = _last_name(reader)
    called = bool(reader.group())
    if name and not reader.key and name not in ("cast", "case"):
        return name
    # Of a cast it takes the name of what is cast, or else of the type.
    if (called and reader.key == ":") or {word.key for word in inner} & {":", "CASE", "CAST", "COLLATE", "["}:
        raise Unsure(_UNNAMED)
    return "expr"


def _last_name(reader: Reader) -> str:
    name = ""
    while reader.at < len(reader.words) and reader.words[reader.at].named:
        name = reader.words[reader.at].text
        reader.at += 1
        if not reader.take("."):
            break
    return name


def drop(sql: bytes, ground: Ground) -> Way:
    """DROP INDEX: each index in a file of its own."""
    cut = Cut(sql)
    reader = cut.reader()
    reader.take("DROP", "INDEX")
    reader.take("IF", "EXISTS")
    pieces = []
    while True:
        begin = reader.at
        index = ground_.name(reader)
        if ground.table(index).kind != "i":
            raise Unsure("an index of a partitioned table cannot be dropped concurrently")
        dropped = f"DROP INDEX CONCURRENTLY IF EXISTS {cut.text(begin, reader.at)};\n"
        pieces.append(outside(dropped, label="drop_index", says="Dropped once nobody uses it any more."))
        if not reader.take(","):
            break
    if reader.take("CASCADE"):
        raise Unsure("DROP INDEX CONCURRENTLY knows no CASCADE")
    return Way(pieces=tuple(pieces))


def rebuild(sql: bytes, ground: Ground) -> Way:
    """REINDEX of an index or a table."""
    cut = Cut(sql)
    reader = cut.reader()
    reader.take("REINDEX")
    begin = reader.at
    reader.group()
    options = f"{cut.text(begin, reader.at)} " if reader.at > begin else ""
    kind = reader.take_any("INDEX", "TABLE")
    if not kind:
        raise Unsure("only REINDEX INDEX and REINDEX TABLE can be told apart from what they are not to touch")
    begin = reader.at
    ground.table(ground_.name(reader))
    built = f"REINDEX {options}{kind} CONCURRENTLY {cut.text(begin)};\n"
    return Way(pieces=(outside(built, label="reindex", says="Built beside the old one, then swapped."),))
