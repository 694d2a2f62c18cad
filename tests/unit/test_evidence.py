"""What git adds to drift, asked of real repositories; and what stays as it was where git has nothing to say."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from kernel.cli.migrate import add_git_evidence
from kernel.db.records import Record
from kernel.errors import Drift
from kernel.migrations import git_history
from kernel.migrations.migration import discover_migrations
from kernel.operations.drift import MigrationsLocation, trace_drift
from kernel.plan import DriftProblem, PlanDrift, build_plan, migrations_to_apply

if TYPE_CHECKING:
    from pathlib import Path

APPLIED_AT = datetime(2026, 3, 2, 10)  # noqa: DTZ001 - the column has no time zone
ONE = "CREATE TABLE one (id int);\nCREATE INDEX one_id ON one (id);\n"
TWO = "CREATE TABLE one (id bigint);\nCREATE INDEX one_id ON one (id);\n"
PLAIN_CHANGED = (
    "007_a.sql: changed after it was applied on 2026-03-02; restore it, or accept it with: inv db.repair --accept 007"
)
PLAIN_GONE = "007_a.sql: applied on 2026-03-02, but there is no such file; restore it from version control"
GIT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


@dataclass(kw_only=True)
class Checkout:
    """A project in a repository; `top` is the repository's, `root` the project's folder."""

    top: Path
    root: Path

    @property
    def directory(self) -> Path:
        return self.root / "migrations"

    def git(self, *arguments: str) -> str:
        command = ("git", *arguments)
        return subprocess.run(command, cwd=self.top, env=GIT, check=True, capture_output=True, text=True).stdout.strip()

    def put(self, filename: str, text: str | bytes) -> None:
        (self.directory / filename).write_bytes(text.encode() if isinstance(text, str) else text)

    def commit(self) -> str:
        """Commit everything; the short name of the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "x")
        return self.git("rev-parse", "--short=10", "HEAD")

    def place(self, **environ: str) -> MigrationsLocation:
        # The tests' own repositories, whoever owns the folder; none above it.
        names = {"PATH": GIT["PATH"], "HOME": str(self.root), **environ}
        return MigrationsLocation(root=self.root, directory=self.directory, environ=names)

    def drift(self, *records: Record, **environ: str) -> list[DriftProblem]:
        found = build_plan(discover_migrations(self.directory), records)
        return list(trace_drift(found, self.place(**environ)).drift())

    def shell(self, command: str) -> None:
        subprocess.run(command, shell=True, cwd=self.root, env=GIT, check=True)  # noqa: S602 - as a person pastes it


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    its = Checkout(top=tmp_path, root=tmp_path)
    its.directory.mkdir()
    its.git("init", "--quiet", "--initial-branch", "main")
    return its


def record(filename: str = "007_a.sql", text: str | bytes = ONE) -> Record:
    content = text.encode() if isinstance(text, str) else text
    checksum = hashlib.sha256(content).hexdigest()
    return Record(version=filename.partition("_")[0], filename=filename, applied_at=APPLIED_AT, checksum=checksum)


def test_a_modified_file_names_the_commit_that_restores_it_and_shows_the_diff_since(checkout: Checkout) -> None:
    checkout.put("007_a.sql", ONE)
    short = checkout.commit()
    full = checkout.git("rev-parse", "HEAD")
    checkout.put("007_a.sql", TWO)
    checkout.commit()
    (problem,) = checkout.drift(record())
    command = f"git show {short}:migrations/007_a.sql > migrations/007_a.sql"
    assert str(problem) == PLAIN_CHANGED.replace("restore it", f"restore it ({command})")
    assert problem.commit == full
    assert problem.diff == (
        "@@ -1,2 +1,2 @@\n"
        "-CREATE TABLE one (id int);\n+CREATE TABLE one (id bigint);\n CREATE INDEX one_id ON one (id);"
    )
    checkout.shell(command)
    assert checkout.drift(record()) == []


def test_a_change_that_is_not_committed_is_traced_too(checkout: Checkout) -> None:
    checkout.put("007_a.sql", ONE)
    short = checkout.commit()
    checkout.put("007_a.sql", TWO)
    (problem,) = checkout.drift(record())
    assert f"(git show {short}:" in problem.message


def test_of_several_commits_with_the_content_the_newest_is_named(checkout: Checkout) -> None:
    for text in (ONE, TWO, ONE):
        checkout.put("007_a.sql", text)
        newest = checkout.commit()
    checkout.put("007_a.sql", TWO)
    checkout.commit()
    assert f"(git show {newest}:" in checkout.drift(record())[0].message


