"""A golden copy on a server of the user's, beside TEST_DB, which becomes the clone that people look at afterwards.

Databases there are known as ours by their comments. Nobody is thrown out, nothing is overwritten that is not ours but
by --yes, and production never. A rehearsal that is killed leaves its databases behind: the next one drops them.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kernel.db.connection import open_connection, open_session
from kernel.errors import DatabaseRefused, DatabaseUnreachable, LockBusy, UsageError
from kernel.rehearsal.prod_copy.databases import (
    create_template_database,
    database_exists,
    database_size_bytes,
    drop_database,
    require_no_connections,
)
from kernel.rehearsal.prod_copy.identity import (
    DatabaseKind,
    OwnershipComment,
    list_owned_databases,
    read_ownership_comment,
    refuse_protected_database,
    write_ownership_comment,
)
from kernel.rehearsal.prod_copy.model import CopyServer, not_dropped_warning, open_admin_session, sibling_name
from kernel.rehearsal.prod_copy.store import ENTRY_FORMAT
from kernel.rehearsal.result import Restore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.db.connection import Connection, Session
    from kernel.rehearsal.prod_copy.model import CopyRequest, Restorer


# Whether a database holds anything that somebody would miss.


_MAX_NAMED_OBJECTS = 3
# Whatever stands outside of the system's schemas and does not belong to an extension; names only, never rows.
_OBJECTS_QUERY = """
WITH system AS (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema'),
member AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
SELECT name FROM (
    SELECT 1, format('schema %I', nspname), 'pg_namespace'::regclass, oid FROM pg_namespace
    WHERE oid NOT IN (SELECT oid FROM system) AND nspname <> 'public'
    UNION ALL SELECT CASE relkind WHEN 'S' THEN 5 ELSE 0 END,
        format('%s %s', CASE relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' ELSE 'table' END, oid::regclass),
        'pg_class'::regclass, oid FROM pg_class
    WHERE relnamespace NOT IN (SELECT oid FROM system) AND relkind IN ('r', 'p', 'f', 'm', 'v', 'S')
    UNION ALL SELECT 2, format('function %s', oid::regprocedure), 'pg_proc'::regclass, oid FROM pg_proc
    WHERE pronamespace NOT IN (SELECT oid FROM system)
    UNION ALL SELECT 3, format('type %s', oid::regtype), 'pg_type'::regclass, oid FROM pg_type
    WHERE typnamespace NOT IN (SELECT oid FROM system) AND typtype IN ('c', 'd', 'e', 'r')
        AND (typrelid = 0 OR typrelid IN (SELECT oid FROM pg_class WHERE relkind = 'c'))
    UNION ALL SELECT 4, format('large object %s', oid), 'pg_largeobject_metadata'::regclass, oid
    FROM pg_largeobject_metadata
) AS objects (rank, name, classid, objid)
WHERE (classid, objid) NOT IN (SELECT classid, objid FROM member)
ORDER BY rank, name
"""


def describe_contents(session: Session) -> str:
    """What the database holds, in a few words; "" when it is as good as new."""
    names = [name for (name,) in session.connection.execute(_OBJECTS_QUERY)]
    more = f" and {len(names) - _MAX_NAMED_OBJECTS} more" if len(names) > _MAX_NAMED_OBJECTS else ""
    return f"{', '.join(names[:_MAX_NAMED_OBJECTS])}{more}"


TEST_DB_VARIABLE = "TEST_DB"

# Every server has it, unless somebody dropped it; a database cannot be made from within itself.
MAINTENANCE_DATABASE = "postgres"

# The server needs a moment to notice that a rehearsal was killed, and to let go of its lock.
_LOCK_WAIT_SECONDS = 1.0
_POLL_SECONDS = 0.02

_OR_THROWAWAY_SERVER = "or leave TEST_DB empty for a throwaway server"
_ROLE_RIGHTS_QUERY = """
SELECT rolsuper OR rolcreatedb,
    rolsuper OR NOT EXISTS (
        SELECT FROM pg_database WHERE datname = %s AND NOT pg_has_role(current_user, datdba, 'MEMBER')
    ), quote_ident(current_user)
FROM pg_roles WHERE rolname = current_user
"""


@contextmanager
def open_test_db_template(test_db: str, wish: CopyRequest, restore: Restorer) -> Iterator[CopyServer]:
    """The golden copy beside TEST_DB, which is at the connection string `test_db` and may not exist yet.

    Everything that speaks against it is found before anything is changed. Raises DatabaseUnreachable, DatabaseRefused,
    UsageError where --yes is missing, LockBusy while another rehearsal uses it, and what `restore` raises.
    """
    url, name = _maintenance_url(test_db)
    golden = sibling_name(name, "golden")
    key = f"{wish.digest[:32]}-{'schema' if wish.schema_only else 'full'}-{ENTRY_FORMAT}"
    with ExitStack() as stack:
        stack.enter_context(_test_db_lock(url, name))
        with open_admin_session(url, variable=TEST_DB_VARIABLE) as session:
            _check_test_db(session, test_db, name, wish)
            _drop_leftovers(session, name, golden, key)
            found = read_ownership_comment(session.connection, golden)
            size = database_size_bytes(session, golden) if found else 0
        if found:
            restored = Restore(seconds=0.0, size_bytes=size, reused=True, warnings=found.warnings)
        stack.callback(_drop_or_keep_template, url, golden, keep=wish.keep, say=wish.print_line)
        if not found:
            restored = _create_template(url, golden, key, wish, restore)
        yield CopyServer(url=url, variable=TEST_DB_VARIABLE, template=golden, key=key, restored=restored, test_db=name)


def check_test_db(test_db: str, wish: CopyRequest) -> None:
    """Raise what `opened` would raise of TEST_DB, before production is dumped for nothing. Nothing is changed."""
    url, name = _maintenance_url(test_db)
    with _test_db_lock(url, name), open_admin_session(url, variable=TEST_DB_VARIABLE) as session:
        _check_test_db(session, test_db, name, wish)


def _check_test_db(session: Session, test_db: str, name: str, wish: CopyRequest) -> None:
    _check_role_rights(session, name)
    _check_overwrite(session, test_db, name, sibling_name(name, "golden"), wish)
    require_no_connections(session, name)


def _maintenance_url(test_db: str) -> tuple[str, str]:
    """The database from which others are made on TEST_DB's server, and TEST_DB's own name. Raises DatabaseRefused."""
    parameters = conninfo_to_dict(test_db)
    name = str(parameters.get("dbname") or parameters.get("user") or "")
    if not name:
        raise DatabaseRefused(f"TEST_DB names no database; add its name to the URL, {_OR_THROWAWAY_SERVER}")
    if name in (MAINTENANCE_DATABASE, "template0", "template1"):
        raise DatabaseRefused(f"TEST_DB is {name}, which the server itself needs; name another, {_OR_THROWAWAY_SERVER}")
    return make_conninfo(test_db, dbname=MAINTENANCE_DATABASE), name


@contextmanager
def _test_db_lock(url: str, name: str) -> Iterator[None]:
    """Keep other rehearsals away from TEST_DB. Raises LockBusy, DatabaseRefused through a pooler."""
    try:
        connection = open_connection(url, variable=TEST_DB_VARIABLE)
    except DatabaseUnreachable as error:
        hint = (
            f"TEST_DB is dropped and made from the database {MAINTENANCE_DATABASE} of its server; let this role in, "
            f"{_OR_THROWAWAY_SERVER}"
        )
        raise DatabaseUnreachable(str(error), hint=hint) from error
    with connection:
        key = int.from_bytes(hashlib.sha256(f"db.snapshot-test\0{name}".encode()).digest()[:8], signed=True)
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        if row is None or row[0] != connection.info.backend_pid:
            what = f"{name}: behind a pooler, through which no database can be made; give TEST_DB a direct URL"
            raise DatabaseRefused(f"{what}, {_OR_THROWAWAY_SERVER}")
        deadline = time.monotonic() + _LOCK_WAIT_SECONDS
        while not _try_lock(connection, key):
            if time.monotonic() > deadline:
                raise LockBusy(f"another rehearsal uses TEST_DB ({name}); wait for its end, {_OR_THROWAWAY_SERVER}")
            time.sleep(_POLL_SECONDS)
        yield


def _try_lock(connection: Connection, key: int) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
    return bool(row and row[0])


def _check_role_rights(session: Session, name: str) -> None:
    """Raise DatabaseRefused when this role cannot make databases, or not drop the one that is there."""
    row = session.connection.execute(_ROLE_RIGHTS_QUERY, (name,)).fetchone()
    creates, drops, role = row or (False, False, "this role")
    if not creates:
        raise DatabaseRefused(
            f"{session.name}: {role} may not create databases, and TEST_DB becomes a clone of another; "
            f"ALTER ROLE {role} CREATEDB, {_OR_THROWAWAY_SERVER}"
        )
    if not drops:
        raise DatabaseRefused(
            f"{session.name}: {role} does not own TEST_DB ({name}), which is dropped and made again; "
            f"ALTER DATABASE … OWNER TO {role}, {_OR_THROWAWAY_SERVER}"
        )


def _check_overwrite(session: Session, test_db: str, name: str, golden: str, wish: CopyRequest) -> None:
    """Raise when TEST_DB is production, or when it or the golden copy's name holds what is not ours."""
    if database_exists(session, golden) and read_ownership_comment(session.connection, golden) is None:
        raise DatabaseRefused(
            f"{session.name}: there is a database {golden}, where the golden copy of TEST_DB would be, and it is not "
            f"ours; rename it, {_OR_THROWAWAY_SERVER}"
        )
    if not database_exists(session, name):
        return
    # By its name: without one in the URL, libpq would go where PGDATABASE or a service says.
    with open_session(make_conninfo(test_db, dbname=name), variable=TEST_DB_VARIABLE) as target:
        held = "" if read_ownership_comment(session.connection, name) else describe_contents(target)
        refuse_protected_database(target, wish.protected, say=wish.print_line, holds=bool(held))
    if held and not wish.allow_overwrite:
        raise UsageError(
            f"TEST_DB ({name}) would be overwritten and holds {held}; say so with --yes, name another database, "
            f"{_OR_THROWAWAY_SERVER}"
        )


def _drop_leftovers(session: Session, name: str, golden: str, key: str) -> None:
    """Drop what a killed rehearsal left beside TEST_DB, and a golden copy of another dump or one half made."""
    for other, its in list_owned_databases(session.connection, f"{name}_").items():
        if other == golden and its == OwnershipComment(kind=DatabaseKind.TEMPLATE, key=key, warnings=its.warnings):
            continue
        if other == golden or its.kind is DatabaseKind.CLONE:
            drop_database(session, other, force=False)


def _create_template(url: str, golden: str, key: str, wish: CopyRequest, restore: Restorer) -> Restore:
    making = OwnershipComment(kind=DatabaseKind.INCOMPLETE, key=key)
    restored = create_template_database(
        url,
        golden,
        wish,
        restore,
        variable=TEST_DB_VARIABLE,
        begun=lambda session: write_ownership_comment(session.connection, golden, making),
    )
    with open_admin_session(url, variable=TEST_DB_VARIABLE) as session:
        write_ownership_comment(
            session.connection,
            golden,
            OwnershipComment(kind=DatabaseKind.TEMPLATE, key=key, warnings=restored.warnings),
        )
    return restored


def _drop_or_keep_template(url: str, golden: str, *, keep: bool, say: Callable[[str], None]) -> None:
    """Drop the golden copy, unless it is complete and to be kept; `say` is told when that fails.

    It does not raise: the rehearsal has its result, and an error under way says more.
    """
    try:
        with open_admin_session(url, variable=TEST_DB_VARIABLE) as session:
            found = read_ownership_comment(session.connection, golden)
            if found and not (keep and found.kind is DatabaseKind.TEMPLATE):
                drop_database(session, golden, force=False)
    except (DatabaseUnreachable, DatabaseRefused) as error:
        say(not_dropped_warning(golden, error))
