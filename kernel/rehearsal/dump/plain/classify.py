"""Classify the statements that pg_dump writes, by their shape, for loading.

A statement gets special treatment only when all of it has exactly the shape that pg_dump gives it; any other runs
unchanged, in its place, with the rights of an ordinary role (see common.roles). So a hostile statement gains nothing by
a resemblance: what runs with a superuser's rights is matched here from its first byte to its semicolon, has no room for
an expression, and is sent so that the server accepts no second statement with it.

Source: pg_dump.c, dumputils.c and pg_backup_archiver.c of PostgreSQL 9.6 to 18.
"""

from __future__ import annotations

import re
from enum import Enum

from kernel.schema.queries_tables import SERVER_OPTIONS

IDENTIFIER = rb'(?:"(?:[^"]|"")+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+)'
_NAME = rb"(?:%b\.)?%b" % (IDENTIFIER, IDENTIFIER)
_STRING = rb"(?:E?'(?:[^'\\]|'')*'|E'(?:[^'\\]|''|\\.)*')"
# Names, types and lists of them in parentheses; neither strings nor operators, so nothing to evaluate.
_SIGNATURE = rb'(?:"(?:[^"]|"")+"|[A-Za-z0-9_$\x80-\xff.,()\[\] \n])*'


class StatementKind(Enum):
    """How a statement is loaded."""

    PLAIN = "runs in its place"
    SETTING = "a session setting for the statements after it, on every connection"
    AUTHORIZATION = "the owner of what the statements after it create"
    SCHEMA = "a schema, which extensions may need"
    EXTENSION = "created by a superuser, before anything of the dump's own could run"
    INDEX = "builds an index, in parallel with other indexes"
    INDEX_PROPERTY = "a property of an index, set when it is built"
    FOREIGN_KEY = "checks one table against another, in parallel with other keys"
    PRIVILEGES = "ownership and privileges: last, by a superuser"
    LARGE_OBJECT = "the owner, privileges or comment of a large object, which is a row: last, by a superuser"
    EVENT_TRIGGER = "after everything else, which would fire it"
    COMMENT = "a comment or security label"
    PUBLICATION = "a copy has no subscribers, but a publication restricts migrations"
    COLUMN_OPTIONS = "options of a column, with one that only a server sets, which is left out"
    DROP = "drops what a fresh database does not have"
    PLACEHOLDER = "replaces a view by an empty one, to drop what it depends on"
    DATABASE = "concerns the database as a whole, which exists already, by another name"
    SEQUENCE = "sets a sequence to a number"
    DATA = "creates rows or large objects rather than schema"
    REMOTE = "would reach another server"


# What a copy can do without; a setting may be one of newer servers, such as transaction_timeout.
HARMLESS_KINDS = frozenset(
    {
        *(StatementKind.COMMENT, StatementKind.PRIVILEGES, StatementKind.LARGE_OBJECT, StatementKind.PUBLICATION),
        *(StatementKind.DROP, StatementKind.SETTING),
    }
)


def _compile_shape(text: bytes) -> re.Pattern[bytes]:
    """A pattern for one statement: %n is a name, %i an identifier, %s a string, %g a signature."""
    for sign, meaning in ((b"%n", _NAME), (b"%i", IDENTIFIER), (b"%s", _STRING), (b"%g", _SIGNATURE)):
        text = text.replace(sign, meaning)
    return re.compile(text.replace(b" +", rb"[ \n]+"), re.DOTALL)


