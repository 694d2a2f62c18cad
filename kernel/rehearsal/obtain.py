"""The golden copy of a dump: what stands in its way is told at once, then it is restored and made harmless."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from kernel import units
from kernel.errors import RestoreFailed, Unprepared
from kernel.rehearsal import golden, origin
from kernel.rehearsal.dump import disarm, load, locale, preflight, restore, roles, scan
from kernel.rehearsal.dump.dump import Format
from kernel.rehearsal.golden import given
from kernel.server import programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.errors import Problem
    from kernel.rehearsal.dump.dump import Contents, Progress, Restored
    from kernel.rehearsal.golden import Copy
    from kernel.rehearsal.origin import Origin
    from kernel.rehearsal.wish import Telling, Wish
    from kernel.server.programs import Programs

_TOLD = 12  # losses that are named; the rest is counted


def refuse(wish: Wish) -> None:
    """Raise what speaks against TEST_DB, such as that it is production; before hours go into a dump for it."""
    if wish.test_db is not None:
        asked = golden.Wish(digest="", name="", test_db=wish.test_db, yes=wish.yes, forbidden=wish.forbidden)
        given.refuse(wish.test_db, asked)


@contextmanager
def copied(its_origin: Origin, wish: Wish, telling: Telling) -> Iterator[Copy]:
    """The golden copy, kept from before or restored now, and gone afterwards unless it is kept.

    Raises Unprepared with everything that a restore would lack here, RestoreFailed when something of the dump is
    missing from the copy, and what golden.opened raises.
    """
    contents = its_origin.contents
    chosen = programs.find(wish.bindir, preferred=contents.server_major or None)
    private = locale.private(contents.collations) if wish.test_db is None else locale.Made()
    needed_bytes = preflight.needed_bytes(contents, its_origin.dump, schema_only=wish.schema_only)
    unknown = not its_origin.digest  # nobody will see this dump again: no copy, kept or left over, is one of it
    if unknown and wish.keep:
        telling.say("the copy is not kept: PROD_DB is dumped anew each time; dump it to a file and give that as --dump")
    wanted = golden.Wish(
        digest=secrets.token_hex(16) if unknown and wish.test_db else its_origin.digest,
        name=its_origin.source.name,
        programs=chosen,
        schema_only=wish.schema_only,
        room_bytes=needed_bytes,
        keep=wish.keep and not unknown,
        locale=_locale(contents, ours=wish.test_db is None and not private.problems),
        settings=dict(contents.settings) | dict(its_origin.settings),
        environ=dict(private.environ),
        test_db=wish.test_db,
        yes=wish.yes,
        forbidden=wish.forbidden,
        say=telling.say,
        store=wish.store,
    )
    filling = _Filling(its_origin, wish, telling, chosen, private.problems)
    with golden.opened(wanted, restore=filling.fill) as copy:
        yield copy


def _locale(contents: Contents, *, ours: bool) -> golden.Locale:
    """The locale of the copy: production's where it is libc's and was made available, else the server's own.

    Another provider's is left to preflight to ask for; a server of somebody else's may not know it.
    """
    if not ours or contents.locale_provider not in ("", "libc"):
        return golden.Locale(encoding=contents.encoding)
    return golden.Locale(encoding=contents.encoding, collate=contents.lc_collate, ctype=contents.lc_ctype)


class _Filling:
    """Fills the empty database that the golden copy is to be."""

    def __init__(
        self, its_origin: Origin, wish: Wish, telling: Telling, chosen: Programs, problems: tuple[Problem, ...]
    ) -> None:
        self._origin = its_origin
        self._wish = wish
        self._telling = telling
        self._programs = chosen
        self._problems = problems

    def fill(self, url: str) -> tuple[str, ...]:
        """Restore the dump at `url`; what is to be said of the copy. Raises Unprepared, RestoreFailed."""
        contents, ours = self._origin.contents, self._wish.test_db is None
        target = preflight.facts(url, contents, ours=ours)
        problems = (*self._problems, *self._misses(target))
        if problems:
            raise Unprepared(problems)
        roles.create(url, contents.roles)
        restored = self._restored(url)
        if restored.lost:
            raise _lost(self._origin, restored)
        return (*preflight.notes(contents, target), *restored.harmless, *disarm.disarm(url))

    def _misses(self, target: preflight.Facts) -> tuple[Problem, ...]:
        # How much room a server has that is not ours, nobody tells.
        free_bytes = shutil.disk_usage(tempfile.gettempdir()).free if self._wish.test_db is None else 1 << 62
        return preflight.check(
            self._origin.contents, self._origin.dump, target, free_bytes, schema_only=self._wish.schema_only
        )

    def _restored(self, url: str) -> Restored:
        dump, jobs, schema_only = self._origin.dump, self._wish.jobs, self._wish.schema_only
        if dump.format is Format.PLAIN:
            read = scan.opened(dump) if self._origin.index is None else nullcontext(self._origin.index)
            with read as index:
                return load.load(index, url, jobs=jobs, schema_only=schema_only, progress=self._progress)
        return restore.restore(dump, url, self._programs, jobs=jobs, schema_only=schema_only, progress=self._progress)

    def _progress(self, progress: Progress) -> None:
        self._telling.passing(f"restoring: {origin.told(progress)}")


def _lost(its_origin: Origin, restored: Restored) -> RestoreFailed:
    named = [str(problem) for problem in restored.lost[:_TOLD]]
    more = len(restored.lost) - len(named)
    lines = [f"{its_origin.source.name}: {units.several(len(restored.lost), 'thing')} could not be restored:", *named]
    return RestoreFailed(
        "\n".join([*lines, *([f"and {more} more"] if more > 0 else [])]),
        hint="a copy without them proves nothing: mend what the messages name, or dump again",
    )
