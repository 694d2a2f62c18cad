"""What stands where in a plain dump: the values that scanning makes and loading reads."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kernel.rehearsal.dump.common.model import Collation, DumpContents
from kernel.rehearsal.dump.plain.classify import IDENTIFIER, StatementKind
from kernel.sql.tokens import scan_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.dump.plain.classify import SessionSettings
    from kernel.rehearsal.dump.plain.text import DumpText


class DumpStatement(NamedTuple):
    """A statement of the dump: its bytes are at `offset`. `settings` is the place in Index.settings of those in force.

    `authorization` is the role, as SQL writes it, that SET SESSION AUTHORIZATION named ahead of it, b"" for none.
    """

    kind: StatementKind
    offset: int
    length: int
    settings_state: int
    authorization: bytes = b""


class RowBlock(NamedTuple):
    r"""Rows of a table, `table` as SQL names it, b"" when the COPY has not pg_dump's shape.

    Of a COPY, its statement and its data, without the line `\.`; of INSERTs, the statements themselves, so many that
    they make one message, and `statement_length` is 0.
    """

    table: bytes
    statement_offset: int
    statement_length: int
    offset: int
    length: int
    settings_state: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpIndex:
    """A plain dump that was read from end to end and found fit to run: `items` in its order.

    Valid for as long as its `text` is open.
    """

    text: DumpText
    items: tuple[DumpStatement | RowBlock, ...]
    settings: tuple[tuple[bytes, ...], ...]
    contents: DumpContents

    def sql(self, statement: DumpStatement) -> bytes:
        """The statement's bytes, from its first significant one to its semicolon."""
        return self.text.read(statement.offset, statement.length)


# What a plain dump needs and makes, gathered as its statements go by.


_SERVER_VERSION = re.compile(rb"^-- Dumped from database version ([0-9][0-9A-Za-z.]*)", re.MULTILINE)
_PG_DUMP_VERSION = re.compile(rb"^-- Dumped by pg_dump version ([0-9][0-9A-Za-z.]*)", re.MULTILINE)
_DATABASE_SETTING = re.compile(
    rb"ALTER DATABASE (?:\"(?:[^\"]|\"\")+\"|\S+) SET (?P<name>\S+) (?:TO|=) (?P<value>.*);\Z", re.DOTALL
)
_COLLATE = re.compile(rb'COLLATE pg_catalog\."((?:[^"]|"")+)"')
_PROVIDER = re.compile(rb"provider = (\w+)")
_LOCALES = re.compile(rb"(?:\blocale|\blc_collate|\blc_ctype|LOCALE|LC_COLLATE|LC_CTYPE) = '((?:[^']|'')*)'")
_ICU_SUFFIX = "-x-icu"
_BUILT_IN_COLLATIONS = frozenset({"C", "POSIX", "default", "ucs_basic", "unicode", "pg_c_utf8", "pg_unicode_fast"})
# Behind these words stand roles, up to one of those.
_ROLES_BEGIN = frozenset({"TO", "FROM"})
_ROLES_END = frozenset({"WITH", "GRANTED", "CASCADE", "RESTRICT", "USING", ";"})
_PSEUDO_ROLES = frozenset({"PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE"})
_CREATED = {
    "languages": rb"CREATE (?:OR REPLACE )?(?:TRUSTED )?(?:PROCEDURAL )?LANGUAGE (%b)",
    "foreign_servers": rb"CREATE SERVER (?:IF NOT EXISTS )?(%b)",
    "subscriptions": rb"CREATE SUBSCRIPTION (%b)",
    "roles": rb"CREATE USER MAPPING (?:IF NOT EXISTS )?FOR (%b)",
    "databases": rb"CREATE DATABASE (%b)",
}
_CREATED_PATTERNS = {what: re.compile(pattern % IDENTIFIER) for what, pattern in _CREATED.items()}
_TABLE = re.compile(rb"CREATE (?:UNLOGGED )?TABLE ")
_PROVIDER_OF_DATABASE = re.compile(rb"LOCALE_PROVIDER = (\w+)")
_NAMED_KINDS = {
    StatementKind.EXTENSION: "extensions",
    StatementKind.EVENT_TRIGGER: "event_triggers",
    StatementKind.PUBLICATION: "publications",
    StatementKind.AUTHORIZATION: "roles",
}


