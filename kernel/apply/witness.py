"""Somebody who looks on while migrations run, from within their own session: a rehearsal measures through it.

Without a witness none of this costs anything. With one, statements go to the server one at a time, so that each can be
looked at: only INSERTs in a row share a message, or a file of data would take minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kernel.apply.batch import Batch
    from kernel.database import Session
    from kernel.files.migration import Migration
    from kernel.files.script import Script


class Witness(Protocol):
    """Told of each step by the thread that runs the migrations, while the session is free for its questions.

    Outside of `begun` … `ended` it may find a transaction aborted: the session's transaction status tells.
    """

    def begun(self, session: Session, migration: Migration, script: Script) -> None:
        """A migration begins: its record is claimed, none of its statements has been sent. Again after a retry."""

    def before(self, batch: Batch) -> None:
        """A statement, or INSERTs in a row, will be sent next."""

    def after(self) -> None:
        """It was sent and is done, or has failed."""

    def committing(self) -> None:
        """All statements are done; the transaction that ran them commits next."""

    def ended(self) -> None:
        """A transaction has ended, committed or rolled back: its locks are gone."""
