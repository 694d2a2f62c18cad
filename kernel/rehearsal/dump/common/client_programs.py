"""Choose PostgreSQL's client programs, and connect them as an open session: secrets go into the environment only."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

from kernel.errors import Problem, ProgramsMissing, Unprepared
from kernel.postgres.programs import find_programs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel.db.connection import Connection
    from kernel.postgres.programs import Programs


# Values of the open session: the server that answered, of several in a URL; the password it accepted, from any source.
_FROM_CONNECTION = ("host", "hostaddr", "port", "dbname", "user", "password")
# Set explicitly, or not wanted.
_SET_HERE = frozenset({"options", "application_name", "client_encoding", "target_session_attrs", "passfile", "service"})
_MAJORS_SEARCHED = 6  # majors from the needed one on; PostgreSQL supports five
# The first minor version of each major whose pg_restore a crafted archive cannot make run code (CVE-2026-116314).
_FIXED_MINORS = {14: 25, 15: 20, 16: 16, 17: 12, 18: 7}


def libpq_environment(connection: Connection, options: Mapping[str, str], *, name: str) -> dict[str, str]:
    """PG* variables that lead a program to the server and database of `connection`, which is open.

    `options` are settings of the program's session from its start; `name` is its application_name. The user's options
    stay in force. The result contains the password: pass it as a child's environment only.
    """
    info = connection.pgconn.info
    found: dict[str, str] = {}
    for option in info:
        keyword = option.keyword.decode()
        if option.envvar and option.val and option.val != option.compiled and keyword not in _SET_HERE:
            found[option.envvar.decode()] = option.val.decode()
    is_socket = connection.info.host.startswith(("/", "@"))
    for keyword in _FROM_CONNECTION:
        variable = f"PG{'DATABASE' if keyword == 'dbname' else keyword.upper()}"
        found.pop(variable, None)
        if (value := getattr(connection.info, keyword)) and not (is_socket and keyword == "hostaddr"):
            found[variable] = str(value)
    user_options = next((option.val.decode() for option in info if option.keyword == b"options" and option.val), "")
    escapes = str.maketrans({"\\": "\\\\", " ": "\\ "})  # the two special characters there
    ours = (f"-c {key}={value.translate(escapes)}" for key, value in options.items())
    found |= {"PGOPTIONS": " ".join(filter(None, (user_options, *ours))), "PGAPPNAME": name, "PGCLIENTENCODING": "UTF8"}
    if home := os.environ.get("HOME"):  # libpq's default folder of certificates and keys
        found["HOME"] = home
    return found


def conninfo_without_secrets(connection: Connection) -> str:
    """The connection string for a command line: the database, and options without a variable, such as keepalives."""
    options = {
        option.keyword.decode(): option.val.decode()
        for option in connection.pgconn.info
        if option.val and not option.envvar and option.dispchar == b""  # others are secret or for debugging
    }
    return make_conninfo("", dbname=connection.info.dbname, **options)


def find_pg_restore(archive_version: tuple[int, int], major: int | None, given: Programs, *, name: str) -> Programs:
    """The programs given when their pg_restore reads an archive of this version, else others on this machine.

    `major` is the oldest version that reads it, None when no version is known to. `name` is the archive in messages.
    Raises Unprepared.
    """
    version = ".".join(map(str, archive_version))
    what = f"{name}: its archive version is {version}"
    if major is None:
        raise Unprepared(
            [Problem(message=f"{what}, newer than any known here; dump it again as plain SQL: pg_dump --format=plain")]
        )
    return find_programs_with("pg_restore", major, given, f"{what}, which pg_restore reads")


def pg_restore_warning(reader: Programs) -> str:
    """A warning about a pg_restore with a vulnerability that crafted archives exploit, else ""."""
    minor = reader.version.partition(".")[2]
    fixed = _FIXED_MINORS.get(reader.major)
    if fixed is None or not minor.isdigit() or int(minor) >= fixed:
        return ""
    return (
        f"pg_restore {reader.version} can be made to run code by a crafted archive (CVE-2026-116314); it ran without "
        f"rights here, but take archives from people you trust only, or update it to {reader.major}.{fixed}"
    )


def find_programs_with(program: str, major: int, given: Programs, what: str) -> Programs:
    """The programs given when they are of at least `major` and have `program`, else others on this machine.

    Raises Unprepared, which begins with `what`.
    """
    if given.major >= major and (given.bin / program).is_file():
        return given
    for wanted in range(major, major + _MAJORS_SEARCHED):
        with suppress(ProgramsMissing):
            found = find_programs(None, major=wanted)
            if (found.bin / program).is_file():
                return found
    lacks = "" if (given.bin / program).is_file() else f", and {program} is not there at all"
    message = (
        f"{what} from {major} on, and here is {given.version} in {given.bin}{lacks}; "
        f"install postgresql-client-{major} and the server of that version, or set KERNEL_PG_BINDIR to the bin of one"
    )
    raise Unprepared([Problem(message=message)])
