"""The statements that pg_dump writes, told apart by their shape, and what each means for loading.

A statement gets special treatment only when the whole of it has exactly the shape that pg_dump gives it; any other runs
as it stands, in its place, with the rights of an ordinary role (see role). So a hostile statement gains nothing by
looking like something else: what runs with a superuser's rights is matched from its first byte to its semicolon here,
has no room for an expression, and is sent so that the server takes no second statement with it.

Source: pg_dump.c, dumputils.c and pg_backup_archiver.c of PostgreSQL 9.6 to 18.
"""

from __future__ import annotations

import re
from enum import Enum

IDENTIFIER = rb'(?:"(?:[^"]|"")+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+)'
_NAME = rb"(?:%b\.)?%b" % (IDENTIFIER, IDENTIFIER)
_STRING = rb"(?:E?'(?:[^'\\]|'')*'|E'(?:[^'\\]|''|\\.)*')"
# Names, types and lists of them in parentheses; neither strings nor operators, so nothing to evaluate.
_SIGNATURE = rb'(?:"(?:[^"]|"")+"|[A-Za-z0-9_$\x80-\xff.,()\[\] \n])*'


class Kind(Enum):
    """What a statement means for loading."""

    PLAIN = "runs in its place"
    SETTING = "holds for the statements behind it, on every connection"
    AUTHORIZATION = "says whose the statements behind it are"
    SCHEMA = "a schema, which extensions may need"
    EXTENSION = "created by a superuser, before anything of the dump's own could run"
    BUILD = "builds an index, side by side with others"
    FOLLOWER = "says something of an index, when it is built"
    FOREIGN_KEY = "checks one table against another, side by side with others"
    RIGHTS = "ownership and privileges: the last of all, by a superuser"
    EVENT_TRIGGER = "after the last of all: whatever came behind would fire it"
    COMMENT = "says something of an object"
    PUBLICATION = "a copy has no subscribers, but migrations meet its demands"
    CLEANING = "drops what a fresh database does not have"
    PLACEHOLDER = "replaces a view by an empty one, to drop what it depends on"
    DATABASE = "of the database as a whole, which is there already"
    SEQUENCE = "sets a sequence to a number"
    DATA = "makes rows or large objects rather than schema"
    REMOTE = "would reach another server"


def _shape(text: bytes) -> re.Pattern[bytes]:
    """An expression for one statement: %n a name, %i an identifier, %s a string, %g a signature, blanks for blanks."""
    for sign, meaning in ((b"%n", _NAME), (b"%i", IDENTIFIER), (b"%s", _STRING), (b"%g", _SIGNATURE)):
        text = text.replace(sign, meaning)
    return re.compile(text.replace(b" +", rb"[ \n]+"), re.DOTALL)


_RELATION = rb"(?:TABLE|SEQUENCE|VIEW|MATERIALIZED VIEW|FOREIGN TABLE|INDEX)"
_SIMPLE = (
    rb"(?:SCHEMA|TYPE|DOMAIN|COLLATION|CONVERSION|STATISTICS|LANGUAGE|PROCEDURAL LANGUAGE|SERVER|FOREIGN DATA WRAPPER"
    rb"|PUBLICATION|TEXT SEARCH DICTIONARY|TEXT SEARCH CONFIGURATION|LARGE OBJECT)"
)
_ROUTINE = rb"(?:FUNCTION|PROCEDURE|ROUTINE|AGGREGATE|OPERATOR CLASS|OPERATOR FAMILY)"