class ContentsCollector:
    """Names by what they are, in the order in which they come, each once."""

    def __init__(self) -> None:
        self._names: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._settings: list[tuple[str, str]] = []
        self._collations: dict[Collation, None] = {}
        self._tables = 0
        self._data_bytes = 0
        self._large_objects = False

    def add_rows(self, length: int) -> None:
        """Take in rows of `length` bytes."""
        self._data_bytes += length

    def add_statement(self, kind: StatementKind, sql: bytes, match: re.Match[bytes] | None) -> None:
        """Take in a statement."""
        found = match.groupdict() if match else {}
        if (what := _NAMED_KINDS.get(kind)) and (
            name := found.get("name" if kind is not StatementKind.AUTHORIZATION else "role")
        ):
            self._add(what, unquote_identifier(name))
        elif kind in (StatementKind.PLAIN, StatementKind.INDEX):
            self._add_plain(sql)
            self._add_column_collations(sql)
        elif kind is StatementKind.DATA:
            self._large_objects = self._large_objects or sql.startswith(b"SELECT")
        elif see := {
            StatementKind.REMOTE: self._add_created,
            StatementKind.PRIVILEGES: self._add_roles,
            StatementKind.DATABASE: self._add_database,
        }.get(kind):
            see(sql)

    def contents(self, head: bytes, settings: SessionSettings) -> DumpContents:
        """What was seen; `head` is the beginning of the dump, where it says what made it."""
        server, program = (
            found[1].decode() if (found := pattern.search(head)) else ""
            for pattern in (_SERVER_VERSION, _PG_DUMP_VERSION)
        )
        encodings = [value for value in settings.values(b"client_encoding") if value]
        tablespaces = [value for value in settings.values(b"default_tablespace") if value]
        return DumpContents(
            server_version=server,
            dump_version=program,
            database=next(iter(self._names["databases"]), ""),
            encoding=encodings[0] if encodings else "",
            extensions=tuple(self._names["extensions"]),
            roles=tuple(self._names["roles"]),
            collations=tuple(self._collations),
            languages=tuple(self._names["languages"]),
            tablespaces=tuple(tablespaces),
            settings=tuple(self._settings),
            publications=tuple(self._names["publications"]),
            subscriptions=tuple(self._names["subscriptions"]),
            foreign_servers=tuple(self._names["foreign_servers"]),
            event_triggers=tuple(self._names["event_triggers"]),
            tables=self._tables,
            data_bytes=self._data_bytes,
            large_objects=self._large_objects,
        )

    def _add(self, what: str, name: str) -> None:
        self._names[what].setdefault(name)

    def _add_plain(self, sql: bytes) -> None:
        self._add_created(sql)
        if _TABLE.match(sql):
            self._tables += 1
        elif sql.startswith(b"CREATE COLLATION "):
            self._add_locales(sql, _PROVIDER.search(sql))
        elif sql.startswith(b"CREATE POLICY "):
            self._add_roles(sql)

    def _add_created(self, sql: bytes) -> None:
        for what, pattern in _CREATED_PATTERNS.items():
            if match := pattern.match(sql):
                self._add(what, unquote_identifier(match[1]))

    def _add_database(self, sql: bytes) -> None:
        self._add_created(sql)
        if sql.startswith(b"CREATE DATABASE "):
            self._add_locales(sql, _PROVIDER_OF_DATABASE.search(sql))
        elif setting := _DATABASE_SETTING.match(sql):
            name = setting["name"].strip(b'"').decode(errors="replace")
            self._settings.append((name, _setting_value(setting["value"])))

    def _add_locales(self, sql: bytes, provider: re.Match[bytes] | None) -> None:
        for locale in _LOCALES.findall(sql):
            self._add_collation(locale.decode(errors="replace"), provider[1].decode() if provider else "libc")

    def _add_roles(self, sql: bytes) -> None:
        """The roles behind TO and FROM, and behind the FOR ROLE of default privileges."""
        reading = False
        before = ""
        for kind, text in _merged_tokens(sql):
            word = text.upper().decode(errors="replace")
            if kind in ("word", "quoted") and (reading or before in ("FOR ROLE", "FOR USER")):
                if kind == "quoted" or word not in _ROLES_END | _PSEUDO_ROLES | {"GROUP"}:
                    self._add("roles", unquote_identifier(text))
                reading = reading and word not in _ROLES_END
            elif kind == "word":
                reading = word in _ROLES_BEGIN
            elif word != ",":
                reading = False
            before = f"{before.rpartition(' ')[2]} {word}"

    def _add_column_collations(self, sql: bytes) -> None:
        for found in _COLLATE.findall(sql):
            self._add_collation(found.replace(b'""', b'"').decode(errors="replace"), "libc")

    def _add_collation(self, locale: str, provider: str) -> None:
        if locale.endswith(_ICU_SUFFIX):
            provider = "icu"
        if locale and locale not in _BUILT_IN_COLLATIONS:
            self._collations.setdefault(Collation(locale=locale, provider=provider))


def unquote_identifier(identifier: bytes) -> str:
    """The name that an identifier stands for; a string, as SET SESSION AUTHORIZATION takes it, likewise."""
    text = identifier.decode(errors="replace")
    if text[:1] in ('"', "'"):
        return text[1:-1].replace(text[0] * 2, text[0])
    return text.lower()


def _merged_tokens(sql: bytes) -> Iterator[tuple[str, bytes]]:
    """The kind and text of each token; the pieces that doubled quotes cut a quoted name into are one."""
    quoted = b""
    for kind, begin, end in scan_tokens(sql, 0):
        if kind == "quoted" and (not quoted or sql[begin - 1 : begin] == b'"'):
            quoted += sql[begin:end]
            continue
        if quoted:
            yield "quoted", quoted
            quoted = b""
        yield kind, sql[begin:end]
    if quoted:
        yield "quoted", quoted


def _setting_value(text: bytes) -> str:
    """The value of a setting as SQL writes it: a string, a list of them, a number."""
    value = text.decode(errors="replace").strip()
    if value.startswith("'") and value.endswith("'") and value.count("'") % 2 == 0 and "', '" not in value:
        return value[1:-1].replace("''", "'")
    return value
