"""The action, the template and the workflows of the documentation are valid; there is one comment, updated in place."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]
MARKER = "<!-- kernel-migrations: migrations -->"
YAML_BLOCK = re.compile(r"^```yaml\n(.+?)^```$", re.DOTALL | re.MULTILINE)


def check_schema(schema: str, path: Path, *options: str) -> str:
    """What check-jsonschema says of a file, "" if it is valid; the schemas are in the package."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: pip install -e '.[dev]'")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *options, str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr


def test_the_action_is_valid() -> None:
    assert check_schema("vendor.github-actions", PROJECT / "action.yml") == ""


def test_the_template_of_gitlab_is_valid() -> None:
    assert check_schema("vendor.gitlab-ci", PROJECT / "ci/gitlab.yml", "--data-transform", "gitlab-ci") == ""


@pytest.mark.slow
def test_the_workflows_of_the_documentation_are_valid(tmp_path: Path) -> None:
    blocks = YAML_BLOCK.findall((PROJECT / "docs/ci.md").read_text(encoding="utf-8"))
    workflows = [block for block in blocks if "\njobs:" in block]
    assert len(workflows) == 3
    for number, block in enumerate(workflows):
        path = tmp_path / f"workflow-{number}.yml"
        path.write_text(block, encoding="utf-8")
        assert check_schema("vendor.github-workflows", path) == ""


def test_no_input_of_the_action_is_put_into_a_script() -> None:
    """An input with `$(…)` in it would run as a command; environment variables do not."""
    text = (PROJECT / "action.yml").read_text(encoding="utf-8")
    scripts = re.findall(r"run: \|\n((?: {8}.*\n|\n)+)", text)
    assert len(scripts) == text.count("run: ") == 5
    assert not any("${{" in script for script in scripts)


class _Service(BaseHTTPRequestHandler):
    """The comments of GitHub's API, in memory."""

    comments: list[dict[str, Any]]
    head = "a" * 40
    refuses_writing = False
    requests: list[tuple[str, str]]

    def _answer(self, document: object, code: int = 200) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def _body(self) -> str:
        assert self.headers["Authorization"] == "Bearer secret-token"
        if self.path.startswith("/repos/o/r/issues") and self.refuses_writing:
            self._answer({"message": "Resource not accessible by integration"}, 403)
            return ""
        return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

    def do_GET(self) -> None:
        self.requests.append(("GET", self.path))
        if self.path == "/repos/o/r/pulls/7":
            self._answer({"head": {"sha": self.head}})
            return
        page = int(re.fullmatch(r"/repos/o/r/issues/7/comments\?per_page=100&page=(\d+)", self.path)[1])  # type: ignore[index]
        self._answer(self.comments[100 * (page - 1) : 100 * page])

    def do_POST(self) -> None:
        self.requests.append(("POST", self.path))
        if body := self._body():
            self.comments.append(_comment(len(self.comments) + 1, body))
            self._answer(self.comments[-1], 201)

    def do_PATCH(self) -> None:
        self.requests.append(("PATCH", self.path))
        if body := self._body():
            (one,) = [one for one in self.comments if self.path == f"/repos/o/r/issues/comments/{one['id']}"]
            one["body"] = body
            self._answer(one)

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


def _comment(number: int, body: str, login: str = "github-actions[bot]") -> dict[str, Any]:
    return {"id": number, "body": body, "user": {"login": login}, "html_url": f"https://example.org/{number}"}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Service]]:
    handler = type("Handler", (_Service,), {"comments": [], "requests": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("GITHUB_API_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
        monkeypatch.setenv("GITHUB_TOKEN", "secret-token")
        yield handler
        server.shutdown()
        thread.join()


def run_comment(path: Path, number: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pull_request_comment.py", str(path), number])
        runpy.run_path(str(PROJECT / "ci/pull_request_comment.py"), run_name="__main__")


def test_the_comment_is_written_once_and_then_updated(service: type[_Service], tmp_path: Path) -> None:
    body = tmp_path / "comment.md"
    service.comments += [_comment(number, "a discussion") for number in range(1, 105)]
    service.comments[0] = _comment(1, f"{MARKER}\nby another account", "mallory")
    for text in ("first", "second ü"):
        body.write_text(f"{MARKER}\n{text}\n", encoding="utf-8")
        run_comment(body, "7")
    ours = [one for one in service.comments if one["body"].startswith(MARKER)]
    assert [(one["id"], one["body"].split("\n")[1]) for one in ours] == [(1, "by another account"), (105, "second ü")]
    assert [method for method, _ in service.requests] == ["GET", "GET", "POST", "GET", "GET", "PATCH"]


def test_a_comment_that_may_not_be_written_is_a_warning_without_the_token(
    service: type[_Service], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.refuses_writing = True
    body = tmp_path / "comment.md"
    body.write_text(f"{MARKER}\ntext\n", encoding="utf-8")
    run_comment(body, "7")
    printed = capsys.readouterr().out
    assert printed.startswith("::warning title=No comment::POST issues/7/comments: 403 Forbidden; the job needs the")
    assert "secret-token" not in printed


@pytest.mark.parametrize("number", ["7/../8", "", "\u0667", "7 "])
def test_a_number_of_a_fork_is_a_number(
    service: type[_Service], tmp_path: Path, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    body = tmp_path / "comment.md"
    body.write_text(f"{MARKER}\ntext\n", encoding="utf-8")
    run_comment(body, number)
    assert "is no number of a pull request" in capsys.readouterr().out
    assert service.requests == []


def test_a_pull_request_with_another_head_gets_no_comment(
    service: type[_Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    body = tmp_path / "comment.md"
    body.write_text(f"{MARKER}\ntext\n", encoding="utf-8")
    monkeypatch.setenv("HEAD_SHA", "b" * 40)
    run_comment(body, "7")
    assert f"the head of pull request 7 is not {'b' * 40}" in capsys.readouterr().out
    assert service.comments == []
    monkeypatch.setenv("HEAD_SHA", service.head)
    run_comment(body, "7")
    assert len(service.comments) == 1
