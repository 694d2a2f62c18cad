"""Which programs can do it: a pg_restore that reads an archive's version, a pg_dump as new as a server."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kernel.errors import Problem, ProgramsMissing, Unprepared
from kernel.server import programs

if TYPE_CHECKING:
    from kernel.rehearsal.dump.header import Header
    from kernel.server.programs import Programs

# So many majors above the one that is needed are looked for: PostgreSQL has one each year, and keeps five alive.
_LOOKED_FOR = 6
# The first minor version of each major whose pg_restore a crafted archive cannot make run code (CVE-2026-116314).
_FIXED = {14: 25, 15: 20, 16: 16, 17: 12, 18: 7}


def of_archive(header: Header, given: Programs, *, name: str) -> Programs:
    """The programs given when their pg_restore reads the archive, else others found here. Raises Unprepared.

    `name` is what messages call the archive.
    """
    version = ".".join(str(number) for number in header.version)
    what = f"{name}: its archive version is {version}"
    if header.reader is None:
        raise Unprepared(
            [Problem(message=f"{what}, newer than any known here; dump it again as plain SQL: pg_dump --format=plain")]
        )
    return _able("pg_restore", header.reader, given, f"{what}, which pg_restore reads")


def of_server(major: int, given: Programs, *, name: str) -> Programs:
    """The programs given when their pg_dump is as new as a server of `major`, else others found here.

    Raises Unprepared; `name` is what messages call the server.
    """
    return _able("pg_dump", major, given, f"{name}: PostgreSQL {major}, which pg_dump dumps")


def warning(reader: Programs) -> str:
    """What to know of a pg_restore with a hole that crafted archives use, "" of one without."""
    minor = reader.version.partition(".")[2]
    fixed = _FIXED.get(reader.major)
    if fixed is None or not minor.isdigit() or int(minor) >= fixed:
        return ""
    return (
        f"pg_restore {reader.version} can be made to run code by a crafted archive (CVE-2026-116314); it ran without "
        f"rights here, but take archives from people you trust only, or update it to {reader.major}.{fixed}"
    )


def _able(program: str, major: int, given: Programs, what: str) -> Programs:
    """The programs given, or others on this machine, of at least `major` and with `program` among them."""
    if given.major >= major and (given.bin / program).is_file():
        return given
    for wanted in range(major, major + _LOOKED_FOR):
        with suppress(ProgramsMissing):
            found = programs.find(None, major=wanted)
            if (found.bin / program).is_file():
                return found
    lacks = "" if (given.bin / program).is_file() else f", and {program} is not there at all"
    raise Unprepared(
        [
            Problem(
                message=f"{what} from {major} on, and here is {given.version} in {given.bin}{lacks}; "
                f"install postgresql-client-{major} and the server of that version, "
                "or set KERNEL_PG_BINDIR to the bin of one",
            )
        ]
    )
