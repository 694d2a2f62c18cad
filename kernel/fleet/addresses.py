"""Find the URL of a target: from a variable of the environment or the output of a command.

This happens where the work is done, so that no URL travels. Messages never quote what was found.
"""

from __future__ import annotations

import subprocess
import threading
import time
from typing import TYPE_CHECKING

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kernel.config.conninfo import check_conninfo
from kernel.db.connection import format_identifier
from kernel.errors import Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel.fleet.target import Address, Target

_COMMAND_SECONDS = 60
_KEPT_SECONDS = 60  # shorter than the passwords live that such commands print


class Addresses:
    """The URLs of addresses, from `environ`; the output of a command is kept for a minute. Safe for threads."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._outputs: dict[tuple[str, ...], tuple[float, str]] = {}

    def url(self, target: Target) -> str:
        """Return the URL of a target, with its database and search path. Raises SettingsError."""
        return self._url(target, target.path if target.schema else None)

    def shared_url(self, target: Target) -> str:
        """Return the URL of the database of a target, with an empty search path. Raises SettingsError."""
        return self._url(target, ())

    def _url(self, target: Target, path: tuple[str, ...] | None) -> str:
        address = target.address
        try:
            url = check_conninfo(self._find(address, target.name), shared=False)
            parameters = conninfo_to_dict(url)
        except ValueError as error:
            raise SettingsError([Problem(message=f"{address}: {error}")]) from error
        except ProgrammingError as error:  # quotes the part that libpq could not read, which may be the password
            message = f"{address}: is no URL that libpq reads; check its special characters"
            raise SettingsError([Problem(message=message)]) from error
        if target.database:
            parameters["dbname"] = target.database
        if path is not None:
            parameters["options"] = f"{parameters.get('options') or ''} {_search_path_option(path)}".strip()
        return make_conninfo("", **parameters)

    def _find(self, address: Address, name: str) -> str:
        if address.command:
            return self._run(tuple(argument.replace("{name}", name) for argument in address.command))
        if not address.variable:
            return address.url
        if not (url := self._environ.get(address.variable)):
            raise ValueError("is not set here; set it to the URL, in the environment of the process that migrates")
        return url

    def _run(self, command: tuple[str, ...]) -> str:
        """The output of a command. Raises ValueError; what it printed may be a secret, and is never quoted."""
        with self._lock:
            began, output = self._outputs.get(command, (0.0, ""))
            if output and time.monotonic() - began < _KEPT_SECONDS:
                return output
        try:
            done = subprocess.run(  # noqa: S603 - the program that the inventory names, without a shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_COMMAND_SECONDS,
                check=True,
            )
            output = done.stdout.decode().strip()
        except subprocess.CalledProcessError as error:
            raise ValueError(f"ended with exit code {error.returncode}; run it by hand to see why") from None
        except subprocess.TimeoutExpired:
            raise ValueError(f"did not end within {_COMMAND_SECONDS} s") from None
        except OSError as error:
            raise ValueError(f"cannot be run: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError("printed something that is not UTF-8; it has to print the URL alone") from None
        if not output:
            raise ValueError("printed nothing; it has to print the URL")
        with self._lock:
            self._outputs[command] = time.monotonic(), output
        return output


def _search_path_option(schemas: tuple[str, ...]) -> str:
    """The option of the connection that RESET ALL returns to. Source: libpq, "options": a backslash escapes a blank."""
    path = ", ".join(map(format_identifier, schemas))  # as the server shows what SET search_path has set
    escaped = "".join(f"\\{letter}" if letter in "\\ \t\n\v\f\r" else letter for letter in path)
    return f"-c search_path={escaped}"