def test_a_commit_on_another_branch_is_found(checkout: Checkout) -> None:
    checkout.put("001_first.sql", "")
    checkout.commit()
    checkout.git("checkout", "--quiet", "-b", "feature")
    checkout.put("007_a.sql", ONE)
    short = checkout.commit()
    checkout.git("checkout", "--quiet", "main")
    checkout.put("007_a.sql", TWO)
    checkout.commit()
    assert f"(git show {short}:" in checkout.drift(record("001_first.sql", ""), record())[0].message


@pytest.mark.parametrize(
    ("committed", "applied"),
    [
        (ONE.replace("\n", "\r\n"), ONE),
        (ONE, ONE.replace("\n", "\r\n")),
        ("\ufeff" + ONE, ONE),
        (ONE, "\ufeff" + ONE.replace("\n", "\r\n")),
    ],
    ids=["crlf committed", "crlf applied", "bom committed", "bom and crlf applied"],
)
def test_line_ends_and_byte_order_marks_hide_no_commit(checkout: Checkout, committed: str, applied: str) -> None:
    checkout.put("007_a.sql", committed)
    short = checkout.commit()
    checkout.put("007_a.sql", TWO)
    (problem,) = checkout.drift(record(text=applied))
    assert f"(git show {short}:" in problem.message
    assert problem.diff
    assert "CREATE INDEX" not in problem.diff.replace("\n CREATE INDEX", "")


def test_a_deleted_file_names_who_deleted_it_and_comes_back(checkout: Checkout) -> None:
    checkout.put("007_a.sql", ONE)
    checkout.put("009_b.sql", "SELECT 1;\n")
    added = checkout.commit()
    (checkout.directory / "007_a.sql").unlink()
    deleted = checkout.commit()
    records = (record(), record("009_b.sql", "SELECT 1;\n"))
    (problem,) = checkout.drift(*records)
    command = f"git show {added}:migrations/007_a.sql > migrations/007_a.sql"
    assert str(problem) == PLAIN_GONE.replace(
        "; restore it from version control",
        f": {deleted} deleted it; forget it if that was on purpose (inv db.repair --forget 007), "
        f"or restore it with: {command}",
    )
    checkout.shell(command)
    assert checkout.drift(*records) == []


def test_a_deleted_file_whose_applied_content_was_never_committed_comes_back_as_it_was_last(checkout: Checkout) -> None:
    checkout.put("007_a.sql", TWO)
    checkout.put("009_b.sql", "SELECT 1;\n")
    checkout.commit()
    (checkout.directory / "007_a.sql").unlink()
    deleted = checkout.commit()
    (problem,) = checkout.drift(record(), record("009_b.sql", "SELECT 1;\n"))
    assert problem.commit is None
    checkout.shell(problem.message.partition("restore it with: ")[2])
    assert f"{deleted} deleted it" in problem.message
    assert (checkout.directory / "007_a.sql").read_text() == TWO


def test_a_file_deleted_without_a_commit_comes_back(checkout: Checkout) -> None:
    checkout.put("007_a.sql", ONE)
    checkout.put("009_b.sql", "SELECT 1;\n")
    checkout.commit()
    (checkout.directory / "007_a.sql").unlink()
    (problem,) = checkout.drift(record(), record("009_b.sql", "SELECT 1;\n"))
    assert "deleted it" not in problem.message
    checkout.shell(problem.message.partition("restore it with: ")[2])
    assert (checkout.directory / "007_a.sql").read_text() == ONE


@pytest.mark.parametrize("committed", [True, False])
def test_a_file_renumbered_and_changed_a_little_is_recognised(checkout: Checkout, committed: bool) -> None:
    checkout.put("007_a.sql", ONE)
    checkout.put("008_other.sql", "DROP TABLE unlike;\n")
    checkout.commit()
    (checkout.directory / "007_a.sql").unlink()
    checkout.put("009_b.sql", ONE + "SELECT 1;\n")
    if committed:
        checkout.commit()
    problem = checkout.drift(record())[0]
    assert problem.file == "007_a.sql"
    assert "009_b.sql seems to be it, renamed and changed" in problem.message
    assert "(mv migrations/009_b.sql migrations/007_a.sql)" in problem.message
    assert problem.diff
    assert "+SELECT 1;" in problem.diff.splitlines()


def test_content_is_found_under_any_name_it_ever_had(checkout: Checkout) -> None:
    checkout.put("003_old_name.sql", ONE)
    short = checkout.commit()
    (checkout.directory / "003_old_name.sql").rename(checkout.directory / "007_a.sql")
    checkout.put("007_a.sql", TWO)
    checkout.commit()
    assert (
        f"(git show {short}:migrations/003_old_name.sql > migrations/007_a.sql)" in checkout.drift(record())[0].message
    )


