"""Contents of a plain dump: its statements and rows as values, and what the dump needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.rehearsal.dump.common.model import Collation, DumpContents
from kernel.rehearsal.dump.plain.classify import IDENTIFIER, StatementKind, summarise_statement, without_server_options
from kernel.sql.reader import QUOTED_KEY, read_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.config.ledger_name import LedgerName
    from kernel.rehearsal.dump.plain.classify import SessionSettings
    from kernel.rehearsal.dump.plain.text import DumpText


_SERVER_VERSION = re.compile(rb"^-- Dumped from database version ([0-9][0-9A-Za-z.]*)", re.MULTILINE)
_CLIENT_VERSION = re.compile(rb"^-- Dumped by pg_dump version ([0-9][0-9A-Za-z.]*)", re.MULTILINE)
_DATABASE_SETTING = re.compile(
    rb"ALTER DATABASE (?:\"(?:[^\"]|\"\")+\"|\S+) SET (?P<name>\S+) (?:TO|=) (?P<value>.*);\Z", re.DOTALL
)
_CREATE_TABLE = re.compile(
    rb"CREATE (?:UNLOGGED TABLE|FOREIGN TABLE|MATERIALIZED VIEW|TABLE) (?:IF NOT EXISTS )?(?:%b\.)?(%b)"
    % (IDENTIFIER, IDENTIFIER)
)
_NAME_PART = re.compile(IDENTIFIER)
_COPIED_COLUMNS = re.compile(rb" \(([^()]*)\) FROM stdin;")
_COLLATE = re.compile(rb'COLLATE pg_catalog\."((?:[^"]|"")+)"')
_COLLATION_PROVIDER = re.compile(rb"provider = (\w+)")
_DATABASE_PROVIDER = re.compile(rb"LOCALE_PROVIDER = (\w+)")
_LOCALES = re.compile(rb"(?:\blocale|\blc_collate|\blc_ctype|LOCALE|LC_COLLATE|LC_CTYPE) = '((?:[^']|'')*)'")
_ICU_SUFFIX = "-x-icu"
_BUILT_IN_COLLATIONS = frozenset({"C", "POSIX", "default", "ucs_basic", "unicode", "pg_c_utf8", "pg_unicode_fast"})
# Roles follow the first words, up to one of the second.
_ROLES_BEGIN = frozenset({"TO", "FROM"})
_ROLES_END = frozenset({"WITH", "GRANTED", "CASCADE", "RESTRICT", "USING", ";"})
_NOT_ROLES = frozenset({"PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE", "GROUP"})
_CREATE_DATABASE = re.compile(rb"CREATE DATABASE (%b)" % IDENTIFIER)
_USER_MAPPING = re.compile(rb"CREATE USER MAPPING (?:IF NOT EXISTS )?FOR (%b)" % IDENTIFIER)


class DumpStatement(NamedTuple):
    """A statement of the dump: its bytes begin at `offset`. `settings_state` is an index of DumpIndex.settings.

    `authorization` is the role, as SQL writes it, that SET SESSION AUTHORIZATION named before it, b"" for none.
    """

    kind: StatementKind
    offset: int
    length: int
    settings_state: int
    authorization: bytes = b""


class RowBlock(NamedTuple):
    r"""Rows of a table, `table` as SQL names it, b"" when the COPY does not have pg_dump's shape.

    Of a COPY, its statement and its data, without the line `\.`; of INSERTs, the statements themselves, as many as
    make one message, and `statement_length` is 0.
    """

    table: bytes
    statement_offset: int
    statement_length: int
    offset: int
    length: int
    settings_state: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpIndex:
    """A plain dump that was read from end to end and may run: `items` in its order.

    `settings` are the states of session settings, each the SET statements in force. Valid while its `text` is open.
    """

    text: DumpText
    items: tuple[DumpStatement | RowBlock, ...]
    settings: tuple[tuple[bytes, ...], ...]
    contents: DumpContents
    ledger: LedgerName = DEFAULT_LEDGER

    def sql(self, statement: DumpStatement) -> bytes:
        """The statement's bytes, from its first significant one to its semicolon; b"" when nothing of it is to run."""
        text = self.text.read(statement.offset, statement.length)
        return without_server_options(text) if statement.kind is StatementKind.COLUMN_OPTIONS else text

    @property
    def server_option_count(self) -> int:
        """The number of columns with options that only a server sets."""
        return sum(isinstance(item, DumpStatement) and item.kind is StatementKind.COLUMN_OPTIONS for item in self.items)

    def describe_left_out(self) -> Iterator[str]:
        """A sentence for each statement that is not run because it would reach another server."""
        for item in self.items:
            if isinstance(item, DumpStatement) and item.kind is StatementKind.REMOTE:
                yield f"{summarise_statement(self.sql(item))}: left out, a copy does not reach other servers"


def is_migration_table(table: bytes, ledger: LedgerName, names: tuple[str, ...]) -> bool:
    """Whether a table, as SQL names it, has one of the names in the ledger's schema, if that is given."""
    parts = [unquote_identifier(part) for part in _NAME_PART.findall(table)]
    return parts[-1:] != [] and parts[-1] in names and ledger.schema in (None, *parts[:-1])