_ADD_CONSTRAINT = rb"ALTER TABLE (?:ONLY )?(?P<exclusive>%n) +ADD CONSTRAINT %i "
_OWNER = rb" OWNER TO (?P<role>%i);\Z"
_RELATION = rb"(?:TABLE|SEQUENCE|VIEW|MATERIALIZED VIEW|FOREIGN TABLE|INDEX)"
_SIMPLE_OBJECT = (
    rb"(?:SCHEMA|TYPE|DOMAIN|COLLATION|CONVERSION|STATISTICS|LANGUAGE|PROCEDURAL LANGUAGE|SERVER|FOREIGN DATA WRAPPER"
    rb"|PUBLICATION|TEXT SEARCH DICTIONARY|TEXT SEARCH CONFIGURATION)"
)
_ROUTINE = rb"(?:FUNCTION|PROCEDURE|ROUTINE|AGGREGATE|OPERATOR CLASS|OPERATOR FAMILY)"
_SET_COLUMN = rb"ALTER (?:FOREIGN )?TABLE (?:ONLY )?%n ALTER COLUMN %i SET "
_SERVER_OPTION = rb"(?:%b) ?= ?'?[0-9]+'?" % "|".join(SERVER_OPTIONS).encode()
_DEFAULT_PRIVILEGES = rb"ALTER DEFAULT PRIVILEGES (?:FOR (?:ROLE|USER) %i )?(?:IN SCHEMA %i )?"

