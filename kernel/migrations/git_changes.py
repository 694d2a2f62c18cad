"""Find the migration files that are new or changed since a branch began, committed or not.

Git compares the files on disk with the merge base, without network access. Sources: git-merge-base(1), git-diff(1) with
--name-only -z, git-ls-files(1).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.migrations.git_history import find_work_tree, open_git_repository
from kernel.migrations.repeatable_names import REPEATABLE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_GIT_SECONDS = 60
_COMMIT_DIGITS = 10
_DIFF = ("diff", "--name-only", "-z", "--relative", "--no-renames", "--no-ext-diff", "--diff-filter=d")
_UNTRACKED = ("ls-files", "-z", "--others")
_SQL_FILES = ("--", ":(glob)*.sql", f":(glob){REPEATABLE_FOLDER}/*.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFiles:
    """The names of the new and changed files of a directory, and the abbreviated hash of the merge base."""

    filenames: frozenset[str]
    merge_base: str


def find_changed_files(directory: Path, ref: str, environ: Mapping[str, str]) -> ChangedFiles:
    """The *.sql files of a directory that are not as in the merge base of `ref` and HEAD, or not in it.

    Files that are not committed, not added or ignored count too: db.migrate applies them. Raises UsageError.
    """
    top = find_work_tree(directory.resolve())
    if top is None:
        raise UsageError(f"--since {ref}: {directory} is in no git work tree; lint every file with --all")
    repository = open_git_repository(directory, environ, seconds=_GIT_SECONDS)

    def run(*arguments: str, problem: str) -> bytes:
        printed = repository.run_git(*arguments)
        if printed is None:
            raise UsageError(f"--since {ref}: {problem}")
        return printed

    shown = f"git cannot read the repository {top}"
    run("rev-parse", "--git-dir", problem=f"{shown}; install git, or name it in git config safe.directory")
    run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", problem=f"{top} has no commit; lint every file with --all")
    is_shallow = repository.run_git("rev-parse", "--is-shallow-repository") == b"true\n"
    deepen = "the clone is shallow; fetch its history: git fetch --unshallow (fetch-depth: 0 in actions/checkout)"
    fetch = deepen if is_shallow else f"fetch it first: git fetch origin {ref.removeprefix('origin/')}"
    commit = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    run(*commit, problem=f"no such branch, tag or commit in {top}; {fetch}")
    unrelated = deepen if is_shallow else "their histories are unrelated; name another commit"
    base = run("merge-base", ref, "HEAD", problem=f"no common ancestor with HEAD; {unrelated}").decode().split("\n")[0]
    failed = f"{shown}: it failed or took longer than {_GIT_SECONDS} s; lint every file with --all"
    names = run(*_DIFF, base, *_SQL_FILES, problem=failed) + run(*_UNTRACKED, *_SQL_FILES, problem=failed)
    return ChangedFiles(
        filenames=frozenset(os.fsdecode(name) for name in names.split(b"\0") if name),
        merge_base=base[:_COMMIT_DIGITS],
    )
