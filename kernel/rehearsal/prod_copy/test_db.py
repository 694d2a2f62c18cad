"""A copy on the user's server, next to TEST_DB, which becomes the clone that the user looks at afterwards.

Comments mark the databases that a rehearsal created. Sessions of other users are not terminated, other databases are
overwritten only with --yes, and production never. A rehearsal that is killed leaves its databases; the next one drops
them.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kernel.db.connection import open_connection, open_session
from kernel.errors import DatabaseRefused, DatabaseUnreachable, LockBusy, UsageError
from kernel.rehearsal.prod_copy.copy import ProdCopy, not_dropped_warning, sibling_name
from kernel.rehearsal.prod_copy.databases import (
    create_empty_database,
    database_exists,
    database_size_bytes,
    drop_database,
    fill_template_database,
    open_admin_session,
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
from kernel.rehearsal.prod_copy.store import ENTRY_FORMAT
from kernel.rehearsal.result import Restore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.db.connection import Session
    from kernel.rehearsal.prod_copy.model import CopyRequest, CopyTarget, Restorer


TEST_DB_VARIABLE = "TEST_DB"

# Every server has it unless it was dropped; a database cannot be created while connected to itself.
MAINTENANCE_DATABASE = "postgres"

TEMPLATE_SUFFIX = "golden"  # docs/rehearsal.md promises the name <name>_golden

# The server takes a moment to notice that a rehearsal was killed, and to release its lock.
_LOCK_WAIT_SECONDS = 1.0
_POLL_SECONDS = 0.02

_MAX_NAMED_OBJECTS = 3
_OR_THROWAWAY_SERVER = "or leave TEST_DB empty for a throwaway server"
_ROLE_RIGHTS_QUERY = """
SELECT rolsuper OR rolcreatedb,
    rolsuper OR NOT EXISTS (
        SELECT FROM pg_database WHERE datname = %s AND NOT pg_has_role(current_user, datdba, 'MEMBER')
    ), quote_ident(current_user)
