"""Find the content of changed and deleted migration files in the history of this git clone.

Git runs without network access and prompts, and with a time limit. When it fails (it is not installed, there is no
repository, another user owns the repository, it is slow), functions return None or an empty value and do not raise.

All *.sql files of the directory are searched, so that a renamed file is recognized by its content. Content is compared
by the checksums of kernel.migrations.migration, so that line ends and byte order marks do not matter.
Formats: git-log(1) with --raw -z, git-cat-file(1), "Batch Output".
"""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.migrations.migration import accepted_checksums_of_stream
from kernel.sql.passwords import mask_passwords

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path


# A partial clone would fetch missing objects; git before 2.45 supports only the second way to prevent that.
_OFFLINE_ENVIRONMENT = {
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
}
# core.fsmonitor may name a program to run.
_GIT_COMMAND = ("git", "--no-pager", "-c", "core.fsmonitor=false")

_GIT_SECONDS = 5  # for all commands about one drift; after that its message has no git evidence
_LOG = (
    *("-c", "log.showRoot=true", "log", "--date-order", "--full-history", "--no-show-signature", "--no-mailmap"),
    *("--raw", "--no-abbrev", "--no-renames", "--no-relative", "-z", "--format=%x01%H"),
)
_COMMIT = re.compile(rb"\n?\x01([0-9a-f]+)\n?")
_ENTRY = re.compile(rb"\n?:[0-7]+ (?P<mode>[0-7]+) [0-9a-f]+ (?P<blob>[0-9a-f]+) [A-Z]")  # mode 000000: deleted
_BLOB = re.compile(rb"(?P<blob>[0-9a-f]+) blob (?P<size>[0-9]+)\n")
_OTHER_REFS = ("--branches", "--remotes", "--tags", "--not", "HEAD")
_SQL_FILES = ("--", ":(glob)*.sql")
_DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--text", "--ignore-cr-at-eol", "--unified=2")
_BLOB_BYTES = 4 << 20  # longer files are dumps
_TOTAL_BYTES = 64 << 20
_DIFF_LINES = 40
_LINE_CHARACTERS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRepository:
    """The repository that `directory` may be in; after `deadline` (time.monotonic()) commands return None."""

    directory: Path
    environ: Mapping[str, str] = field(repr=False)
    deadline: float

    def run_git(self, *arguments: str, stdin: bytes = b"") -> bytes | None:
        """Return the output of `git ARGUMENTS` for the input `stdin`; None when it fails or takes too long."""
        left_seconds = self.deadline - time.monotonic()
        if left_seconds <= 0:
            return None
        try:
            process = subprocess.Popen(  # noqa: S603 - a constant command, and arguments that no shell reads
                [*_GIT_COMMAND, *arguments],
                cwd=self.directory,
                env=self.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError:
            return None
        with process:
            try:
                printed, _ = process.communicate(stdin, timeout=left_seconds)
            except subprocess.TimeoutExpired:
                _kill_process_group(process)
                return None
            except BaseException:  # Ctrl-C does not reach another process group
                _kill_process_group(process)
                raise
        return printed if process.returncode == 0 else None


def open_git_repository(directory: Path, environ: Mapping[str, str], *, seconds: float) -> GitRepository:
    """Open the repository of `directory`; all commands together take `seconds` at most.

    Git gets `environ` without GIT_* variables: a hook exports those of its own repository.
    """
    neutral = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    return GitRepository(
        directory=directory, environ=neutral | _OFFLINE_ENVIRONMENT, deadline=time.monotonic() + seconds
    )


def find_work_tree(directory: Path) -> Path | None:
    """The top of the work tree that a resolved directory is in, None outside of any. Without git, as it finds it."""
    return next((one for one in (directory, *directory.parents) if (one / ".git").exists()), None)


def _kill_process_group(process: subprocess.Popen[bytes]) -> None:
    """Kill git and its children, which would otherwise keep the pipe open."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedContent:
    """Committed file content: the newest commit that added it, and its path from the top of the repository."""

    commit: str
    path: str
    blob: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CommittedChange:
    """A change of one file in one commit; `blob` is its content after the commit, "" if the commit deleted it."""

    commit: str
    path: str
    blob: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHistory:
    """The changes of a directory's files in the history of HEAD, newest first, and the requested content."""

    repository: GitRepository
    changes: tuple[_CommittedChange, ...]
    contents: Mapping[str, CommittedContent]

    def find_content(self, recorded: str) -> CommittedContent | None:
        """Return the committed content with a recorded checksum, None if there is none."""
        return self.contents.get(recorded.lower())

    def find_deletion(self, filename: str) -> tuple[str, str] | None:
        """Return (commit, path from the top) of a file's deletion, if that was its last change."""
        last = next((change for change in self.changes if _filename_of_change(change) == filename), None)
        return (last.commit, last.path) if last and not last.blob else None

    def diff_to_file(self, kept: CommittedContent, filename: str) -> str:
        """Return the diff from committed content to a file in the directory; "" when git fails.

        A long diff is cut; passwords in it are masked.
        """
        printed = self.repository.run_git(*_DIFF, kept.blob, "--", f"./{filename}") or b""
        _, hunk, rest = printed.decode(errors="replace").partition("\n@@ ")
        if not hunk:
            return ""
        lines = mask_passwords(hunk[1:] + rest).rstrip("\n").split("\n")
        shown = [_printable_line(line) for line in lines[:_DIFF_LINES]]
        if more := len(lines) - len(shown):
            shown.append(f"… {more} more line{'' if more == 1 else 's'}")
        return "\n".join(shown)


def read_git_history(directory: Path, environ: Mapping[str, str], recorded: Collection[str]) -> GitHistory | None:
    """Read the history of a directory, and the content of `recorded` checksums; None when git fails.

    The history of HEAD is searched first, then that of the other branches and tags.
    """
    repository = open_git_repository(directory, environ, seconds=_GIT_SECONDS)
    logged = repository.run_git(*_LOG, "HEAD", *_SQL_FILES)
    if not logged:
        return None
    changes = tuple(_parse_log(logged))
    wanted = {one.lower() for one in recorded}
    kept = _find_contents(repository, changes, wanted)
    if missed := wanted - kept.keys():
        elsewhere = repository.run_git(*_LOG, *_OTHER_REFS, *_SQL_FILES) or b""
        kept |= _find_contents(repository, tuple(_parse_log(elsewhere)), missed)
    return GitHistory(repository=repository, changes=changes, contents=kept)


def _parse_log(logged: bytes) -> Iterator[_CommittedChange]:
    """Yield the changes in a raw log, which has a field for each commit and two for each file, the second its path."""
    commit = ""
    fields = iter(logged.split(b"\0"))
    for one in fields:
        if header := _COMMIT.fullmatch(one):
            commit = header[1].decode()
        elif entry := _ENTRY.fullmatch(one):
            # Links and submodules are not migrations; a file replaced by one counts as deleted.
            blob = entry["blob"].decode() if entry["mode"].startswith(b"100") else ""
            yield _CommittedChange(commit=commit, path=os.fsdecode(next(fields, b"")), blob=blob)


def _find_contents(
    repository: GitRepository, changes: Iterable[_CommittedChange], wanted: Collection[str]
) -> dict[str, CommittedContent]:
    """Return the content of each wanted checksum, in lower case, with the newest change that added it."""
    newest: dict[str, _CommittedChange] = {}
    for change in changes:
        if change.blob:
            newest.setdefault(change.blob, change)
    kept: dict[str, CommittedContent] = {}
    for blob, content in _read_blobs(repository, newest):
        change = newest[blob]
        for one in accepted_checksums_of_stream(io.BytesIO(content).read) & (wanted - kept.keys()):
            kept[one] = CommittedContent(commit=change.commit, path=change.path, blob=blob, content=content)
    return kept


def _read_blobs(repository: GitRepository, blobs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the blobs with their content, in their order, within _BLOB_BYTES each and _TOTAL_BYTES in all."""
    sizes = repository.run_git("cat-file", "--batch-check", stdin=_blob_lines(blobs)) or b""
    read: list[str] = []
    total_bytes = 0
    for one in _BLOB.finditer(sizes):
        size_bytes = int(one["size"])
        if size_bytes <= _BLOB_BYTES and total_bytes + size_bytes <= _TOTAL_BYTES:
            read.append(one["blob"].decode())
            total_bytes += size_bytes
    printed = io.BytesIO(repository.run_git("cat-file", "--batch", stdin=_blob_lines(read)) or b"")
    while header := _BLOB.fullmatch(printed.readline()):
        yield header["blob"].decode(), printed.read(int(header["size"]))
        printed.readline()


def _blob_lines(blobs: Iterable[str]) -> bytes:
    return "".join(f"{blob}\n" for blob in blobs).encode()


def _filename_of_change(change: _CommittedChange) -> str:
    return change.path.rpartition("/")[2]


def _printable_line(line: str) -> str:
    """Return a line without control characters, which a terminal would interpret, and without a byte order mark."""
    shown = "".join(
        letter if letter.isprintable() or letter == "\t" else "�" for letter in line.rstrip("\r").replace("\ufeff", "")
    )
    return shown if len(shown) <= _LINE_CHARACTERS else shown[:_LINE_CHARACTERS] + "…"
