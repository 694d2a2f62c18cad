"""The GRANT that a role lacks after `permission denied`, which is SQLSTATE 42501.

The message names the object, neither its schema nor the privilege. Which privileges the role lacks is read from the
catalog afterwards; the first words of the statement tell which of them it needs. A message in another language than
English, or about what no GRANT gives, has no answer here.

Source: PostgreSQL documentation, "Privileges" (which privileges an object has), and the messages of aclcheck_error() in
PostgreSQL's source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


Connection = psycopg.Connection[tuple[Any, ...]]

INSUFFICIENT_PRIVILEGE = "42501"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ObjectKind:
    """A kind of object: its word in ALTER, its catalog with the prefix of its columns, and the privileges it has.

    `tested_by` is the function of the server that tests a privilege.
    """

    word: str
    catalog: str
    prefix: str
    privileges: tuple[str, ...]
    tested_by: str
    arguments: bool = False
    owner: str = ""

    def query(self) -> str:
        """The query for name, owner, whether it is a superuser, what the role lacks, and its membership.

        Some messages have the name with its schema, unquoted.
        """
        in_schema = self.catalog not in ("pg_namespace", "pg_database", "pg_language")
        schema = "(SELECT nspname FROM pg_namespace n WHERE n.oid = o.{prefix}namespace)" if in_schema else "NULL::name"
        arguments = "format('(%%s)', pg_get_function_identity_arguments(o.oid))" if self.arguments else "NULL"
        query = (
            f"SELECT concat(quote_ident({schema}) || '.', quote_ident(o.{{prefix}}name), {arguments}), "  # noqa: S608 - of constants
            "quote_ident(r.rolname), r.rolsuper, "
            "ARRAY(SELECT p FROM unnest(%(privileges)s::text[]) p WHERE NOT {tested_by}(o.oid, p)), "
            "pg_has_role(r.oid, 'USAGE') FROM {catalog} o JOIN pg_roles r ON r.oid = o.{owner} "
            f"WHERE %(name)s::text IN (o.{{prefix}}name::text, concat({schema}, '.', o.{{prefix}}name)) ORDER BY o.oid"
        )
        owner = self.owner or f"{self.prefix}owner"
        return query.format(prefix=self.prefix, catalog=self.catalog, owner=owner, tested_by=self.tested_by)


_MAINTAIN, _MAINTAIN_SINCE = "MAINTAIN", 170000  # before, only the owner may do what it allows
_DATA = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
_TABLE = _ObjectKind(word="TABLE", catalog="pg_class", prefix="rel", privileges=_DATA, tested_by="has_table_privilege")
_FUNCTION = _ObjectKind(
    word="FUNCTION",
    catalog="pg_proc",
    prefix="pro",
    privileges=("EXECUTE",),
    tested_by="has_function_privilege",
    arguments=True,
)
_TYPE = _ObjectKind(word="TYPE", catalog="pg_type", prefix="typ", privileges=("USAGE",), tested_by="has_type_privilege")
_KINDS = {
    **dict.fromkeys(("table", "relation", "foreign table"), _TABLE),
    "index": _ObjectKind(
        word="INDEX", catalog="pg_class", prefix="rel", privileges=(), tested_by="has_table_privilege"
    ),
    "view": _ObjectKind(
        word="VIEW", catalog="pg_class", prefix="rel", privileges=_DATA[:4], tested_by="has_table_privilege"
    ),
    "materialized view": _ObjectKind(
        word="MATERIALIZED VIEW",
        catalog="pg_class",
        prefix="rel",
        privileges=_DATA[:1],
        tested_by="has_table_privilege",
    ),
    "sequence": _ObjectKind(
        word="SEQUENCE",
        catalog="pg_class",
        prefix="rel",
        privileges=("USAGE", "SELECT", "UPDATE"),
        tested_by="has_sequence_privilege",
    ),
    **dict.fromkeys(("function", "procedure", "routine", "aggregate"), _FUNCTION),
    **dict.fromkeys(("type", "domain"), _TYPE),
    "schema": _ObjectKind(
        word="SCHEMA",
        catalog="pg_namespace",
        prefix="nsp",
        privileges=("USAGE", "CREATE"),
        tested_by="has_schema_privilege",
    ),
    "database": _ObjectKind(
        word="DATABASE",
        catalog="pg_database",
        prefix="dat",
        privileges=("CREATE", "TEMPORARY"),
        tested_by="has_database_privilege",
        owner="datdba",
    ),
    "language": _ObjectKind(
        word="LANGUAGE",
        catalog="pg_language",
        prefix="lan",
        privileges=("USAGE",),
        tested_by="has_language_privilege",
    ),
}
_WORDS = "|".join(sorted(_KINDS, key=len, reverse=True))
_DENIED = re.compile(rf"permission denied for (?P<kind>{_WORDS}) (?P<name>.+)")
_NOT_OWNER = re.compile(rf"must be owner of (?P<kind>{_WORDS}) (?P<name>.+)")
_TEMPORARY = re.compile(r'permission denied to create temporary tables in database "(?P<name>.+)"')
_NOT_MEMBER = re.compile(
    r'(?:must be member of role|must be able to SET ROLE|permission denied to set role) "(?P<name>.+)"'
)
_ATTRIBUTES = (
    (re.compile(r"permission denied to create database"), "CREATEDB"),
    (re.compile(r"permission denied to (?:create|alter|drop|rename) role"), "CREATEROLE"),
)
_EXTENSION = re.compile(r'permission denied to create extension "(?P<name>.+)"')
# In the CONTEXT of an error in a function, in any language: the statement that it ran.
_INNER_STATEMENT = re.compile(r'^[^"\n]*"(?P<statement>\s*[A-Za-z]+\b[^"]*)', re.MULTILINE)
_TARGETS = {
    "INSERT": r"insert\s+into\s+",
    "UPDATE": r"update\s+(?:only\s+)?",
    "DELETE": r"delete\s+from\s+(?:only\s+)?",
    "MERGE": r"merge\s+into\s+(?:only\s+)?",
    "COPY": r"copy\s+",
    "TRUNCATE": r"truncate\s+(?:table\s+)?(?:only\s+)?",
    "CREATE": r"create\s+(?:or\s+replace\s+)?(?:constraint\s+)?trigger\s+.+?\son\s+",
}
_OF_TARGET = {
    "INSERT": ("INSERT",),
    "UPDATE": ("UPDATE",),
    "DELETE": ("DELETE",),
    "MERGE": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "COPY": ("INSERT",),
    "TRUNCATE": ("TRUNCATE",),
    "CREATE": ("TRIGGER",),
}


def missing_grant(connection: Connection, message: str, *, statement: str = "", context: str = "") -> str:
    """The remedy for an error of SQLSTATE 42501, by the server's message; "" when it names nothing that the role lacks.

    `statement` is the one that failed, `context` the server's CONTEXT. The connection is not in a failed transaction,
    and has the role of the runner. Reads catalogs only.
    """
    if connection.broken:
        return ""
    inner = _INNER_STATEMENT.search(context)
    text = inner["statement"].lstrip() if inner else statement
    try:
        return next(_remedies(connection, message, text, in_function=bool(context)), "")
    except psycopg.Error:
        return ""


def _remedies(connection: Connection, message: str, statement: str, *, in_function: bool) -> Iterator[str]:
    role = _quote_name(connection, None)
    yield from _remedies_of_the_role(connection, message, role)
    if found := _NOT_OWNER.search(message):
        kind = _KINDS[found["kind"]]
        for name, owner, superuser, _lacks, is_owner in _objects(connection, kind, found["name"]):
            if not is_owner:
                yield _ownership_remedy(kind, name, owner, role, by_superuser=superuser)
    if found := _DENIED.search(message):
        kind = _KINDS[found["kind"]]
        needed = _needed(kind, _bare(found["name"]), statement, in_function=in_function)
        grants = statement[:6].upper() in ("GRANT ", "REVOKE")
        for name, owner, superuser, lacks, is_owner in _objects(connection, kind, found["name"]):
            if grants and not is_owner:  # a privilege can be granted by the owner, or who has it WITH GRANT OPTION
                yield _ownership_remedy(kind, name, owner, role, by_superuser=superuser)
            if wanted := [one for one in lacks if one in needed]:
                yield f"let its owner run: GRANT {', '.join(wanted)} ON {_grant_word(kind)} {name} TO {role}"


def _remedies_of_the_role(connection: Connection, message: str, role: str) -> Iterator[str]:
    """The remedies for what a role lacks that is no privilege on an object of a schema."""
    if found := _NOT_MEMBER.search(message):
        yield f"let an administrator run: GRANT {_quote_name(connection, found['name'])} TO {role}"
    for pattern, attribute in _ATTRIBUTES:
        if pattern.search(message):
            yield f"let an administrator run: ALTER ROLE {role} {attribute}"
    if found := _TEMPORARY.search(message):
        database = _quote_name(connection, found["name"])
        yield f"let the owner of the database run: GRANT TEMPORARY ON DATABASE {database} TO {role}"
    if found := _EXTENSION.search(message):
        yield from _extension_remedies(connection, found["name"], role)


def _quote_name(connection: Connection, name: str | None) -> str:
    """A name as SQL writes it; None is the current role."""
    ((quoted,),) = connection.execute("SELECT quote_ident(coalesce(%s, current_user))", (name,)).fetchall()
    return str(quoted)


def _objects(connection: Connection, kind: _ObjectKind, name: str) -> Sequence[tuple[str, str, bool, list[str], bool]]:
    maintained = kind.tested_by == "has_table_privilege" and connection.info.server_version >= _MAINTAIN_SINCE
    values = {"name": _bare(name), "privileges": [*kind.privileges, *((_MAINTAIN,) if maintained else ())]}
    return connection.execute(kind.query().encode(), values).fetchall()


def _bare(name: str) -> str:
    """A name as the server's messages have it: in double quotes, in some of them."""
    return name[1:-1] if name.startswith('"') and name.endswith('"') else name