# The first that matches counts.
_KINDS_AND_SHAPES = (
    (StatementKind.AUTHORIZATION, rb"SET SESSION AUTHORIZATION (?P<role>%i|%s|DEFAULT);\Z"),
    (StatementKind.PLAIN, rb"SET (?:LOCAL|TRANSACTION|CONSTRAINTS|ROLE|SESSION CHARACTERISTICS)\b"),
    (StatementKind.SETTING, rb"SET (?:SESSION )?(?P<name>[A-Za-z_.]+)(?: = | TO )[^;]*;\Z"),
    (StatementKind.AUTHORIZATION, rb"RESET SESSION AUTHORIZATION;\Z"),
    (StatementKind.SETTING, rb"RESET (?P<name>[A-Za-z_.]+);\Z"),
    (StatementKind.SETTING, rb"SELECT pg_catalog\.set_config\('(?P<name>[a-z_.]+)', %s, false\);\Z"),
    (StatementKind.SEQUENCE, rb"SELECT pg_catalog\.setval\(%s, -?[0-9]+, (?:true|false)\);\Z"),
    (StatementKind.DATA, rb"SELECT pg_catalog\.(?:lo_[a-z0-9]+|lowrite)\("),
    (StatementKind.DATA, rb"REFRESH MATERIALIZED VIEW "),
    (StatementKind.INDEX, rb"CREATE (?:UNIQUE )?INDEX %i ON (?:ONLY )?(?P<table>%n) USING "),
    (StatementKind.SCHEMA, rb"CREATE SCHEMA (?:IF NOT EXISTS )?%i;\Z"),
    (
        StatementKind.EXTENSION,
        rb"CREATE EXTENSION (?:IF NOT EXISTS )?(?P<name>%i)(?: WITH SCHEMA %i)?(?: VERSION (?:%i|%s))?;\Z",
    ),
    (
        StatementKind.EVENT_TRIGGER,
        rb"CREATE EVENT TRIGGER (?P<name>%i) +ON .*EXECUTE (?:FUNCTION|PROCEDURE) %n\(\);\Z",
    ),
    (StatementKind.REMOTE, rb"CREATE (?P<what>SUBSCRIPTION|USER MAPPING)\b"),
    (StatementKind.DATABASE, rb"CREATE DATABASE "),
    (StatementKind.PLACEHOLDER, rb"CREATE OR REPLACE VIEW %n AS\nSELECT\n +NULL::"),
    (StatementKind.PUBLICATION, rb"CREATE PUBLICATION (?P<name>%i)\b"),
    (StatementKind.INDEX, _ADD_CONSTRAINT + rb"(?:PRIMARY KEY|UNIQUE|EXCLUDE)\b"),
    (StatementKind.FOREIGN_KEY, _ADD_CONSTRAINT + rb"FOREIGN KEY \([^()]*\) REFERENCES (?P<other>%n)\("),
    (StatementKind.INDEX_PROPERTY, rb"ALTER TABLE (?:ONLY )?%n (?:CLUSTER ON|REPLICA IDENTITY USING INDEX) %i;\Z"),
    (StatementKind.INDEX_PROPERTY, rb"ALTER INDEX %n ALTER COLUMN [0-9]+ SET STATISTICS [0-9]+;\Z"),
    (StatementKind.LARGE_OBJECT, rb"ALTER LARGE OBJECT [0-9]+" + _OWNER),
    (StatementKind.PRIVILEGES, rb"ALTER " + _RELATION + rb" %n" + _OWNER),
    (StatementKind.PRIVILEGES, rb"ALTER " + _SIMPLE_OBJECT + rb" %n" + _OWNER),
    (StatementKind.PRIVILEGES, rb"ALTER " + _ROUTINE + rb" %n ?(?:\(%g\)|USING %i)" + _OWNER),
    (StatementKind.PRIVILEGES, rb"ALTER OPERATOR (?:%i\.)?[-+*/<>=~!@#%^&|`?]+ \(%g\)" + _OWNER),
    (StatementKind.PRIVILEGES, _DEFAULT_PRIVILEGES + rb"(?:GRANT|REVOKE) %g (?:TO|FROM) %g;\Z"),
    (StatementKind.EVENT_TRIGGER, rb"ALTER EVENT TRIGGER %i (?:OWNER TO %i|DISABLE|ENABLE(?: REPLICA| ALWAYS)?);\Z"),
    (StatementKind.REMOTE, rb"ALTER (?P<what>SUBSCRIPTION|USER MAPPING)\b"),
    (StatementKind.DATABASE, rb"ALTER DATABASE "),
    (StatementKind.PUBLICATION, rb"ALTER PUBLICATION (?P<name>%i) "),
    (StatementKind.COLUMN_OPTIONS, _SET_COLUMN + rb"\((?:[^;()]*, )?" + _SERVER_OPTION + rb"(?:, [^;()]*)?\);\Z"),
    (StatementKind.DROP, rb"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?%n DROP CONSTRAINT (?:IF EXISTS )?%i;\Z"),
    (StatementKind.DROP, rb"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?%n ALTER COLUMN %i DROP DEFAULT;\Z"),
    (StatementKind.LARGE_OBJECT, rb"GRANT %g ON LARGE OBJECT [0-9]+ TO %g;\Z"),
    (StatementKind.LARGE_OBJECT, rb"REVOKE %g ON LARGE OBJECT [0-9]+ FROM %g;\Z"),
    (StatementKind.LARGE_OBJECT, rb"COMMENT ON LARGE OBJECT [0-9]+ IS %s;\Z"),
    (StatementKind.DATABASE, rb"GRANT %g ON DATABASE %i TO %g;\Z"),
    (StatementKind.DATABASE, rb"REVOKE %g ON DATABASE %i FROM %g;\Z"),
    (StatementKind.PRIVILEGES, rb"GRANT %g ON %g TO %g;\Z"),
    (StatementKind.PRIVILEGES, rb"REVOKE %g ON %g FROM %g;\Z"),
    (StatementKind.INDEX_PROPERTY, rb"COMMENT ON (?:INDEX|CONSTRAINT) "),
    (StatementKind.DATABASE, rb"COMMENT ON DATABASE "),
    (StatementKind.EVENT_TRIGGER, rb"COMMENT ON EVENT TRIGGER %i IS %s;\Z"),
    (StatementKind.COMMENT, rb"COMMENT ON "),
    (StatementKind.COMMENT, rb"SECURITY LABEL "),
    (StatementKind.DATABASE, rb"DROP DATABASE "),
    (StatementKind.DROP, rb"DROP "),
)
# By the first word: a dump of a hundred thousand statements is not matched against all of them.
_SHAPES: dict[bytes, list[tuple[StatementKind, re.Pattern[bytes]]]] = {}
for _kind, _shape in _KINDS_AND_SHAPES:
    _SHAPES.setdefault(_shape.partition(b" ")[0], []).append((_kind, _compile_shape(_shape)))
_FIRST_WORD = re.compile(rb"[A-Z]+")

