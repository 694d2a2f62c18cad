"""Fresh data for a cluster: initdb, and a first database made without any client."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel.errors import ServerFailed
from kernel.postgres.process import program_failed_error, run_as_account

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.postgres.account import Account
    from kernel.postgres.programs import Programs


SUPERUSER = "postgres"

LOCALE_OPTIONS = ("--locale=C.UTF-8",)
# Where the operating system has no C.UTF-8: PostgreSQL's own from 17 on, else C, whose upper() and lower() know ASCII.
BUILTIN_LOCALE_OPTIONS = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
C_LOCALE_OPTIONS = ("--locale=C",)
BUILTIN_MAJOR = 17
UNKNOWN_LOCALE = re.compile(r"invalid locale|locale .* not recognized")


def run_initdb(programs: Programs, account: Account, data: Path, *, sync: bool) -> None:
    """Make the data of a new cluster in `data`, which must not exist: UTF-8, the superuser `postgres`, no password.

    Without a password, whoever can enter the socket's folder is let in; those folders are private. `sync` makes the
    files survive a power cut. Raises ServerFailed, which quotes initdb, and OSError when `data` cannot be made.
    """
    data.mkdir()
    account.take_ownership(data, 0o700)
    for locale in (LOCALE_OPTIONS, BUILTIN_LOCALE_OPTIONS if programs.major >= BUILTIN_MAJOR else C_LOCALE_OPTIONS):
        done = run_as_account(
            account,
            programs.bin / "initdb",
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            *locale,
            *(() if sync else ("--no-sync",)),
        )
        if done.returncode == 0:
            return
        if not UNKNOWN_LOCALE.search(done.stdout):
            break
    raise program_failed_error(f"{data}: initdb of PostgreSQL {programs.version} failed", done.stdout)


def create_database(programs: Programs, account: Account, data: Path, name: str) -> None:
    """Create the database `name`, a plain lower-case word, in a cluster that nobody serves.

    Raises ServerFailed, which quotes the server.
    """
    done = run_as_account(
        account,
        programs.bin / "postgres",
        "--single",
        "-c",
        "exit_on_error=on",  # a session without a client would otherwise report an error and exit 0
        "-D",
        data,
        "template1",
        feed=f"CREATE DATABASE {name}\n",
    )
    if done.returncode != 0:
        raise program_failed_error(f"{data}: the database {name} could not be created", done.stdout)


def data_major_version(data: Path) -> int:
    """The major version of the PostgreSQL that made `data`. Raises ServerFailed when none has."""
    try:
        return int((data / "PG_VERSION").read_text(encoding="ascii").split(".")[0])
    except (FileNotFoundError, ValueError) as error:
        raise ServerFailed(f"{data}: not the data of a PostgreSQL server (no PG_VERSION); move it away") from error