def test_commands_work_in_a_folder_below_the_top_with_blanks_in_its_name(tmp_path: Path) -> None:
    checkout = Checkout(top=tmp_path, root=tmp_path / "it's a kernel")
    checkout.directory.mkdir(parents=True)
    checkout.git("init", "--quiet")
    checkout.put("007_a.sql", ONE)
    checkout.commit()
    checkout.put("007_a.sql", TWO)
    (problem,) = checkout.drift(record())
    checkout.shell(problem.message.partition("restore it (")[2].partition("), or accept")[0])
    assert (checkout.directory / "007_a.sql").read_text() == ONE


def test_files_outside_of_the_project_are_restored_from_their_own_repository(
    checkout: Checkout, tmp_path: Path
) -> None:
    checkout.put("007_a.sql", ONE)
    checkout.commit()
    checkout.put("007_a.sql", TWO)
    found = build_plan(discover_migrations(checkout.directory), [record()])
    elsewhere = MigrationsLocation(
        root=tmp_path / "elsewhere", directory=checkout.directory, environ=checkout.place().environ
    )
    (problem,) = trace_drift(found, elsewhere).drift()
    subprocess.run(problem.message.partition("(")[2].partition(")")[0], shell=True, cwd="/", env=GIT, check=True)  # noqa: S602 - as a person pastes it
    assert (checkout.directory / "007_a.sql").read_text() == ONE


def test_hostile_file_names_reach_no_command_and_hide_nothing(checkout: Checkout) -> None:
    for name in ("-n.sql", "a\nb.sql", ":100644 x.sql", "\udcff.sql", "it's $(touch pwned).sql"):
        checkout.put(name, ONE + name.encode(errors="surrogateescape").decode(errors="replace"))
    checkout.put("007_a.sql", ONE)
    short = checkout.commit()
    for path in checkout.directory.iterdir():
        path.unlink()
    checkout.put("007_a.sql", TWO)
    (problem,) = checkout.drift(record())
    assert f"(git show {short}:" in problem.message


def test_a_record_with_a_name_that_is_none_of_ours_gets_no_command(checkout: Checkout) -> None:
    checkout.put("009_b.sql", ONE)
    checkout.commit()
    checkout.put("009_b.sql", TWO)
    gone = Record(version="7", filename="x; touch pwned", applied_at=APPLIED_AT, checksum=record().checksum)
    found = checkout.drift(gone, record("009_b.sql", TWO))
    assert [str(problem) for problem in found] == [PLAIN_GONE.replace("007_a.sql", "x; touch pwned")]


def test_the_variables_of_a_hook_lead_to_no_other_repository(checkout: Checkout) -> None:
    checkout.put("007_a.sql", ONE)
    short = checkout.commit()
    checkout.put("007_a.sql", TWO)
    hook = {"GIT_DIR": "/nonexistent", "GIT_WORK_TREE": "/", "GIT_PREFIX": "x", "GIT_INDEX_FILE": "/nonexistent"}
    assert f"(git show {short}:" in checkout.drift(record(), **hook)[0].message


def test_the_configuration_of_the_clone_changes_no_answer(checkout: Checkout) -> None:
    checkout.put("007_a.sql", ONE)
    short = checkout.commit()
    checkout.put("007_a.sql", TWO)
    for name, value in (
        ("diff.external", "false"),
        ("diff.noprefix", "true"),
        ("color.ui", "always"),
        ("log.showRoot", "false"),
        ("log.showSignature", "true"),
        ("log.decorate", "full"),
        ("diff.context", "9"),
        ("core.pager", "false"),
        ("core.fsmonitor", "false"),
        ("diff.relative", "true"),
    ):
        checkout.git("config", name, value)
    (problem,) = checkout.drift(record())
    assert f"(git show {short}:migrations/007_a.sql" in problem.message
    assert problem.diff
    assert problem.diff.startswith("@@ -1,2 +1,2 @@\n-CREATE TABLE one (id int);\n")


def test_a_long_diff_is_cut_and_says_so(checkout: Checkout) -> None:
    checkout.put("007_a.sql", "".join(f"SELECT {number};\n" for number in range(500)))
    checkout.commit()
    applied = (checkout.directory / "007_a.sql").read_text()
    checkout.put("007_a.sql", "SELECT '" + "x" * 5000 + "';\n")
    (problem,) = checkout.drift(record(text=applied))
    assert problem.diff
    lines = problem.diff.splitlines()
    assert len(lines) == 41
    assert lines[-1] == "… 462 more lines"
    checkout.put("007_a.sql", applied + "SELECT '" + "x" * 5000 + "';\n")
    assert max(len(line) for line in (checkout.drift(record(text=applied))[0].diff or "").splitlines()) < 200