# Statements that a superuser runs when the loading role is refused them; none evaluates anything.
_SAFE_FOR_SUPERUSER = (
    _compile_shape(rb"COMMENT ON (?:EXTENSION|SCHEMA|LANGUAGE|PROCEDURAL LANGUAGE) %i IS %s;\Z"),
    _compile_shape(
        rb"CREATE PUBLICATION %i FOR ALL TABLES(?: WITH \((?:[a-z_]+ = (?:'[a-z, ]*'|[a-z]+)(?:, )?)*\))?;\Z"
    ),
    _compile_shape(rb"ALTER PUBLICATION %i ADD TABLES IN SCHEMA %i;\Z"),
)
_COPY = _compile_shape(rb"COPY (?P<table>%n)(?: \((?:%i(?:, )?)*\))? FROM stdin;\Z")
_INSERT = _compile_shape(rb"INSERT INTO (?P<table>%n) ")
SUMMARY_LENGTH = 60
# A password or the address of a server may follow.
_SECRET_CLAUSES = re.compile(r"\b(?:OPTIONS|CONNECTION)\b")
_SETTING_VALUE = re.compile(rb"(?:=|\bTO\b|,)\s*'?(?P<value>[^';,()]*)", re.DOTALL)


def classify_statement(sql: bytes) -> tuple[StatementKind, re.Match[bytes] | None]:
    """The kind of a statement, semicolon included, and the match of its shape; (PLAIN, None) for all others."""
    first = _FIRST_WORD.match(sql)
    for kind, pattern in _SHAPES.get(first[0] if first else b"", ()):
        if match := pattern.match(sql):
            return kind, match
    return StatementKind.PLAIN, None


def without_server_options(sql: bytes) -> bytes:
    """A statement of the kind COLUMN_OPTIONS without options that only a server sets, b"" when it sets no others."""
    begin = sql.rindex(b"(") + 1
    options = sql[begin : sql.rindex(b")")].split(b", ")
    kept = [option for option in options if not re.fullmatch(_SERVER_OPTION, option)]
    return sql[:begin] + b", ".join(kept) + b");" if kept else b""


def is_safe_for_superuser(sql: bytes) -> bool:
    """Whether a superuser may run a statement that the loading role was refused."""
    return any(pattern.match(sql) for pattern in _SAFE_FOR_SUPERUSER)


def summarise_statement(statement: bytes) -> str:
    """The beginning of a statement on one line, up to a clause that may hold a secret."""
    text = statement[: 4 * SUMMARY_LENGTH].decode(errors="replace")
    text = " ".join(_SECRET_CLAUSES.split(text, maxsplit=1)[0].split()).rstrip(" ;")
    return text if len(text) <= SUMMARY_LENGTH else f"{text[:SUMMARY_LENGTH]}…"


def copied_table(sql: bytes) -> bytes:
    """The table, as SQL names it, of a COPY of pg_dump's shape, else b""."""
    match = _COPY.match(sql)
    return match["table"] if match else b""


def inserted_table(sql: bytes) -> bytes:
    """The table, as SQL names it, of an INSERT, else b""."""
    match = _INSERT.match(sql)
    return match["table"] if match else b""


class SessionSettings:
    """The session settings of a dump, as states that any connection can apply: each is the SET statements in force."""

    def __init__(self) -> None:
        self._statements: dict[bytes, bytes] = {}
        self._state_numbers: dict[tuple[bytes, ...], int] = {(): 0}
        self._seen: dict[bytes, dict[bytes, None]] = {}
        self.current = 0

    @property
    def states(self) -> tuple[tuple[bytes, ...], ...]:
        """Every state, each its statements in order; `current` is an index."""
        return tuple(self._state_numbers)

    def record(self, name: bytes, statement: bytes) -> None:
        """Record a statement that sets or resets `name`."""
        self._statements.pop(name, None)  # in order: the values of a setting can depend on another
        self._statements[name] = statement
        self._seen.setdefault(name, {}).setdefault(statement)
        self.current = self._state_numbers.setdefault(tuple(self._statements.values()), len(self._state_numbers))

    def values(self, name: bytes) -> tuple[str, ...]:
        """The values that SET gave `name`, in the order of the dump."""
        found = (_SETTING_VALUE.search(statement) for statement in self._seen.get(name, ()))
        return tuple(match["value"].strip().strip(b'"').decode(errors="replace") for match in found if match)
