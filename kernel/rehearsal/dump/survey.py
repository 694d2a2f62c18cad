"""What a plain dump needs and makes, gathered as its statements go by."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from kernel.rehearsal.dump.dump import Collation, Contents
from kernel.rehearsal.dump.shape import IDENTIFIER, Kind
from kernel.sql import tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.dump.settings import Settings

_SERVER = re.compile(rb"^-- Dumped from database version ([0-9][0-9A-Za-z.]*)", re.MULTILINE)
_PROGRAM = re.compile(rb"^-- Dumped by pg_dump version ([0-9][0-9A-Za-z.]*)", re.MULTILINE)
_SETTING = re.compile(
    rb"ALTER DATABASE (?:\"(?:[^\"]|\"\")+\"|\S+) SET (?P<name>\S+) (?:TO|=) (?P<value>.*);\Z", re.DOTALL
)
_COLLATE = re.compile(rb'COLLATE pg_catalog\."((?:[^"]|"")+)"')
_PROVIDER = re.compile(rb"provider = (\w+)")
_LOCALES = re.compile(rb"(?:\blocale|\blc_collate|\blc_ctype|LOCALE|LC_COLLATE|LC_CTYPE) = '((?:[^']|'')*)'")
_ICU_SUFFIX = "-x-icu"
_EVERYWHERE = frozenset({"C", "POSIX", "default", "ucs_basic", "unicode", "pg_c_utf8", "pg_unicode_fast"})
# Behind these words stand roles, up to one of those.
_ROLES_BEGIN = frozenset({"TO", "FROM"})
_ROLES_END = frozenset({"WITH", "GRANTED", "CASCADE", "RESTRICT", "USING", ";"})
_NO_ROLES = frozenset({"PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE"})
_MADE = {
    "languages": rb"CREATE (?:OR REPLACE )?(?:TRUSTED )?(?:PROCEDURAL )?LANGUAGE (%b)",
    "foreign_servers": rb"CREATE SERVER (?:IF NOT EXISTS )?(%b)",
    "subscriptions": rb"CREATE SUBSCRIPTION (%b)",
    "roles": rb"CREATE USER MAPPING (?:IF NOT EXISTS )?FOR (%b)",
    "databases": rb"CREATE DATABASE (%b)",
}
_MADE_PATTERNS = {what: re.compile(pattern % IDENTIFIER) for what, pattern in _MADE.items()}
_TABLE = re.compile(rb"CREATE (?:UNLOGGED )?TABLE ")
_PROVIDER_OF_DATABASE = re.compile(rb"LOCALE_PROVIDER = (\w+)")
_NAMED = {
    Kind.EXTENSION: "extensions",
    Kind.EVENT_TRIGGER: "event_triggers",
    Kind.PUBLICATION: "publications",
    Kind.AUTHORIZATION: "roles",
}


class Survey:
    """Names by what they are, in the order in which they come, each once."""

    def __init__(self) -> None:
        self._names: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._settings: list[tuple[str, str]] = []
        self._collations: dict[Collation, None] = {}
        self._tables = 0
        self._data_bytes = 0
        self._large_objects = False

    def rows(self, length: int) -> None:
        """Take in rows of `length` bytes."""
        self._data_bytes += length

    def see(self, kind: Kind, sql: bytes, match: re.Match[bytes] | None) -> None:
        """Take in a statement."""
        found = match.groupdict() if match else {}
        if (what := _NAMED.get(kind)) and (name := found.get("name" if kind is not Kind.AUTHORIZATION else "role")):
            self._add(what, unquoted(name))
        elif kind in (Kind.PLAIN, Kind.BUILD):
            self._plain(sql)
            self._collated(sql)
        elif kind is Kind.DATA:
            self._large_objects = self._large_objects or sql.startswith(b"SELECT")
        elif see := {Kind.REMOTE: self._made, Kind.RIGHTS: self._roles, Kind.DATABASE: self._database}.get(kind):
            see(sql)

    def contents(self, head: bytes, settings: Settings) -> Contents:
        """What was seen; `head` is the beginning of the dump, where it says what made it."""
        server, program = (
            found[1].decode() if (found := pattern.search(head)) else "" for pattern in (_SERVER, _PROGRAM)
        )
        encodings = [value for value in settings.values(b"client_encoding") if value]
        tablespaces = [value for value in settings.values(b"default_tablespace") if value]
        return Contents(
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

    def _plain(self, sql: bytes) -> None:
        self._made(sql)
        if _TABLE.match(sql):
            self._tables += 1
        elif sql.startswith(b"CREATE COLLATION "):
            self._locales(sql, _PROVIDER.search(sql))
        elif sql.startswith(b"CREATE POLICY "):
            self._roles(sql)

    def _made(self, sql: bytes) -> None:
        for what, pattern in _MADE_PATTERNS.items():
            if match := pattern.match(sql):
                self._add(what, unquoted(match[1]))

    def _database(self, sql: bytes) -> None:
        self._made(sql)
        if sql.startswith(b"CREATE DATABASE "):
            self._locales(sql, _PROVIDER_OF_DATABASE.search(sql))
        elif setting := _SETTING.match(sql):
            name = setting["name"].strip(b'"').decode(errors="replace")
            self._settings.append((name, _value(setting["value"])))

    def _locales(self, sql: bytes, provider: re.Match[bytes] | None) -> None:
        for locale in _LOCALES.findall(sql):
            self._collation(locale.decode(errors="replace"), provider[1].decode() if provider else "libc")

    def _roles(self, sql: bytes) -> None:
        """The roles behind TO and FROM, and behind the FOR ROLE of default privileges."""
        reading = False
        before = ""
        for kind, text in _tokens(sql):
            word = text.upper().decode(errors="replace")
            if kind in ("word", "quoted") and (reading or before in ("FOR ROLE", "FOR USER")):
                if kind == "quoted" or word not in _ROLES_END | _NO_ROLES | {"GROUP"}:
                    self._add("roles", unquoted(text))
                reading = reading and word not in _ROLES_END
            elif kind == "word":
                reading = word in _ROLES_BEGIN
            elif word != ",":
                reading = False
            before = f"{before.rpartition(' ')[2]} {word}"

    def _collated(self, sql: bytes) -> None:
        for found in _COLLATE.findall(sql):
            self._collation(found.replace(b'""', b'"').decode(errors="replace"), "libc")

    def _collation(self, locale: str, provider: str) -> None:
        if locale.endswith(_ICU_SUFFIX):
            provider = "icu"
        if locale and locale not in _EVERYWHERE:
            self._collations.setdefault(Collation(locale=locale, provider=provider))


def unquoted(identifier: bytes) -> str:
    """The name that an identifier stands for; a string, as SET SESSION AUTHORIZATION takes it, likewise."""
    text = identifier.decode(errors="replace")
    if text[:1] in ('"', "'"):
        return text[1:-1].replace(text[0] * 2, text[0])
    return text.lower()


def _tokens(sql: bytes) -> Iterator[tuple[str, bytes]]:
    """The kind and text of each token; the pieces that doubled quotes cut a quoted name into are one."""
    quoted = b""
    for kind, begin, end in tokens.scan(sql, 0):
        if kind == "quoted" and (not quoted or sql[begin - 1 : begin] == b'"'):
            quoted += sql[begin:end]
            continue
        if quoted:
            yield "quoted", quoted
            quoted = b""
        yield kind, sql[begin:end]
    if quoted:
        yield "quoted", quoted


def _value(text: bytes) -> str:
    """The value of a setting as SQL writes it: a string, a list of them, a number."""
    value = text.decode(errors="replace").strip()
    if value.startswith("'") and value.endswith("'") and value.count("'") % 2 == 0 and "', '" not in value:
        return value[1:-1].replace("''", "'")
    return value
