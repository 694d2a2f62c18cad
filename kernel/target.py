"""The database that the settings name, or the embedded development server when they name none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.database import Session
    from kernel.settings import Settings


@contextmanager
def session(settings: Settings, *, say: Callable[[str], None]) -> Iterator[Session]:
    """Connect to it; `say` is told the one line about the embedded server and where its data lies.

    Raises DatabaseUnreachable, ProgramsMissing, ServerFailed, DatabaseRefused, SettingsError.
    """
    with url(settings, say=say) as its_url, database.session(its_url, variable=settings.database_variable or "") as it:
        yield it


@contextmanager
def url(settings: Settings, *, say: Callable[[str], None]) -> Iterator[str]:
    """Its connection URL, for as long as it is needed. Raises ProgramsMissing, ServerFailed."""
    if settings.database_url:
        yield settings.database_url
        return
    from kernel.server import development  # noqa: PLC0415 - production never needs it

    with development.running(settings.root, data_dir=settings.data_dir, bindir=settings.pg_bindir) as server:
        say(f"no database URL is set: embedded PostgreSQL ({server.programs.origin}), its data in {server.data}")
        yield server.url