# By the first word, so that a dump of a hundred thousand statements is not matched against everything.
_SHAPES: dict[bytes, tuple[tuple[Kind, re.Pattern[bytes]], ...]] = {
    b"SET": (
        (Kind.AUTHORIZATION, _shape(rb"SET SESSION AUTHORIZATION (?P<role>%i|%s|DEFAULT);\Z")),
        (Kind.PLAIN, _shape(rb"SET (?:LOCAL|TRANSACTION|CONSTRAINTS|ROLE|SESSION CHARACTERISTICS)\b")),
        (Kind.SETTING, _shape(rb"SET (?:SESSION )?(?P<name>[A-Za-z_.]+)(?: = | TO )[^;]*;\Z")),
    ),
    b"RESET": (
        (Kind.AUTHORIZATION, _shape(rb"RESET SESSION AUTHORIZATION;\Z")),
        (Kind.SETTING, _shape(rb"RESET (?P<name>[A-Za-z_.]+);\Z")),
    ),
    b"SELECT": (
        (Kind.SETTING, _shape(rb"SELECT pg_catalog\.set_config\('(?P<name>[a-z_.]+)', %s, false\);\Z")),
        (Kind.SEQUENCE, _shape(rb"SELECT pg_catalog\.setval\(%s, -?[0-9]+, (?:true|false)\);\Z")),
        (Kind.DATA, _shape(rb"SELECT pg_catalog\.(?:lo_[a-z0-9]+|lowrite)\(")),
    ),
    b"REFRESH": ((Kind.DATA, _shape(rb"REFRESH MATERIALIZED VIEW ")),),
    b"CREATE": (
        (Kind.BUILD, _shape(rb"CREATE (?:UNIQUE )?INDEX %i ON (?:ONLY )?(?P<table>%n) USING ")),
        (Kind.SCHEMA, _shape(rb"CREATE SCHEMA (?:IF NOT EXISTS )?%i;\Z")),
        (
            Kind.EXTENSION,
            _shape(rb"CREATE EXTENSION (?:IF NOT EXISTS )?(?P<name>%i)(?: WITH SCHEMA %i)?(?: VERSION (?:%i|%s))?;\Z"),
        ),
        (
            Kind.EVENT_TRIGGER,
            _shape(rb"CREATE EVENT TRIGGER (?P<name>%i) +ON .*EXECUTE (?:FUNCTION|PROCEDURE) %n\(\);\Z"),
        ),
        (Kind.REMOTE, _shape(rb"CREATE (?P<what>SUBSCRIPTION|USER MAPPING)\b")),
        (Kind.DATABASE, _shape(rb"CREATE DATABASE ")),
        (Kind.PLACEHOLDER, _shape(rb"CREATE OR REPLACE VIEW %n AS\nSELECT\n +NULL::")),
        (Kind.PUBLICATION, _shape(rb"CREATE PUBLICATION (?P<name>%i)\b")),
    ),
    b"ALTER": (
        (
            Kind.BUILD,
            _shape(rb"ALTER TABLE (?:ONLY )?(?P<exclusive>%n) +ADD CONSTRAINT %i (?:PRIMARY KEY|UNIQUE|EXCLUDE)\b"),
        ),
        (
            Kind.FOREIGN_KEY,
            _shape(
                rb"ALTER TABLE (?:ONLY )?(?P<exclusive>%n) +ADD CONSTRAINT %i FOREIGN KEY \([^()]*\)"
                rb" REFERENCES (?P<other>%n)\("
            ),
        ),
        (Kind.FOLLOWER, _shape(rb"ALTER TABLE (?:ONLY )?%n (?:CLUSTER ON|REPLICA IDENTITY USING INDEX) %i;\Z")),
        (Kind.FOLLOWER, _shape(rb"ALTER INDEX %n ALTER COLUMN [0-9]+ SET STATISTICS [0-9]+;\Z")),
        (Kind.RIGHTS, _shape(rb"ALTER %b %%n OWNER TO (?P<role>%%i);\Z" % _RELATION)),
        (Kind.RIGHTS, _shape(rb"ALTER %b (?:%%n|[0-9]+) OWNER TO (?P<role>%%i);\Z" % _SIMPLE)),
        (Kind.RIGHTS, _shape(rb"ALTER %b %%n ?(?:\(%%g\)|USING %%i) OWNER TO (?P<role>%%i);\Z" % _ROUTINE)),
        (Kind.RIGHTS, _shape(rb"ALTER OPERATOR (?:%i\.)?[-+*/<>=~!@#%^&|`?]+ \(%g\) OWNER TO (?P<role>%i);\Z")),
        (
            Kind.RIGHTS,
            _shape(
                rb"ALTER DEFAULT PRIVILEGES (?:FOR (?:ROLE|USER) %i )?(?:IN SCHEMA %i )?"
                rb"(?:GRANT|REVOKE) %g (?:TO|FROM) %g;\Z"
            ),
        ),
        (Kind.EVENT_TRIGGER, _shape(rb"ALTER EVENT TRIGGER %i (?:OWNER TO %i|DISABLE|ENABLE(?: REPLICA| ALWAYS)?);\Z")),
        (Kind.REMOTE, _shape(rb"ALTER (?P<what>SUBSCRIPTION|USER MAPPING)\b")),
        (Kind.DATABASE, _shape(rb"ALTER DATABASE ")),
        (Kind.PUBLICATION, _shape(rb"ALTER PUBLICATION (?P<name>%i) ")),
        (Kind.CLEANING, _shape(rb"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?%n DROP CONSTRAINT (?:IF EXISTS )?%i;\Z")),
        (Kind.CLEANING, _shape(rb"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?%n ALTER COLUMN %i DROP DEFAULT;\Z")),
    ),
    b"GRANT": ((Kind.RIGHTS, _shape(rb"GRANT %g ON %g TO %g;\Z")),),
    b"REVOKE": ((Kind.RIGHTS, _shape(rb"REVOKE %g ON %g FROM %g;\Z")),),
    b"COMMENT": (
        (Kind.FOLLOWER, _shape(rb"COMMENT ON (?:INDEX|CONSTRAINT) ")),
        (Kind.DATABASE, _shape(rb"COMMENT ON DATABASE ")),
        (Kind.EVENT_TRIGGER, _shape(rb"COMMENT ON EVENT TRIGGER %i IS %s;\Z")),
        (Kind.COMMENT, _shape(rb"COMMENT ON ")),
    ),
    b"SECURITY": ((Kind.COMMENT, _shape(rb"SECURITY LABEL ")),),
    b"DROP": (
        (Kind.DATABASE, _shape(rb"DROP DATABASE ")),
        (Kind.CLEANING, _shape(rb"DROP ")),
    ),
}
_FIRST_WORD = re.compile(rb"[A-Z]+")

