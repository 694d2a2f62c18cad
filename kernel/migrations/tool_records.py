"""What another migration tool records in its own ledger, as data: the table, its columns, and how its records are read.

A record corresponds to the migration whose header names the file of the record, as db.adopt writes it; where no header
names the tool, to the migration of the same number or name. Source: the documentation of each tool, and the tables that
it makes: goose, dbmate, golang-migrate, Flyway ("Flyway schema history table"), Sqitch ("sqitch-check"), the Supabase
CLI, node-pg-migrate, Alembic, sql-migrate and tern.
"""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kernel.migrations.tool_formats import TOOLS, dotted_version
from kernel.sql.lexer import LexerError, PartKind, split_script

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    Row = Mapping[str, Any]

_HEADER_LINE = re.compile(rb"--[ \t]*(?:Migration|Description|migrate)[ \t]*:")
_TRANSACTION_STATEMENT = re.compile(r"(?i)(?:begin|commit|start\s+transaction|end)(?:\s+(?:work|transaction))?")
_SUFFIX_OF_NODE = re.compile(r"(?:\.up)?\.(?:sql|[cm]?[jt]s)\Z")
_FAILED_SUFFIX = "; nothing says how far it came: bring the database in order with {} first"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRecord:
    """A migration that the tool has applied; `version` is as its ledger has it, `key` identifies it.

    `name` is "" where the ledger keeps none. With `covers_older` every earlier migration counts as applied too, and
    with `is_mark` no file needs to correspond. Of `crc32`, `sha1` and `statements` those are there that the ledger
    keeps. `failure` says why the database cannot be taken over, "" for a record of a complete run.
    """

    version: str
    key: Hashable
    name: str = ""
    covers_older: bool = False
    is_mark: bool = False
    crc32: int | None = None
    sha1: str = ""
    statements: tuple[str, ...] | None = field(default=None, repr=False)
    failure: str = ""

    @property
    def label(self) -> str:
        """The version, and the name where it says more."""
        return f"{self.version} ({self.name})" if self.name and self.name not in self.version else self.version

    @property
    def number(self) -> int | None:
        """The version as an integer, None for another kind of version."""
        return int(self.version) if self.version.isdecimal() else None

    def is_of(self, content: bytes) -> bool | None:
        """Whether a file has the content that was applied; None where the ledger keeps nothing to compare.

        The header that db.adopt writes, and our directives at the top, do not count.
        """
        contents = {content, *_without_header(content)}
        if self.crc32 is not None:
            return any(_crc32_of_lines(one) == self.crc32 for one in contents)
        if self.sha1:
            return any(hashlib.sha1(one, usedforsecurity=False).hexdigest() == self.sha1 for one in contents)
        if self.statements is not None:
            applied = [text for one in self.statements for text in _statements(one.encode())]
            return _statements(content) == applied
        return None


def _without_header(content: bytes) -> Iterator[bytes]:
    """Yield the content without the comments at its top that are ours, and without the blank line after them."""
    rest = content
    while _HEADER_LINE.match(rest):
        rest = rest.partition(b"\n")[2]
    yield rest
    yield rest.removeprefix(b"\n")


def _crc32_of_lines(content: bytes) -> int:
    """Flyway's checksum: the CRC32 of all lines without their ends, as a signed number of 32 bits."""
    text = content.decode("utf-8-sig", errors="replace").replace("\r\n", "").replace("\r", "").replace("\n", "")
    unsigned = zlib.crc32(text.encode())
    return unsigned - (1 << 32) if unsigned >= 1 << 31 else unsigned


