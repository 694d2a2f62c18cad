"""The catalogs of targets, read where the work is done, and the groups of targets whose catalogs are equal."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.config.ledger_name import TABLE_SUFFIXES
from kernel.db.connection import open_session
from kernel.errors import KernelError
from kernel.fleet.outcome import describe_error
from kernel.schema import comparable_digest, comparable_schema, diff_schemas, read_schema, split_by_namespace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kernel.db.connection import Session
    from kernel.fleet.outcome import TargetError
    from kernel.fleet.target import Target
    from kernel.fleet.work import Work
    from kernel.schema import Schema

_DIFFERENCES_SHOWN = 20
_SCHEMA_SIZES = """
SELECT n.nspname, sum(pg_total_relation_size(c.oid))::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname = ANY (%s) GROUP BY n.nspname
"""
_DATABASE_SIZE = "SELECT pg_database_size(current_database())"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogs:
    """The catalogs of targets by name: the `digests`, a schema for each digest, and sizes; `errors` of the others.

    `databases` are the targets of which the catalog is that of a whole database.
    """

    digests: Mapping[str, str] = field(default_factory=dict)
    schemas: Mapping[str, Schema] = field(default_factory=dict, repr=False)
    size_bytes: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, TargetError] = field(default_factory=dict)
    databases: frozenset[str] = frozenset()

    def __or__(self, other: Catalogs) -> Catalogs:
        return Catalogs(
            digests={**self.digests, **other.digests},
            schemas={**self.schemas, **other.schemas},
            size_bytes={**self.size_bytes, **other.size_bytes},
            errors={**self.errors, **other.errors},
            databases=self.databases | other.databases,
        )


def read_catalogs(targets: Sequence[Target], work: Work) -> Catalogs:
    """Read the catalogs of targets of one database, in one go for all of its schemas. Errors are part of the result."""
    try:
        with open_session(
            work.addresses.url(replace(targets[0], schema="")),
            variable=str(targets[0].address),
            role=work.options.role,
            migrations_table=work.options.ledger,
        ) as session:
            return _read_catalogs(session, targets, work)
    except KernelError as error:
        return Catalogs(errors={target.name: describe_error(error) for target in targets})


def _read_catalogs(session: Session, targets: Sequence[Target], work: Work) -> Catalogs:
    whole = read_schema(session)
    namespaces = [target.schema for target in targets if target.schema]
    parts = split_by_namespace(whole, namespaces)
    sizes = dict(session.connection.execute(_SCHEMA_SIZES, (namespaces,)).fetchall())
    sizes[""] = session.connection.execute(_DATABASE_SIZE).fetchall()[0][0]
    tables = [work.options.ledger.table + suffix for suffix in TABLE_SUFFIXES]
    digests: dict[str, str] = {}
    schemas: dict[str, Schema] = {}
    for target in targets:
        schema = comparable_schema(
            parts[target.schema] if target.schema else whole,
            namespace=target.schema,
            left_out=tables,
            ignored=work.options.ignored_drift,
        )
        digest = digests[target.name] = comparable_digest(schema)
        schemas.setdefault(digest, schema)
    size_bytes = {target.name: int(sizes.get(target.schema, 0)) for target in targets}
    databases = frozenset(target.name for target in targets if not target.schema)
    return Catalogs(digests=digests, schemas=schemas, size_bytes=size_bytes, databases=databases)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogGroup:
    """Targets with equal catalogs; `differences` are those from the `usual` ones, those of most targets."""

    targets: tuple[str, ...]
    digest: str
    usual: bool
    differences: tuple[str, ...] = ()


def group_by_catalog(names: Iterable[str], catalogs: Catalogs) -> tuple[CatalogGroup, ...]:
    """Return groups of targets with equal catalogs, the largest first; those that could not be read are in none.

    Schemas are compared with schemas, and databases with databases.
    """
    kinds: tuple[list[str], list[str]] = ([], [])
    for name in names:
        kinds[name in catalogs.databases].append(name)
    return tuple(group for kind in kinds for group in _group_one_kind(kind, catalogs))


def _group_one_kind(names: Iterable[str], catalogs: Catalogs) -> tuple[CatalogGroup, ...]:
    by_digest: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if digest := catalogs.digests.get(name):
            by_digest[digest].append(name)
    groups = sorted(by_digest.items(), key=lambda group: (-len(group[1]), group[1]))
    return tuple(
        CatalogGroup(
            targets=tuple(found),
            digest=digest,
            usual=digest == groups[0][0],
            differences=_differences(catalogs.schemas[groups[0][0]], catalogs.schemas[digest]),
        )
        for digest, found in groups
    )


def _differences(usual: Schema, other: Schema) -> tuple[str, ...]:
    lines = diff_schemas(usual, other, oids=False)
    more = len(lines) - _DIFFERENCES_SHOWN
    return (*lines[:_DIFFERENCES_SHOWN], f"and {more} more differences") if more > 0 else lines