def recorded_versions(
    text: DumpText, items: Iterable[DumpStatement | RowBlock], ledger: LedgerName
) -> frozenset[int] | None:
    """The versions in the rows of the one ledger of a dump; None without one, or when its rows are not COPY's."""
    blocks = [
        item for item in items if isinstance(item, RowBlock) and is_migration_table(item.table, ledger, (ledger.table,))
    ]
    if len(blocks) != 1:
        return None
    statement = text.read(blocks[0].statement_offset, blocks[0].statement_length)
    columns = _COPIED_COLUMNS.search(statement)
    rows = text.read(blocks[0].offset, blocks[0].length).splitlines()
    try:
        place = columns[1].split(b", ").index(b"version") if columns else -1
        return frozenset(int(row.split(b"\t")[place]) for row in rows) if columns else None
    except (ValueError, IndexError):
        return None


class ContentsCollector:
    """Collects what the statements of a dump need: names by kind, each once, in the order of the dump."""

    def __init__(self) -> None:
        self._database = ""
        self._extensions: dict[str, None] = {}
        self._roles: dict[str, None] = {}
        self._collations: dict[Collation, None] = {}
        self._settings: list[tuple[str, str]] = []
        self._table_names: set[str] = set()
        self._data_bytes = 0

    def add_rows(self, length: int) -> None:
        """Add rows of `length` bytes."""
        self._data_bytes += length

    def add_statement(self, kind: StatementKind, sql: bytes, match: re.Match[bytes] | None) -> None:
        """Add a statement, with the match of its shape."""
        groups = match.groupdict() if match else {}
        if kind is StatementKind.EXTENSION:
            self._extensions.setdefault(unquote_identifier(groups["name"]))
        elif kind is StatementKind.AUTHORIZATION and groups.get("role"):
            self._roles.setdefault(unquote_identifier(groups["role"]))
        elif kind in (StatementKind.PRIVILEGES, StatementKind.LARGE_OBJECT):
            self._add_roles(sql)
        elif kind is StatementKind.REMOTE and (mapping := _USER_MAPPING.match(sql)):
            self._roles.setdefault(unquote_identifier(mapping[1]))
        elif kind is StatementKind.DATABASE and sql.startswith((b"GRANT ", b"REVOKE ")):
            self._add_roles(sql)
        elif kind is StatementKind.DATABASE:
            self._add_database(sql)
        elif kind in (StatementKind.PLAIN, StatementKind.INDEX):
            self._add_plain(sql)

    def contents(self, head: bytes, settings: SessionSettings) -> DumpContents:
        """The contents; `head` is the beginning of the dump, where pg_dump names the server's version."""
        server, client = _SERVER_VERSION.search(head), _CLIENT_VERSION.search(head)
        encodings = [value for value in settings.values(b"client_encoding") if value]
        return DumpContents(
            server_version=server[1].decode() if server else "",
            client_version=client[1].decode() if client else "",
            database=self._database,
            encoding=encodings[0] if encodings else "",
            extensions=tuple(self._extensions),
            roles=tuple(self._roles),
            collations=tuple(self._collations),
            tablespaces=tuple(value for value in settings.values(b"default_tablespace") if value),
            settings=tuple(self._settings),
            table_names=frozenset(self._table_names),
            data_bytes=self._data_bytes,
        )

    def _add_plain(self, sql: bytes) -> None:
        if table := _CREATE_TABLE.match(sql):
            self._table_names.add(unquote_identifier(table[1]))
        elif sql.startswith(b"CREATE COLLATION "):
            self._add_locales(sql, _COLLATION_PROVIDER.search(sql))
        elif sql.startswith(b"CREATE POLICY "):
            self._add_roles(sql)
        for locale in _COLLATE.findall(sql):
            self._add_collation(locale.replace(b'""', b'"').decode(errors="replace"), "libc")

    def _add_database(self, sql: bytes) -> None:
        if create := _CREATE_DATABASE.match(sql):
            self._database = self._database or unquote_identifier(create[1])
            self._add_locales(sql, _DATABASE_PROVIDER.search(sql))
        elif setting := _DATABASE_SETTING.match(sql):
            name = setting["name"].strip(b'"').decode(errors="replace")
            self._settings.append((name, _setting_value(setting["value"])))

    def _add_locales(self, sql: bytes, provider: re.Match[bytes] | None) -> None:
        for locale in _LOCALES.findall(sql):
            self._add_collation(locale.decode(errors="replace"), provider[1].decode() if provider else "libc")

    def _add_collation(self, locale: str, provider: str) -> None:
        if locale.endswith(_ICU_SUFFIX):
            provider = "icu"
        if locale and locale not in _BUILT_IN_COLLATIONS:
            self._collations.setdefault(Collation(locale=locale, provider=provider))

    def _add_roles(self, sql: bytes) -> None:
        """Add the roles after TO and FROM, and after the FOR ROLE of default privileges."""
        in_list = False
        before = ("", "")
        for word in read_words(sql):
            if word.is_name and (in_list or before in (("FOR", "ROLE"), ("FOR", "USER"))):
                if word.key == QUOTED_KEY or word.key not in _ROLES_END | _NOT_ROLES:
                    self._roles.setdefault(word.text)
                in_list = in_list and word.key not in _ROLES_END
            elif word.key != ",":
                in_list = word.key in _ROLES_BEGIN
            before = (before[1], word.key)


def unquote_identifier(identifier: bytes) -> str:
    """The name that an identifier means, or a string as SET SESSION AUTHORIZATION takes it."""
    text = identifier.decode(errors="replace")
    if text[:1] in ('"', "'"):
        return text[1:-1].replace(text[0] * 2, text[0])
    return text.lower()


def _setting_value(text: bytes) -> str:
    """The value of a setting as SQL writes it: a string, a list of them, a number."""
    value = text.decode(errors="replace").strip()
    if value.startswith("'") and value.endswith("'") and value.count("'") % 2 == 0 and "', '" not in value:
        return value[1:-1].replace("''", "'")
    return value
