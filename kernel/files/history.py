"""What git knows of files that a ledger records: which commit holds the content that ran, and which one deleted it.

All *.sql files of the directory are looked through, whatever their names: one that was renamed or renumbered is found
by what it held. Content counts by the rule of kernel.files.checksum, so that line ends and byte order marks do not hide
it. Source of the formats: git-log(1) with --raw -z, git-cat-file(1), "Batch Output".
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.files import checksum, git
from kernel.sql import secret

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from kernel.files.git import Repository

_SECONDS = 5  # for all questions about one drift; without an answer in time its message stays a plain one
_LOG = (
    *("-c", "log.showRoot=true", "log", "--date-order", "--full-history", "--no-show-signature", "--no-mailmap"),
    *("--raw", "--no-abbrev", "--no-renames", "--no-relative", "-z", "--format=%x01%H"),
)
_COMMIT = re.compile(rb"\n?\x01([0-9a-f]+)\n?")
_ENTRY = re.compile(rb"\n?:[0-7]+ (?P<mode>[0-7]+) [0-9a-f]+ (?P<blob>[0-9a-f]+) [A-Z]")  # mode 000000: deleted
_BLOB = re.compile(rb"(?P<blob>[0-9a-f]+) blob (?P<size>[0-9]+)\n")
_ELSEWHERE = ("--branches", "--remotes", "--tags", "--not", "HEAD")
_IN_THE_DIRECTORY = ("--", ":(glob)*.sql")
_DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--text", "--ignore-cr-at-eol", "--unified=2")
_BLOB_BYTES = 4 << 20  # longer files are dumps, and nobody reads their diff
_ALL_BYTES = 64 << 20
_DIFF_LINES = 40
_LINE_CHARACTERS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Content that git keeps: the newest commit that brought it, its path from the top of the repository."""

    commit: str
    path: str
    blob: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """One file in one commit, which left it with `blob`, or deleted it ("")."""

    commit: str
    path: str
    blob: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The changes of a directory's files on the way to HEAD, newest first, and the content that was looked for."""

    repository: Repository
    changes: tuple[_Change, ...]
    kept: Mapping[str, Kept]

    def find(self, recorded: str) -> Kept | None:
        """The commit that holds what a recorded checksum stands for."""
        return self.kept.get(recorded.lower())

    def deleted(self, filename: str) -> tuple[str, str] | None:
        """(commit, path from the top) of a file's deletion, if that is the last that happened to it."""
        last = next((change for change in self.changes if _filename(change) == filename), None)
        return (last.commit, last.path) if last and not last.blob else None

    def diff(self, kept: Kept, filename: str) -> str:
        """What was changed from the kept content to a file as it lies in the directory; "" when git cannot tell.

        Of a long diff the beginning. Passwords in it are masked.
        """
        printed = self.repository.ask(*_DIFF, kept.blob, "--", f"./{filename}") or b""
        _, hunk, rest = printed.decode(errors="replace").partition("\n@@ ")
        if not hunk:
            return ""
        lines = secret.masked(hunk[1:] + rest).rstrip("\n").split("\n")
        shown = [_printable(line) for line in lines[:_DIFF_LINES]]
        if more := len(lines) - len(shown):
            shown.append(f"… {more} more line{'' if more == 1 else 's'}")
        return "\n".join(shown)


def read(directory: Path, environ: Mapping[str, str], recorded: Collection[str]) -> History | None:
    """What git knows of a directory, and of the content of `recorded` checksums; None when it knows nothing.

    HEAD and what leads to it count first, then the other branches and tags.
    """
    repository = git.repository(directory, environ, seconds=_SECONDS)
    logged = repository.ask(*_LOG, "HEAD", *_IN_THE_DIRECTORY)
    if not logged:
        return None
    changes = tuple(_changes(logged))
    wanted = {one.lower() for one in recorded}
    kept = _kept(repository, changes, wanted)
    if missed := wanted - kept.keys():
        elsewhere = repository.ask(*_LOG, *_ELSEWHERE, *_IN_THE_DIRECTORY) or b""
        kept |= _kept(repository, tuple(_changes(elsewhere)), missed)
    return History(repository=repository, changes=changes, kept=kept)


def _changes(logged: bytes) -> Iterator[_Change]:
    """The entries of a raw log: a field for each commit, and two for each of its files, the second its path."""
    commit = ""
    fields = iter(logged.split(b"\0"))
    for one in fields:
        if header := _COMMIT.fullmatch(one):
            commit = header[1].decode()
        elif entry := _ENTRY.fullmatch(one):
            # Links and submodules hold no migration; a file that became one is as good as gone.
            blob = entry["blob"].decode() if entry["mode"].startswith(b"100") else ""
            yield _Change(commit=commit, path=os.fsdecode(next(fields, b"")), blob=blob)


def _kept(repository: Repository, changes: Iterable[_Change], wanted: Collection[str]) -> dict[str, Kept]:
    """By checksum, in small letters, the newest change that left a file with this content."""
    newest: dict[str, _Change] = {}
    for change in changes:
        if change.blob:
            newest.setdefault(change.blob, change)
    kept: dict[str, Kept] = {}
    for blob, content in _contents(repository, newest):
        change = newest[blob]
        for one in checksum.accepted_of(io.BytesIO(content).read) & (wanted - kept.keys()):
            kept[one] = Kept(commit=change.commit, path=change.path, blob=blob, content=content)
    return kept


def _contents(repository: Repository, blobs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The blobs with their content, as many as are of a size to read, in their order."""
    sizes = repository.ask("cat-file", "--batch-check", typed=_lines(blobs)) or b""
    read: list[str] = []
    total_bytes = 0
    for one in _BLOB.finditer(sizes):
        size_bytes = int(one["size"])
        if size_bytes <= _BLOB_BYTES and total_bytes + size_bytes <= _ALL_BYTES:
            read.append(one["blob"].decode())
            total_bytes += size_bytes
    printed = io.BytesIO(repository.ask("cat-file", "--batch", typed=_lines(read)) or b"")
    while header := _BLOB.fullmatch(printed.readline()):
        yield header["blob"].decode(), printed.read(int(header["size"]))
        printed.readline()


def _lines(blobs: Iterable[str]) -> bytes:
    return "".join(f"{blob}\n" for blob in blobs).encode()


def _filename(change: _Change) -> str:
    return change.path.rpartition("/")[2]


def _printable(line: str) -> str:
    """A line of somebody's file for a terminal, which must not obey it; without a byte order mark."""
    shown = "".join(
        letter if letter.isprintable() or letter == "\t" else "�" for letter in line.rstrip("\r").replace("\ufeff", "")
    )
    return shown if len(shown) <= _LINE_CHARACTERS else shown[:_LINE_CHARACTERS] + "…"