# What an ordinary role may not do and a superuser does in its place, without evaluating anything: of these kinds only.
_VETTED = (
    _shape(rb"COMMENT ON (?:EXTENSION|SCHEMA|LANGUAGE|PROCEDURAL LANGUAGE) %i IS %s;\Z"),
    _shape(rb"CREATE PUBLICATION %i FOR ALL TABLES(?: WITH \((?:[a-z_]+ = (?:'[a-z, ]*'|[a-z]+)(?:, )?)*\))?;\Z"),
    _shape(rb"ALTER PUBLICATION %i ADD TABLES IN SCHEMA %i;\Z"),
)
# Not of periods (PostgreSQL 18), not NOT VALID, not NOT ENFORCED. The order is that of pg_get_constraintdef.
_COLUMNS = rb"\(%i(?:, %i)*\)"
_ACTION = rb"(?:NO ACTION|RESTRICT|CASCADE|SET NULL|SET DEFAULT)"
_KEY = _shape(
    rb"ALTER TABLE (?:ONLY )?(?P<exclusive>%%n) +ADD CONSTRAINT (?P<name>%%i) FOREIGN KEY %b REFERENCES %%n%b"
    rb"(?: MATCH FULL)?(?: ON UPDATE %b)?(?: ON DELETE %b(?: %b)?)?(?: DEFERRABLE)?(?: INITIALLY DEFERRED)?;\Z"
    % (_COLUMNS, _COLUMNS, _ACTION, _ACTION, _COLUMNS)
)
_COPY = _shape(rb"COPY (?P<table>%n)(?: \((?:%i(?:, )?)*\))? FROM stdin;\Z")
_INSERT = _shape(rb"INSERT INTO (?P<table>%n) ")


def of(sql: bytes) -> tuple[Kind, re.Match[bytes] | None]:
    """The kind of a statement, semicolon included, and the match of its shape; (PLAIN, None) for everything else."""
    first = _FIRST_WORD.match(sql)
    for kind, pattern in _SHAPES.get(first[0] if first else b"", ()):
        if match := pattern.match(sql):
            return kind, match
    return Kind.PLAIN, None


def vetted(sql: bytes) -> bool:
    """Whether a superuser may run it where an ordinary role was not allowed to."""
    return any(pattern.match(sql) for pattern in _VETTED)


def key(sql: bytes) -> re.Match[bytes] | None:
    """The match of an ALTER TABLE that adds a foreign key and checks the rows: `exclusive` is the table, and `name`."""
    return _KEY.match(sql)


def copied(sql: bytes) -> bytes:
    """The table, as SQL names it, of a COPY of pg_dump's own shape, else b""."""
    match = _COPY.match(sql)
    return match["table"] if match else b""


def inserted(sql: bytes) -> bytes:
    """The table, as SQL names it, of an INSERT, else b""."""
    match = _INSERT.match(sql)
    return match["table"] if match else b""