def _grant_word(kind: _ObjectKind) -> str:
    return "TABLE" if kind.catalog == "pg_class" and kind.word != "SEQUENCE" else kind.word


def _ownership_remedy(kind: _ObjectKind, name: str, owner: str, role: str, *, by_superuser: bool) -> str:
    """A superuser's role is not lent: the object changes its owner instead."""
    if by_superuser and kind.word == "INDEX":
        return f"let {owner} change the owner of its table: ALTER TABLE … OWNER TO {role}"
    if by_superuser:
        return f"let {owner} run: ALTER {kind.word} {name} OWNER TO {role}"
    return f"run as its owner (KERNEL_ROLE={owner}), or let an administrator run: GRANT {owner} TO {role}"


def _extension_remedies(connection: Connection, name: str, role: str) -> Iterator[str]:
    """A trusted extension needs CREATE on the database, any other a superuser."""
    query = "SELECT quote_ident(current_database()) FROM pg_available_extension_versions WHERE name = %s AND trusted"
    for (database,) in connection.execute(query, (name,)).fetchall():
        yield f"let the owner of the database run: GRANT CREATE ON DATABASE {database} TO {role}"
    yield f"let a superuser run: CREATE EXTENSION {_quote_name(connection, name)}"


def _needed(kind: _ObjectKind, name: str, statement: str, *, in_function: bool) -> tuple[str, ...]:
    """The privileges that a statement may need on an object, of which the role lacks at least one."""
    words = statement.split(maxsplit=1)
    verb = words[0].upper() if words else ""
    match kind.word:
        case "SCHEMA":
            return kind.privileges if verb in ("CREATE", "ALTER") else ("USAGE",)
        case "SEQUENCE":
            return ("UPDATE",) if re.search(r"\bsetval\b", statement, re.IGNORECASE) else ("USAGE",)
        case "TABLE" | "VIEW" | "MATERIALIZED VIEW":
            return _needed_on_table(name, verb, statement, in_function=in_function)
        case _:
            return kind.privileges[:1]


def _needed_on_table(name: str, verb: str, statement: str, *, in_function: bool) -> tuple[str, ...]:
    table = rf'(?:[\w"]+\.)?"?{re.escape(name)}\b'
    if verb in _TARGETS and re.search(_TARGETS[verb] + table, statement, re.IGNORECASE):
        reads = verb in ("UPDATE", "DELETE") and re.search(r"\b(?:where|returning)\b", statement, re.IGNORECASE)
        return ("SELECT", *_OF_TARGET[verb]) if reads else _OF_TARGET[verb]
    if verb in ("ALTER", "CREATE") and re.search(rf"\breferences\s+{table}", statement, re.IGNORECASE):
        return ("REFERENCES",)
    if verb in ("REFRESH", "REINDEX", "CLUSTER"):
        return (_MAINTAIN,)
    if verb == "LOCK" or (in_function and verb not in (*_TARGETS, "SELECT", "WITH", "TABLE")):
        return _DATA[:4]
    return ("SELECT",)
