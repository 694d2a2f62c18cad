"""Create the data of a cluster: initdb, and a first database in single-user mode."""

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
# For an operating system without C.UTF-8: PostgreSQL's builtin provider from 17 on, else C, where upper() and lower()
# handle ASCII only.
BUILTIN_LOCALE_OPTIONS = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
C_LOCALE_OPTIONS = ("--locale=C",)
BUILTIN_MAJOR = 17
UNKNOWN_LOCALE = re.compile(r"invalid locale|locale .* not recognized")


def run_initdb(programs: Programs, account: Account, data: Path, *, sync: bool) -> None:
    """Create the data of a new cluster in `data`, which must not exist: UTF-8, the superuser `postgres`, no password.

    Without a password, any account that can enter the folder of the socket can connect; those folders are private.
    With `sync` the files survive a power failure. Raises ServerFailed, which quotes initdb, and OSError when `data`
    cannot be created.
    """
    data.mkdir()
    account.take_ownership(data, 0o700)
    for locale in (LOCALE_OPTIONS, BUILTIN_LOCALE_OPTIONS if programs.major >= BUILTIN_MAJOR else C_LOCALE_OPTIONS):
        result = run_as_account(
            account,
            programs.bin / "initdb",
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            *locale,
            *(() if sync else ("--no-sync",)),
        )
        if result.returncode == 0:
            return
        if not UNKNOWN_LOCALE.search(result.stdout):
            break
    raise program_failed_error(f"{data}: initdb of PostgreSQL {programs.version} failed", result.stdout)


def create_database(programs: Programs, account: Account, data: Path, name: str) -> None:
    """Create the database `name`, a lower-case word that needs no quotes, in a cluster whose server is not running.

    Raises ServerFailed, which quotes the output.
    """
    result = run_as_account(
        account,
        programs.bin / "postgres",
        "--single",
        "-c",
        "exit_on_error=on",  # without it, single-user mode reports an error and exits with 0
        "-D",
        data,
        "template1",
        feed=f"CREATE DATABASE {name}\n",
    )
    if result.returncode != 0:
        raise program_failed_error(f"{data}: the database {name} could not be created", result.stdout)


def data_major_version(data: Path) -> int:
    """Return the major version of the PostgreSQL that created `data`. Raises ServerFailed without a PG_VERSION."""
    try:
        return int((data / "PG_VERSION").read_text(encoding="ascii").split(".")[0])
    except (FileNotFoundError, ValueError) as error:
        raise ServerFailed(f"{data}: not the data of a PostgreSQL server (no PG_VERSION); move it away") from error