def test_a_diff_shows_no_password_and_gives_a_terminal_no_orders(checkout: Checkout) -> None:
    checkout.put("007_a.sql", "ALTER ROLE r PASSWORD 'first-secret';\n")
    checkout.commit()
    checkout.put("007_a.sql", "ALTER ROLE r PASSWORD 'other-secret'; -- \x1b[2J\n")
    (problem,) = checkout.drift(record(text="ALTER ROLE r PASSWORD 'first-secret';\n"))
    assert problem.diff == "@@ -1 +1 @@\n-ALTER ROLE r PASSWORD '…';\n+ALTER ROLE r PASSWORD '…'; -- �[2J"


def test_a_shallow_clone_that_lacks_the_commit_leaves_the_message_as_it_is(checkout: Checkout, tmp_path: Path) -> None:
    checkout.put("007_a.sql", ONE)
    checkout.commit()
    checkout.put("007_a.sql", TWO)
    checkout.commit()
    clone = tmp_path / "shallow"
    checkout.git("clone", "--quiet", "--depth", "1", f"file://{checkout.top}", str(clone))
    assert [str(problem) for problem in Checkout(top=clone, root=clone).drift(record())] == [PLAIN_CHANGED]


def test_a_clone_without_blobs_fetches_none(checkout: Checkout, tmp_path: Path) -> None:
    checkout.put("007_a.sql", ONE)
    checkout.commit()
    checkout.put("007_a.sql", TWO)
    checkout.commit()
    checkout.git("config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "partial"
    checkout.git("clone", "--quiet", "--filter=blob:none", f"file://{checkout.top}", str(clone))
    before = sorted(path.name for path in (clone / ".git/objects").rglob("*") if path.is_file())
    assert [str(problem) for problem in Checkout(top=clone, root=clone).drift(record())] == [PLAIN_CHANGED]
    assert sorted(path.name for path in (clone / ".git/objects").rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("file", ["never committed", "no repository", "no commit", "no git", "not a git"])
def test_without_an_answer_from_git_the_messages_stay_as_they_are(
    checkout: Checkout, tmp_path: Path, file: str
) -> None:
    if file != "no commit":
        checkout.put("001_first.sql", "")
        checkout.commit()
        (checkout.directory / "001_first.sql").unlink()
    if file == "no repository":
        shutil.rmtree(checkout.top / ".git")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    if file == "not a git":
        (bin_folder / "git").write_text("#!/bin/sh\necho : : : : :\necho\n")
        (bin_folder / "git").chmod(0o755)
    environ = {"PATH": str(bin_folder)} if file in ("no git", "not a git") else {}
    checkout.put("007_a.sql", TWO)
    ceiling = {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    assert [str(problem) for problem in checkout.drift(record(), **environ, **ceiling)] == [PLAIN_CHANGED]
    (checkout.directory / "007_a.sql").unlink()
    checkout.put("009_b.sql", "SELECT 1;\n")
    found = checkout.drift(record(), record("009_b.sql", "SELECT 1;\n"), **environ, **ceiling)
    assert [str(problem) for problem in found] == [PLAIN_GONE]


def test_a_slow_git_is_left_behind_with_all_that_it_started(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_history, "_GIT_SECONDS", 0.2)
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/sh\nsleep 60\necho\n")
    wrapper.chmod(0o755)
    checkout.put("007_a.sql", TWO)
    began = time.monotonic()
    found = checkout.drift(record(), PATH=f"{wrapper.parent}:{GIT['PATH']}")
    assert [str(problem) for problem in found] == [PLAIN_CHANGED]
    assert time.monotonic() - began < 5


def test_without_drift_git_is_not_asked(checkout: Checkout, tmp_path: Path) -> None:
    witness = tmp_path / "bin" / "git"
    witness.parent.mkdir()
    witness.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\n")
    witness.chmod(0o755)
    path = f"{witness.parent}:{GIT['PATH']}"
    checkout.put("007_a.sql", ONE)
    checkout.put("008_pending.sql", ONE)
    assert checkout.drift(record(), PATH=path) == []
    # 008 is out of order, 009 ahead of the files.
    assert len(checkout.drift(record(), record("009_b.sql", TWO), PATH=path)) == 1
    assert not (tmp_path / "asked").exists()
    checkout.put("007_a.sql", TWO)
    assert len(checkout.drift(record(), PATH=path)) == 1
    assert (tmp_path / "asked").exists()


def test_a_disagreement_that_leaves_the_block_has_its_evidence_as_drift(checkout: Checkout) -> None:
    checkout.put("007_a.sql", ONE)
    checkout.commit()
    checkout.put("007_a.sql", TWO)
    checkout.put("003_late.sql", "")
    found = build_plan(discover_migrations(checkout.directory), [record()])
    with pytest.raises(Drift) as refused, add_git_evidence(checkout.place()):
        migrations_to_apply(found, allow_out_of_order=True)
    assert not isinstance(refused.value, PlanDrift)
    (problem,) = refused.value.problems
    assert "restore it (git show " in str(problem)
