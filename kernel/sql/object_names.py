"""The objects that a statement names: what it creates or changes, and what it reads, bodies of functions included.

The text alone is read, so that a name counts where its position shows an object: after CREATE TABLE or FROM, before the
parentheses of a call. Source: PostgreSQL documentation, "SQL Commands".
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from kernel.sql.plpgsql import STATEMENT_STARTS_AFTER, UNKNOWN_NAME, executed_text
from kernel.sql.reader import QUOTED_KEY, STRING_KEY, WordReader, read_words, split_at_commas

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.sql.reader import Word


# The kinds of objects whose name follows; those of the second set belong to the table after ON.
_KINDS = frozenset(
    {
        *("TABLE", "VIEW", "INDEX", "SEQUENCE", "FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE", "TYPE", "DOMAIN"),
        *("SCHEMA", "STATISTICS", "COLLATION", "EXTENSION", "PUBLICATION", "OPERATOR", "COLUMN"),
    }
)
_ATTACHED_KINDS = frozenset({"TRIGGER", "POLICY", "RULE", "CONSTRAINT"})
_BEFORE_KIND = frozenset(
    {
        *("OR", "REPLACE", "TEMP", "TEMPORARY", "GLOBAL", "LOCAL", "UNLOGGED", "RECURSIVE", "MATERIALIZED", "FOREIGN"),
        *("UNIQUE", "EVENT", "ALL", "TABLES", "SEQUENCES", "FUNCTIONS", "IN"),
    }
)
_KINDS_WITH_BODY = frozenset({"FUNCTION", "PROCEDURE"})
_BEFORE_NAME = frozenset(
    {
        *("IF", "NOT", "EXISTS", "ONLY", "CONCURRENTLY", "TABLE", "LATERAL", "VERBOSE", "SETOF"),
        *("TEMP", "TEMPORARY", "UNLOGGED"),
    }
)
_NOT_BEFORE_UPDATE = frozenset({"FOR", "ON", "OR", "KEY", "BEFORE", "AFTER", "OF", ",", "GRANT", "DO"})
_READ_AFTER = frozenset({"FROM", "JOIN", "REFERENCES", "SETOF", "RETURNS", "INHERITS", "OF", "LIKE", "USING", "TABLE"})
_READ_ONE_AFTER = frozenset({"REFERENCES", "SETOF", "RETURNS", "LIKE"})
# The words that begin a list of tables, which goes on after each comma of the same parentheses, and those that end it.
_LIST_BEGINS = frozenset({"FROM", "JOIN", "USING", "TABLE"})
_LIST_ENDS = frozenset(
    {
        *(
            "SELECT",
            "VALUES",
            "WHERE",
            "GROUP",
            "HAVING",
            "WINDOW",
            "ORDER",
            "LIMIT",
            "OFFSET",
            "FETCH",
            "FOR",
            "UNION",
        ),
        *("EXCEPT", "INTERSECT", "SET", "RETURNING", "WHEN", ";"),
    }
)
_BEFORE_LISTED_PARENTHESIS = frozenset({",", "(", "ONLY", "LATERAL"})
# What begins an item of CREATE TABLE, or follows ADD of ALTER TABLE, without being the name of a column.
_NO_COLUMNS = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE", "LIKE", "TABLE", "VALUE"})
_BUILT_IN_TYPES = frozenset(
    {
        *("BIGINT", "BIGSERIAL", "BIT", "BOOL", "BOOLEAN", "BYTEA", "CHAR", "CHARACTER", "DATE", "DECIMAL", "DOUBLE"),
        *("FLOAT", "INT", "INT2", "INT4", "INT8", "INTEGER", "INTERVAL", "JSON", "JSONB", "NUMERIC", "REAL", "SERIAL"),
        *("SMALLINT", "SMALLSERIAL", "TEXT", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "UUID", "VARCHAR"),
    }
)
# Reserved words that may follow those words, or stand before parentheses, without being a name.
_NO_NAMES = frozenset(
    {
        *(
            "SELECT",
            "VALUES",
            "WITH",
            "WHERE",
            "SET",
            "ON",
            "AND",
            "OR",
            "AS",
            "IN",
            "ALL",
            "ANY",
            "SOME",
            "DO",
            "NULL",
        ),
        *("SKIP", "NOWAIT", "CASE", "WHEN", "THEN", "ELSE", "END", "UNION", "EXCEPT", "INTERSECT", "DISTINCT", "KEY"),
        *("TABLE", "CHECK", "UNIQUE", "DEFAULT", "FILTER", "OVER", "BY", "STRICT", "NOTHING", "TRIGGER", "BEFORE"),
        *("AFTER", "EACH", "FOR", "TO", "CAST", "ROW", "ARRAY", "ONLY", "LATERAL", "EXISTS", "NOT", "IF", "COLUMN"),
        *("GROUP", "ORDER", "HAVING", "LIMIT", "RETURNING", "UPDATE", "INSERT", "DELETE", "FUNCTION", "PROCEDURE"),
    }
)


# What a schema follows that is used and not changed.
_SCHEMA_FOLLOWS = (("SEARCH_PATH", "TO"), ("SEARCH_PATH", "="), ("WITH", "SCHEMA"))
_LONGEST_NAME_WORDS = 3  # schema.name


class Mention(NamedTuple):
    """An object that a statement names, qualified if it is there, without the schema public; `begin` is its offset.

    `changes` tells what the statement creates, changes or drops from what it reads. `late` is a name that need not
    exist yet: it is in a body of PL/pgSQL or in a string. An empty name stands for SQL that is composed at run time.
    `is_schema` is a schema, with everything in it.
    """

    name: str
    begin: int
    changes: bool = False
    late: bool = False
    is_schema: bool = False


class Definition(NamedTuple):
    """An object that a statement creates: its kind in lower case, its name, and the table of a trigger."""

    kind: str
    name: str
    table: str = ""


def read_definition(words: Sequence[Word]) -> Definition | None:
    """The view, function, procedure, aggregate or trigger that a statement creates; None for another statement.

    A temporary object is none: it is gone with its session. Nor is one with a dot in its quoted name.
    """
    reader = WordReader(words)
    if not reader.take("CREATE"):
        return None
    materialized = False
    while reader.key in _BEFORE_KIND or reader.key == "CONSTRAINT":
        if reader.key in ("TEMP", "TEMPORARY"):
            return None
        materialized = materialized or reader.key == "MATERIALIZED"
        reader.index += 1
    kind = reader.take_any("VIEW", "FUNCTION", "PROCEDURE", "AGGREGATE", "TRIGGER")
    reader.take("IF", "NOT", "EXISTS")
    begin = reader.index
    if not kind or not (name := reader.take_name()) or name.startswith("pg_temp."):
        return None
    if any("." in word.text for word in reader.words[begin : reader.index] if word.key == QUOTED_KEY):
        return None
    table = ""
    if kind == "TRIGGER":
        reader.take_until("ON")
        reader.take("ON")
        table = reader.take_name()
    return Definition("materialized view" if materialized else kind.lower(), name, table)


def read_mentions(sql: bytes) -> Iterator[Mention]:
    """Yield the objects that a statement names, with their offsets in it."""
    words = read_words(sql)
    late = _has_late_names(words)
    yield from _statement_mentions(words)
    strings = [word for word in words if word.key == STRING_KEY]
    command = words[0].key if words else ""
    if command == "DO" or (command == "CREATE" and any(word.key in _KINDS_WITH_BODY for word in words[:4])):
        for word in strings:
            yield from _body_mentions(word, late=late, runs=command == "DO")
    elif command != "COMMENT":
        yield from _named_in_strings(strings)


def same_object(one: str, other: str) -> bool:
    """Whether two names may be of one object: they are equal, or their last parts where one has no schema."""
    return one == other or (("." in one) != ("." in other) and one.rpartition(".")[2] == other.rpartition(".")[2])


def may_overlap(one: Mention, other: Mention) -> bool:
    """Whether two mentions may be of one object, or of a schema and an object in it."""
    return same_object(one.name, other.name) or _may_contain(one, other.name) or _may_contain(other, one.name)


def _may_contain(schema: Mention, name: str) -> bool:
    """Whether a mention is of a schema that an object may be in; one without a schema in its name is in public."""
    return schema.is_schema and (name.startswith(f"{schema.name}.") or (schema.name == "public" and "." not in name))


def _has_late_names(words: Sequence[Word]) -> bool:
    """Whether a statement has a body in a language other than SQL, whose names are looked up when it runs."""
    keys = [word.key for word in words]
    if keys[:1] == ["DO"]:
        return True
    return any(key == "LANGUAGE" and word.text.lower() != "sql" for key, word in zip(keys, words[1:], strict=False))


def _named_in_strings(strings: Iterable[Word]) -> Iterator[Mention]:
    """The objects whose names are strings, as in nextval('app.numbers')."""
    for string in strings:
        inner = WordReader(read_words(string.text.encode()))
        if len(inner.words) <= _LONGEST_NAME_WORDS and (name := inner.take_name()) and not inner.key:
            yield Mention(name, string.begin, late=True)


def _body_mentions(body: Word, *, late: bool, runs: bool) -> Iterator[Mention]:
    """The objects named in the body of a function or DO block, also in statements of EXECUTE; `runs` is a DO block."""
    reader = WordReader(read_words(body.text.encode(), body.inner))
    yield from _named_in_strings([word for word in reader.words if word.key == STRING_KEY])
    statement: list[Word] = []
    while reader.key:
        if reader.key == "EXECUTE" and not statement:
            begin = reader.begin
            text = executed_text(reader.take_until(";")[1:])
            mentions = [] if text is None else list(read_mentions(text.encode()))
            if runs and (text is None or any(UNKNOWN_NAME in one.name for one in mentions)):
                yield Mention("", begin, changes=True)
            yield from (one._replace(begin=begin, late=True) for one in mentions if UNKNOWN_NAME not in one.name)
        elif reader.key in STATEMENT_STARTS_AFTER:
            yield from (one._replace(late=late) for one in _statement_mentions(statement, in_body=True))
            statement = []
        if reader.key and reader.key not in STATEMENT_STARTS_AFTER:
            statement.append(reader.words[reader.index])
        reader.index += 1
    yield from (one._replace(late=late) for one in _statement_mentions(statement, in_body=True))


def _statement_mentions(words: Sequence[Word], *, in_body: bool = False) -> Iterator[Mention]:
    reader = WordReader(words)
    command, kind = ([word.key for word in words[:2]] + ["", ""])[:2]
    header = list(_header_mentions(reader))
    yield from header
    in_list = [False]  # for each open parenthesis: whether tables are listed, so that one follows a comma
    while reader.key:
        key, index = reader.key, reader.index
        changes = _begins_change(reader, in_body=in_body)
        ends_list = key in _LIST_ENDS and not (key == "WHERE" and kind == "PUBLICATION")
        in_list[-1] = (in_list[-1] or key in _LIST_BEGINS) and not ends_list
        if key == ")":
            del in_list[max(len(in_list) - 1, 1) :]
        if reader.take("RETURNS", "TABLE"):
            yield from _column_type_mentions(reader)
        elif key == "USING" and command == "ALTER":  # an expression
            in_list[-1] = False
            reader.index += 1
            yield from islice(_listed(reader, changes=True), int(reader.take("INDEX")))
        elif changes or key in _READ_AFTER:
            reader.index += 1
            while reader.key == "(" or reader.key in _BEFORE_NAME:
                in_list += [True] * (reader.key == "(")
                reader.index += 1
            yield from islice(_listed(reader, changes=changes), 1 if key in _READ_ONE_AFTER else None)
        elif key == "(" or (key == "," and in_list[-1]):
            if key == "(":
                in_list.append(in_list[-1] and index > 0 and words[index - 1].key in _BEFORE_LISTED_PARENTHESIS)
            reader.index += 1
            yield from _listed(reader, changes=False) if in_list[-1] else ()
        elif mentions := _clause_mentions(reader, header):
            yield from mentions
        else:
            yield from _call_mentions(reader)


def _call_mentions(reader: WordReader) -> Iterator[Mention]:
    """The function that is called here, or the table whose %TYPE or %ROWTYPE it is, with the reader after its name."""
    word = reader.words[reader.index]
    if not word.is_name or word.key in _NO_NAMES:
        reader.index += 1
        return
    name = reader.take_name()
    if reader.key == "(" or _follows_percent(reader):
        called = name.rpartition(".")[0] if _percent_type(reader) else name
        yield Mention(called or name, word.begin)


def _clause_mentions(reader: WordReader, header: Sequence[Mention]) -> list[Mention]:
    """The objects that a clause names, with the reader after them; [], and the reader where it was, without one."""
    begin = reader.index
    mentions: list[Mention] = []
    if reader.take("RENAME", "TO"):
        is_schema = any(one.is_schema for one in header)
        mentions = [one._replace(is_schema=is_schema) for one in _listed(reader, changes=True)]
    elif reader.take("ATTACH", "PARTITION") or reader.take("DETACH", "PARTITION"):
        mentions = list(_listed(reader, changes=True))
    elif reader.take("OWNED", "BY"):
        mentions = [
            one._replace(name=one.name.rpartition(".")[0] or one.name) for one in _listed(reader, changes=False)
        ]
    elif reader.take("SET", "SCHEMA"):  # what is moved has a new name
        place, schema = reader.begin, reader.take_name()
        prefix = "" if schema == "public" else f"{schema}."
        mentions = [Mention(f"{prefix}{one.name.rpartition('.')[2]}", place, changes=True) for one in header if schema]
    elif reader.take("IN", "SCHEMA") or (reader.words[0].key == "IMPORT" and reader.take("INTO")):
        mentions = [one._replace(is_schema=True) for one in _listed(reader, changes=True)]
    elif any(reader.take(*words) for words in _SCHEMA_FOLLOWS):
        mentions = list(_listed(reader, changes=False))
    else:
        mentions = list(_clause_type_mentions(reader))
    if not mentions:
        reader.index = begin
    return mentions


def _clause_type_mentions(reader: WordReader) -> Iterator[Mention]:
    """The type that a cast or an action of ALTER TABLE or ALTER TYPE names; () without one."""
    if reader.take(":", ":"):
        yield from _type_mentions(reader)
    elif reader.take("CAST"):
        cast = WordReader(_peek_group(reader))
        cast.take_until("AS")
        if cast.take("AS"):
            yield from _type_mentions(cast)
    elif reader.words[0].key == "ALTER" and reader.take("TYPE"):
        yield from _type_mentions(reader)
    elif reader.words[0].key == "ALTER" and reader.take("ADD"):
        reader.take_any("COLUMN", "ATTRIBUTE")
        reader.take("IF", "NOT", "EXISTS")
        if reader.key not in _NO_COLUMNS and reader.take_word().is_name:
            yield from _type_mentions(reader)


def _peek_group(reader: WordReader) -> tuple[Word, ...]:
    """The words in the parentheses that begin here; the reader stays where it is."""
    ahead = WordReader(reader.words)
    ahead.index = reader.index
    return ahead.take_group()


def _type_mentions(reader: WordReader) -> Iterator[Mention]:
    """The type that is named here, unless it is a built-in one."""
    if reader.key not in _BUILT_IN_TYPES and reader.key not in _NO_NAMES:
        begin = reader.begin
        if name := reader.take_name():
            yield Mention(name, begin)


def _column_type_mentions(reader: WordReader) -> Iterator[Mention]:
    """The types of the columns in the parentheses that begin here; the reader stays where it is."""
    for item in split_at_commas(_peek_group(reader)):
        column = WordReader(item)
        if column.key not in _NO_COLUMNS and column.take_word().is_name:
            yield from _type_mentions(column)


def _begins_change(reader: WordReader, *, in_body: bool) -> bool:
    """Whether the table that is written follows the next word."""
    before = reader.words[reader.index - 1].key if reader.index else ""
    if reader.key == "INTO":  # SELECT INTO creates a table, but fills a variable in PL/pgSQL
        return before in ("INSERT", "MERGE") or not (in_body or reader.words[0].key == "IMPORT")
    if reader.key == "FROM":
        return before == "DELETE"
    return reader.key == "UPDATE" and before not in _NOT_BEFORE_UPDATE


def _follows_percent(reader: WordReader) -> bool:
    return reader.next_is("%", "ROWTYPE") or _percent_type(reader)


def _percent_type(reader: WordReader) -> bool:
    return reader.next_is("%", "TYPE")


def _header_mentions(reader: WordReader) -> Iterator[Mention]:
    """The objects that the first words of a statement name as what it creates, changes or drops."""
    command = reader.take_any(
        *("CREATE", "ALTER", "DROP", "COMMENT", "GRANT", "REVOKE", "TRUNCATE", "LOCK", "REINDEX", "CLUSTER", "VACUUM"),
        *("ANALYZE", "REFRESH", "COPY"),
    )
    if command in ("COMMENT", "GRANT", "REVOKE"):
        reader.take_until("ON")
        reader.take("ON")
    while reader.key in _BEFORE_KIND:
        reader.index += 1
    if command in ("TRUNCATE", "LOCK", "REINDEX", "CLUSTER", "VACUUM", "ANALYZE", "COPY", "GRANT", "REVOKE"):
        reader.take_group() if command in ("VACUUM", "ANALYZE", "CLUSTER", "REINDEX") else ()
        is_schema = reader.take_any(*_KINDS) == "SCHEMA"
        yield from (one._replace(is_schema=is_schema) for one in _listed(reader, changes=True))
    elif command and (kind := reader.take_any(*_KINDS, *_ATTACHED_KINDS)):
        yield from _definition_mentions(reader, command, kind)


def _definition_mentions(reader: WordReader, command: str, kind: str) -> Iterator[Mention]:
    """The object of a kind that is created, changed, dropped or commented on, and the types of what it consists of."""
    if kind in _ATTACHED_KINDS or (kind == "INDEX" and command == "CREATE"):
        if kind == "INDEX":  # the others are named within their table
            yield from _listed(reader, changes=True)
        reader.take_until("ON")
        reader.take("ON")
        if kind == "RULE" and reader.take_any("SELECT", "INSERT", "UPDATE", "DELETE"):
            reader.take("TO")
        yield from _listed(reader, changes=True)
    elif kind == "COLUMN":
        begin, name = reader.begin, reader.take_name()
        yield Mention(name.rpartition(".")[0] or name, begin, changes=True)
    else:
        if kind == "SCHEMA":
            reader.take("IF", "NOT", "EXISTS")
            reader.take("AUTHORIZATION")  # a schema with the name of its owner
        yield from (one._replace(is_schema=kind == "SCHEMA") for one in _listed(reader, changes=True))
        if command == "CREATE":
            yield from _created_type_mentions(reader, kind)


def _created_type_mentions(reader: WordReader, kind: str) -> Iterator[Mention]:
    """The types of the columns, attributes or parameters of an object whose name was read."""
    if kind in _KINDS_WITH_BODY:
        for word in reader.take_group():
            if word.is_name and word.key not in _NO_NAMES:
                yield Mention(word.text, word.begin)
    elif kind == "TABLE" or (kind == "TYPE" and reader.take("AS")):
        yield from _column_type_mentions(reader)
    elif kind == "DOMAIN":
        reader.take("AS")
        yield from _type_mentions(reader)


def _listed(reader: WordReader, *, changes: bool) -> Iterator[Mention]:
    """The names of a list, each with or without an alias or the arguments of a function."""
    while True:
        while reader.key in _BEFORE_NAME:
            reader.index += 1
        if reader.key in _NO_NAMES or not reader.key:
            return
        begin = reader.begin
        if not (name := reader.take_name()):
            return
        yield Mention(name, begin, changes)
        following = WordReader(reader.words)
        following.index = reader.index
        following.take("AS")
        if following.key != "(" and following.key not in _NO_NAMES and following.key != ",":
            following.take_name()
        elif following.key == "(" and reader.words[0].key == "DROP":
            following.take_group()
        if not following.take(","):
            return
        reader.index = following.index
