"""Run migrations on a server of our own, where the roles that the files expect have to be created first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel.apply.events import ignore_event
from kernel.errors import MigrationFailed
from kernel.operations.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.operations.migrate import MigrateOptions


_UNDEFINED_OBJECT = "42704"
_ABSENT_ROLE = re.compile(r'role "(.+)" does not exist')


def migrate_creating_roles(
    session: Session,
    migrations: tuple[Migration, ...],
    options: MigrateOptions,
    *,
    create_role: Callable[[str], None],
) -> None:
    """Apply the pending migrations; `create_role` is called for each role that a file names and the server lacks.

    Raises what `migrate` raises.
    """
    created: set[str] = set()
    while True:
        try:
            migrate(session, migrations, options, ignore_event)
        except MigrationFailed as error:
            role = absent_role(error)
            if role is None or role in created:
                raise
            create_role(role)
            created.add(role)
        else:
            return


def absent_role(error: MigrationFailed) -> str | None:
    """The role for whose absence a file failed; None when it failed for another reason."""
    match = _ABSENT_ROLE.search(str(error)) if error.failure.sqlstate == _UNDEFINED_OBJECT else None
    return match[1] if match else None
