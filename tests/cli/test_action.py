"""docs/ci.md from an empty repository to the comment: its commands, and the steps of action.yml, on a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.composite_action import ActionRun, runner_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server

PROJECT = Path(__file__).parents[2]
DOCUMENT = (PROJECT / "docs/ci.md").read_text(encoding="utf-8")
BASH_BLOCK = re.compile(r"^```bash\n(.+?)^```$", re.DOTALL | re.MULTILINE)
WORKFLOW = re.compile(r"`(\.github/workflows/migrations\.yml)`.*?```yaml\n(.+?)^```$", re.DOTALL | re.MULTILINE)
IDENTITY = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

# One worker: the action is installed once, which takes most of the time.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("action")]


@dataclass(kw_only=True)
class Shop:
    """The repository of the documentation, on the branch of the pull request."""

    folder: Path
    environ: dict[str, str]
    action: ActionRun

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.environ, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def comment(self) -> str:
        return Path(self.action.outputs["comment"]["markdown"]).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shop(server: Server) -> Iterator[Shop]:
    """The commands of docs/ci.md, in a folder that the account of a server which root starts can enter."""
    with tempfile.TemporaryDirectory(prefix="action-") as name:
        folder = Path(name)
        folder.chmod(0o1777)
        # A copy, because pip builds the package where it is.
        shutil.copytree(PROJECT, folder / "kernel-migrations", ignore=shutil.ignore_patterns(".*", "tests", "build"))
        (folder / "inv").symlink_to(Path(sys.executable).with_name("inv"))
        (folder / "tmp").mkdir(mode=0o1777)
        (folder / "tmp").chmod(0o1777)
        (folder / "runner").mkdir()
        programs = server.programs.bin
        environ = runner_environment(
            PATH=os.pathsep.join([name, str(programs), os.environ["PATH"]]),
            KERNEL_PG_BINDIR=str(programs),
            KERNEL_DATA_DIR=str(folder / "embedded"),
            TMPDIR=str(folder / "tmp"),
            **IDENTITY,
        )
        for script in BASH_BLOCK.findall(DOCUMENT):
            at = folder if "git init" in script else folder / "shop"
            subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=at,
                env={
                    **environ,
                    "DATABASE_URL": server.conninfo,
                    "KERNEL_MIGRATIONS_DIR": str(folder / "shop/migrations"),
                },
                check=True,
            )
        path, workflow = WORKFLOW.findall(DOCUMENT)[0]
        (folder / "shop" / path).write_text(workflow, encoding="utf-8")
        action = ActionRun(
            action=folder / "kernel-migrations",
            workspace=folder / "shop",
            folder=folder / "runner",
            github={"token": "", "event.pull_request.number": "7"},
            environ=environ,
            python=sys.executable,
        )
        yield Shop(folder=folder / "shop", environ=environ, action=action)


@pytest.fixture(scope="module")
def installed(shop: Shop) -> Shop:
    """After a first run of all steps with the inputs of the workflow."""
    base = shop.git("rev-parse", "main")
    steps = shop.action.run(dump="production.sql", since=base, comment="false")
    names = ["Install", "Lint", "Rehearse", "Comment", "Verdict"]
    assert [step.name for step in steps] == names, steps[-1].printed
    assert [step.code for step in steps] == [0, 0, 0, 0, 8], steps[-1].printed
    return shop


def test_the_markdown_of_the_documentation_has_its_parts_in_order(installed: Shop) -> None:
    for place in (installed.comment(), (installed.folder / "rehearsal.md").read_text(encoding="utf-8")):
        parts = [
            "2 migrations are pending in production.sql: `002_widen_quantity.sql`, `003_remove_empty_notes.sql`",
            "**FAIL** ",
            "| migration | time | reads blocked | writes blocked | rewrites | WAL |",
            "| `002_widen_quantity.sql` |",
            "| `public.orders` | 200 000 | 200 000 | 50 000 rows changed in note | no |",
            "#### Findings",
        ]
        at = [place.find(part) for part in parts]
        assert -1 not in at, parts[at.index(-1)]
        assert at == sorted(at)
        # How long a rewrite blocks, and so how severe it is, depends on the machine.
        assert "** `migrations/002_widen_quantity.sql:1:1` orders: column quantity is changed from integer" in place
        assert (
            "- **error** `migrations/003_remove_empty_notes.sql:1:1` public.orders: note: 50 000 values changed"
            in place
        )
        assert "<br>instead: if it is meant, declare it: -- rehearse: changes orders.note" in place


def test_the_action_comments_on_what_it_linted_and_keeps_the_page(installed: Shop) -> None:
    comment = installed.comment()
    assert comment.startswith("<!-- kernel-migrations: migrations -->\n### db.snapshot-test: failed\n")
    assert "### db.lint: failed\n\n2 of 3 files read, new or changed since" in comment
    assert len(comment) < 65_536
    page = Path(installed.action.outputs["rehearse"]["page"])
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (page.parent / "pull-request").read_text(encoding="utf-8") == "7\n"
    summary = installed.action.summary.read_text(encoding="utf-8")
    assert summary.index("### db.lint: failed") < summary.index("### db.snapshot-test: failed")


def test_without_secrets_as_for_a_fork_the_files_are_linted_and_nothing_is_rehearsed(installed: Shop) -> None:
    results = installed.action.folder / "kernel-migrations/results"
    for path in results.iterdir():
        path.unlink()
    steps = installed.action.run(without=("Install",), since="", comment="false")
    assert [(step.name, step.code) for step in steps] == [("Lint", 0), ("Comment", 0), ("Verdict", 8)]
    assert "Not rehearsed: no dump, and no database to dump from.\n\n### db.lint: failed" in installed.comment()


def test_the_jobs_of_gitlab_write_code_quality_reports(installed: Shop) -> None:
    yaml = pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed: pip install -e '.[dev]'")
    jobs = yaml.YAML(typ="safe").load(PROJECT / "ci/gitlab.yml")
    environ = {
        **installed.environ,
        "GITLAB_CI": "true",
        "CI_PROJECT_DIR": str(installed.folder),
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": installed.git("rev-parse", "main"),
        "MIGRATIONS_TOOL": str(installed.action.action),
        "DUMP": "production.sql",
    }
    # What the job installs is installed.
    (Path(environ["TMPDIR"]) / "kernel-migrations").symlink_to(installed.action.folder / "kernel-migrations")
    prepared = [line for line in jobs[".kernel-migrations"]["before_script"] if line.startswith("export ")]
    for job in ("migrations-lint", "migrations-rehearsal"):
        script = "\n".join(["set -eo pipefail", *prepared, *jobs[job]["script"]])
        assert subprocess.run(["bash", "-c", script], cwd=installed.folder, env=environ, check=False).returncode == 8
        findings = json.loads((installed.folder / jobs[job]["artifacts"]["reports"]["codequality"]).read_text())
        (found,) = [one for one in findings if one["check_name"] == "type-change-rewrites"]
        assert found["location"] == {"path": "migrations/002_widen_quantity.sql", "lines": {"begin": 1}}
        assert found["fingerprint"] == "033fb254e495d5c53b921a3bb89acc90"  # of both tasks


def test_values_of_inputs_are_no_commands_and_a_commit_that_is_missing_is_an_error_in_the_comment(
    installed: Shop,
) -> None:
    results = installed.action.folder / "kernel-migrations/results"
    for path in results.iterdir():
        path.unlink()
    evil = f"$(touch {installed.folder}/evil)`touch {installed.folder}/evil`; --"
    steps = installed.action.run(without=("Install",), since=evil, dump=f"missing {evil}", comment="false")
    assert not (installed.folder / "evil").exists()
    assert steps[-1].code in (2, 7)
    assert "no such branch, tag or commit" in installed.comment()
    assert "### db.snapshot-test: failed" in installed.comment()
