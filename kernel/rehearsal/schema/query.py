"""What the queries of a schema have in common: their shape, and the pieces of SQL that they share.

Source of the catalogs: PostgreSQL documentation, "System Catalogs"; of the defaults of privileges, "Privileges".
"""

# Every piece that the queries are put together from is a constant of these modules: nothing here is injected.
# ruff: noqa: S608

from __future__ import annotations

from dataclasses import dataclass

# Nobody but the system makes a schema that begins with pg_; temporary tables live in one, too.
OF_USERS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
FIRST_OF_USERS = 16384  # the first OID that initdb does not give away

# Options that the server writes into pg_attribute.attoptions for its own use: pg_attver, the version of a column's
# definition, since 15.20 and the minor releases of that day. pg_dump leaves it out, too; reloptions has no such option.
SERVER_OPTIONS = ("pg_attver",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query whose rows are things: key, kind, of, via, place, schema, bare, name, then a fact for each label.

    It runs on servers from version `since` (as server_version_num) until before `until`.
    """

    labels: tuple[str, ...]
    sql: str
    since: int = 0
    until: int = 1_000_000


def key(catalog: str, oid: str) -> str:
    """The SQL expression of a thing's key."""
    return f"'{catalog}:' || {oid}"


def no_member(catalog: str, oid: str) -> str:
    """The SQL condition that an object belongs to no extension: the extension stands for its members."""
    return (
        f"NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalog}'::regclass AND e.objid = {oid}"
        " AND e.deptype = 'e')"
    )


def privileges(acl: str, kind: str, owner: str) -> str:
    """The SQL expression of what is granted, an item each, in an order that does not depend on who came first.

    `kind` is the letter that acldefault() knows the kind of object by. What a role grants itself as the owner stays the
    same text when the owner changes: that is one change and not two.
    """
    return f"""(
  SELECT array_agg(DISTINCT format('%s%s to %s', g.privilege_type,
    CASE WHEN g.is_grantable THEN ' (and to grant it)' END,
    CASE g.grantee WHEN 0 THEN 'public' WHEN {owner} THEN 'its owner' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
    COLLATE "C")
  FROM aclexplode(coalesce({acl}, acldefault('{kind}', {owner}))) AS g)"""


def comment(catalog: str, oid: str, column: str = "0") -> str:
    """The SQL expression of an object's comment."""
    return (
        f"(SELECT d.description FROM pg_description d WHERE d.classoid = '{catalog}'::regclass"
        f" AND d.objoid = {oid} AND d.objsubid = {column})"
    )


def owner(oid: str) -> str:
    """The SQL expression of an owner's name."""
    return f"quote_ident(pg_get_userbyid({oid}))"


def sorted_options(options: str) -> str:
    """The SQL expression of an array of name=value in the order of its names, which is no part of its meaning."""
    return f"""(SELECT array_agg(o COLLATE "C" ORDER BY o COLLATE "C") FROM unnest({options}) AS o)"""


def column_options(attoptions: str) -> str:
    """The SQL expression of a column's options less SERVER_OPTIONS; NULL where none is left."""
    names = ", ".join(f"'{name}'" for name in SERVER_OPTIONS)
    return f"(SELECT array_agg(o) FROM unnest({attoptions}) AS o WHERE split_part(o, '=', 1) NOT IN ({names}))"