def _statements(content: bytes) -> list[str]:
    """The statements without semicolons, comments around them, and what begins and ends a transaction."""
    try:
        parts = list(split_script(io.BytesIO(content).read))
    except LexerError:
        return [content.decode(errors="replace")]
    texts = [part.sql.decode(errors="replace").strip() for part in parts if part.kind is PartKind.STATEMENT]
    texts = [text.removesuffix(";").rstrip() for text in texts]
    return [text for text in texts if text and not _TRANSACTION_STATEMENT.fullmatch(text)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFormat:
    """The ledger of one tool: its table, in `schema` or in any, and the columns that it has at least.

    `read` makes records of the rows. `key` makes the key of a record from the name of its file, None for another name.
    `adopted_as` are the tool's names in the headers of adopted files. `proof` says what the ledger keeps of the content
    of files, "" for nothing.
    """

    name: str
    table: str
    columns: frozenset[str]
    read: Callable[[Iterable[Row]], Iterable[ToolRecord]]
    key: Callable[[str], Hashable | None]
    schema: str = ""
    adopted_as: tuple[str, ...] = ()
    proof: str = ""


def _key_of_version(tool: str, convert: Callable[[str], Hashable]) -> Callable[[str], Hashable | None]:
    """The key of a file of a tool whose ledger has the version of the name."""

    def key(source: str) -> Hashable | None:
        name = TOOLS[tool].filename.fullmatch(source.rpartition("/")[2])
        return convert(name["version"]) if name else None

    return key


def _read_goose(rows: Iterable[Row]) -> Iterable[ToolRecord]:
    """The newest row of a version decides: an older goose adds a row when it undoes one."""
    newest = {int(row["version_id"]): bool(row["is_applied"]) for row in sorted(rows, key=lambda row: int(row["id"]))}
    return [ToolRecord(version=str(one), key=one) for one, applied in sorted(newest.items()) if applied and one]


def _read_dbmate(rows: Iterable[Row]) -> Iterable[ToolRecord]:
    return [ToolRecord(version=one, key=one) for one in sorted(str(row["version"]) for row in rows)]


def _read_golang_migrate(rows: Iterable[Row]) -> Iterator[ToolRecord]:
    for row in rows:
        failure = f"version {row['version']} is dirty: its run failed{_FAILED_SUFFIX.format('migrate force')}"
        yield ToolRecord(
            version=str(row["version"]),
            key=int(row["version"]),
            covers_older=True,
            failure=failure if row["dirty"] else "",
        )


def _read_tern(rows: Iterable[Row]) -> Iterable[ToolRecord]:
    versions = [int(row["version"]) for row in rows]
    return [ToolRecord(version=str(one), key=one, covers_older=True) for one in versions if one]


def _read_flyway(rows: Iterable[Row]) -> Iterable[ToolRecord]:
    records: dict[Hashable, ToolRecord] = {}
    for row in sorted(rows, key=lambda row: int(row["installed_rank"])):
        version, kind = row["version"], str(row["type"]).upper()
        failure = f"{row['script']} failed{_FAILED_SUFFIX.format('flyway repair')}"
        if version is None:  # the creation of a schema, or a repeatable migration
            if not row["success"]:
                records[row["script"]] = ToolRecord(version="", key=row["script"], failure=failure)
            continue
        key = dotted_version(str(version))
        if kind == "DELETE" or kind.startswith("UNDO"):
            records.pop(key, None)
            continue
        is_baseline = kind.endswith("BASELINE")
        records[key] = ToolRecord(
            version=str(version),
            key=key,
            name=str(row["description"]),
            covers_older=is_baseline,
            is_mark=is_baseline,
            crc32=None if is_baseline else row["checksum"],
            failure="" if row["success"] else failure,
        )
    return records.values()


def _read_supabase(rows: Iterable[Row]) -> Iterator[ToolRecord]:
    for row in sorted(rows, key=lambda row: str(row["version"])):
        statements = row.get("statements")
        yield ToolRecord(
            version=str(row["version"]),
            key=str(row["version"]),
            name=str(row.get("name") or ""),
            statements=None if statements is None else tuple(str(one) for one in statements),
        )


def _read_sqitch(rows: Iterable[Row]) -> Iterator[ToolRecord]:
    seen: set[str] = set()
    for row in sorted(rows, key=lambda row: str(row["committed_at"])):
        change = str(row["change"])
        failure = (
            f"change {change} is deployed more than once, reworked or in several projects" if change in seen else ""
        )
        seen.add(change)
        yield ToolRecord(
            version=change,
            key=change,
            name=change,
            sha1=str(row.get("script_hash") or ""),
            failure=failure and f"{failure}; record these files with --to",
        )


def _key_of_change(source: str) -> str:
    return source.removeprefix("deploy/").removesuffix(".sql")


def _read_node_pg_migrate(rows: Iterable[Row]) -> Iterator[ToolRecord]:
    for row in sorted(rows, key=lambda row: int(row["id"])):
        name = str(row["name"])
        yield ToolRecord(version=name, key=name, name=name.lstrip("0123456789").lstrip("_-"))


def _key_of_stem(source: str) -> str:
    return _SUFFIX_OF_NODE.sub("", source.rpartition("/")[2])


def _read_alembic(rows: Iterable[Row]) -> Iterator[ToolRecord]:
    heads = sorted(str(row["version_num"]) for row in rows)
    failure = f"the database is at {len(heads)} revisions ({', '.join(heads)}); join them with alembic merge first"
    for head in heads:
        yield ToolRecord(version=head, key=head, covers_older=True, failure=failure if heads[1:] else "")


def _key_of_revision(source: str) -> str:
    """The revision: Alembic's files begin with it, by default."""
    return source.rpartition("/")[2].partition(".")[0].partition("_")[0]


def _read_sql_migrate(rows: Iterable[Row]) -> Iterator[ToolRecord]:
    for name in sorted(str(row["id"]) for row in rows):
        yield ToolRecord(version=name, key=name, name=name.removesuffix(".sql").lstrip("0123456789").lstrip("_-"))


def _formats() -> Iterator[LedgerFormat]:
    yield LedgerFormat(
        name="dbmate",
        table="schema_migrations",
        columns=frozenset({"version"}),
        read=_read_dbmate,
        key=_key_of_version("dbmate", str),
    )
    yield LedgerFormat(
        name="goose",
        table="goose_db_version",
        columns=frozenset({"id", "version_id", "is_applied"}),
        read=_read_goose,
        key=_key_of_version("goose", int),
    )
    yield LedgerFormat(
        name="golang-migrate",
        table="schema_migrations",
        columns=frozenset({"version", "dirty"}),
        read=_read_golang_migrate,
        key=_key_of_version("golang-migrate", int),
    )
    yield LedgerFormat(
        name="flyway",
        table="flyway_schema_history",
        columns=frozenset({"installed_rank", "version", "description", "type", "script", "checksum", "success"}),
        read=_read_flyway,
        key=_key_of_version("flyway", dotted_version),
        proof="checksum",
    )
    yield LedgerFormat(
        name="sqitch",
        table="changes",
        columns=frozenset({"change_id", "change", "project", "committed_at"}),
        read=_read_sqitch,
        key=_key_of_change,
        proof="script hash",
    )
    yield LedgerFormat(
        name="supabase",
        table="schema_migrations",
        schema="supabase_migrations",
        columns=frozenset({"version"}),
        read=_read_supabase,
        key=_key_of_version("supabase", str),
        proof="statements",
    )
    yield LedgerFormat(
        name="node-pg-migrate",
        table="pgmigrations",
        columns=frozenset({"id", "name", "run_on"}),
        read=_read_node_pg_migrate,
        key=_key_of_stem,
        adopted_as=("node-pg-migrate-sql",),
    )
    yield LedgerFormat(
        name="alembic",
        table="alembic_version",
        columns=frozenset({"version_num"}),
        read=_read_alembic,
        key=_key_of_revision,
    )
    yield LedgerFormat(
        name="sql-migrate",
        table="gorp_migrations",
        columns=frozenset({"id", "applied_at"}),
        read=_read_sql_migrate,
        key=lambda source: source.rpartition("/")[2],
    )
    yield LedgerFormat(
        name="tern",
        table="schema_version",
        columns=frozenset({"version"}),
        read=_read_tern,
        key=_key_of_version("tern", int),
    )


LEDGER_FORMATS = {one.name: one for one in _formats()}