FROM pg_roles WHERE rolname = current_user
"""
# Objects outside of the system schemas that do not belong to an extension; names only, never rows.
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


@contextmanager
def open_test_db_copy(request: CopyRequest, restore: Restorer) -> Iterator[ProdCopy]:
    """The copy next to TEST_DB; TEST_DB itself need not exist.

    Every obstacle is found before anything is changed. Raises DatabaseUnreachable, DatabaseRefused, UsageError where
    --yes is missing, LockBusy while another rehearsal uses TEST_DB, and what `restore` raises.
    """
    url, name = _maintenance_url(request.target)
    template = sibling_name(name, TEMPLATE_SUFFIX)
    # A dump without a digest is not seen again: no existing copy is one of it.
    digest = request.digest or secrets.token_hex(16)
    key = f"{digest[:32]}-{request.variant}-{ENTRY_FORMAT}"
    with ExitStack() as stack:
        stack.enter_context(_lock_test_db(url, name))
        with open_admin_session(url, variable=TEST_DB_VARIABLE) as session:
            _check_test_db(session, name, request.target, request.print_line)
            _drop_leftovers(session, name, template, key)
            existing = read_ownership_comment(session.connection, template)
            size_bytes = database_size_bytes(session, template) if existing else 0
        if existing:
            restored = Restore(seconds=0.0, size_bytes=size_bytes, reused=True, warnings=existing.warnings)
        keep = request.target.keep and bool(request.digest)
        stack.callback(_drop_unless_kept, url, template, keep=keep, print_line=request.print_line)
        if not existing:
            restored = _create_template(url, template, key, request, restore)
        yield ProdCopy(
            server_url=url,
            variable=TEST_DB_VARIABLE,
            template=template,
            key=key,
            restored=restored,
            test_db=name,
            print_line=request.print_line,
        )


def check_test_db(target: CopyTarget, print_line: Callable[[str], None]) -> None:
    """Raise what open_test_db_copy would raise of TEST_DB, before production is dumped. Changes nothing."""
    url, name = _maintenance_url(target)
    with _lock_test_db(url, name), open_admin_session(url, variable=TEST_DB_VARIABLE) as session:
        _check_test_db(session, name, target, print_line)


def _maintenance_url(target: CopyTarget) -> tuple[str, str]:
    """The URL of the maintenance database on TEST_DB's server, and TEST_DB's own name. Raises DatabaseRefused."""
    parameters = conninfo_to_dict(target.test_db or "")
    name = str(parameters.get("dbname") or parameters.get("user") or "")
    if not name:
        raise DatabaseRefused(f"TEST_DB names no database; add its name to the URL, {_OR_THROWAWAY_SERVER}")
    if name in (MAINTENANCE_DATABASE, "template0", "template1"):
        raise DatabaseRefused(f"TEST_DB is {name}, which the server itself needs; name another, {_OR_THROWAWAY_SERVER}")
    return make_conninfo(target.test_db or "", dbname=MAINTENANCE_DATABASE), name


@contextmanager
def _lock_test_db(url: str, name: str) -> Iterator[None]:
    """Hold an advisory lock on TEST_DB. Raises LockBusy, DatabaseUnreachable, DatabaseRefused through a pooler."""
    try:
        connection = open_connection(url, variable=TEST_DB_VARIABLE)
    except DatabaseUnreachable as error:
        hint = (
            f"TEST_DB is dropped and created from the database {MAINTENANCE_DATABASE} of its server; allow this role "
            f"to connect to it, {_OR_THROWAWAY_SERVER}"
        )
        raise DatabaseUnreachable(str(error), hint=hint) from error
    key = int.from_bytes(hashlib.sha256(f"db.snapshot-test\0{name}".encode()).digest()[:8], signed=True)
    with connection:
        if connection.execute("SELECT pg_backend_pid()").fetchone() != (connection.info.backend_pid,):
            raise DatabaseRefused(
                f"{name}: the URL leads to a connection pooler, which cannot create databases; give TEST_DB a direct "
                f"URL, {_OR_THROWAWAY_SERVER}"
            )
        deadline = time.monotonic() + _LOCK_WAIT_SECONDS
        while connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone() != (True,):
            if time.monotonic() > deadline:
                raise LockBusy(f"another rehearsal uses TEST_DB ({name}); wait for its end, {_OR_THROWAWAY_SERVER}")
            time.sleep(_POLL_SECONDS)
        yield


def _check_test_db(session: Session, name: str, target: CopyTarget, print_line: Callable[[str], None]) -> None:
    _check_role_rights(session, name)
    template = sibling_name(name, TEMPLATE_SUFFIX)
    if database_exists(session, template) and read_ownership_comment(session.connection, template) is None:
        raise DatabaseRefused(
            f"{session.name}: the name of the template database {template} is taken by a database that no rehearsal "
            f"created; rename it, {_OR_THROWAWAY_SERVER}"
        )
    if database_exists(session, name):
        _check_overwrite(session, name, target, print_line)
    require_no_connections(session, name)


def _check_role_rights(session: Session, name: str) -> None:
    """Raise DatabaseRefused when this role cannot create databases, or cannot drop an existing TEST_DB."""
    ((can_create, can_drop, role),) = session.connection.execute(_ROLE_RIGHTS_QUERY, (name,)).fetchall()
    if not can_create:
        raise DatabaseRefused(
            f"{session.name}: {role} may not create databases, and TEST_DB becomes a clone of another; "
            f"ALTER ROLE {role} CREATEDB, {_OR_THROWAWAY_SERVER}"
        )
    if not can_drop:
        raise DatabaseRefused(
            f"{session.name}: {role} does not own TEST_DB ({name}), which is dropped and created again; "
            f"ALTER DATABASE … OWNER TO {role}, {_OR_THROWAWAY_SERVER}"
        )


def _check_overwrite(session: Session, name: str, target: CopyTarget, print_line: Callable[[str], None]) -> None:
    """Raise DatabaseRefused when TEST_DB is production, UsageError when it holds objects that need --yes."""
    # By its name: without one in the URL, libpq would connect to the database of PGDATABASE or a service.
    with open_session(make_conninfo(target.test_db or "", dbname=name), variable=TEST_DB_VARIABLE) as test_db:
        contents = "" if read_ownership_comment(session.connection, name) else _describe_contents(test_db)
        refuse_protected_database(test_db, target.protected, print_line=print_line, holds_data=bool(contents))
    if contents and not target.allow_overwrite:
        raise UsageError(
            f"TEST_DB ({name}) would be overwritten and holds {contents}; say so with --yes, name another database, "
            f"{_OR_THROWAWAY_SERVER}"
        )


def _describe_contents(session: Session) -> str:
    """The first objects of a database and the number of the rest; "" for an empty one."""
    names = [name for (name,) in session.connection.execute(_OBJECTS_QUERY)]
    more = f" and {len(names) - _MAX_NAMED_OBJECTS} more" if len(names) > _MAX_NAMED_OBJECTS else ""
    return f"{', '.join(names[:_MAX_NAMED_OBJECTS])}{more}"


def _drop_leftovers(session: Session, name: str, template: str, key: str) -> None:
    """Drop the clones of a killed rehearsal, and a template that is incomplete or of another dump."""
    for database, comment in list_owned_databases(session.connection, f"{name}_").items():
        if database == template and comment.kind is DatabaseKind.TEMPLATE and comment.key == key:
            continue
        if database == template or comment.kind is DatabaseKind.CLONE:
            drop_database(session, database, force=False)


def _create_template(url: str, template: str, key: str, request: CopyRequest, restore: Restorer) -> Restore:
    with open_admin_session(url, variable=TEST_DB_VARIABLE) as session:
        create_empty_database(session, template, request.locale)
        comment = OwnershipComment(kind=DatabaseKind.INCOMPLETE, key=key)
        write_ownership_comment(session.connection, template, comment)
    restored = fill_template_database(url, template, request, restore, variable=TEST_DB_VARIABLE)
    with open_admin_session(url, variable=TEST_DB_VARIABLE) as session:
        comment = OwnershipComment(kind=DatabaseKind.TEMPLATE, key=key, warnings=restored.warnings)
        write_ownership_comment(session.connection, template, comment)
    return restored


def _drop_unless_kept(url: str, template: str, *, keep: bool, print_line: Callable[[str], None]) -> None:
    """Drop the template, unless it is complete and `keep` is set.

    A failure is printed and not raised: it would hide the rehearsal's result, or the error that ended it.
    """
    try:
        with open_admin_session(url, variable=TEST_DB_VARIABLE) as session:
            comment = read_ownership_comment(session.connection, template)
            if comment and not (keep and comment.kind is DatabaseKind.TEMPLATE):
                drop_database(session, template, force=False)
    except (DatabaseUnreachable, DatabaseRefused) as error:
        print_line(not_dropped_warning(template, error))
