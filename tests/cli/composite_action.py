"""Run the shell steps of action.yml as a runner of GitHub does: its environment, its outputs, its conditions.

Only `uses:` steps are left out, which need the service; their outputs are given.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_TOKEN = re.compile(r"'(?P<text>[^']*)'|(?P<operator>&&|\|\||==|!=)|(?P<name>[a-z]+(?:\.[\w-]+)+)|\s+")
_OPERATORS = {"&&": "and", "||": "or", "==": "==", "!=": "!="}


@dataclass(kw_only=True)
class Step:
    """A shell step that ran: what it printed, and its exit code."""

    name: str
    code: int
    printed: str


@dataclass(kw_only=True)
class ActionRun:
    """A run of the action in `folder`, the runner's own; `workspace` is the checkout of the pull request."""

    action: Path
    workspace: Path
    folder: Path
    github: Mapping[str, str]
    environ: Mapping[str, str]
    python: str
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def summary(self) -> Path:
        """The file of the job's summary."""
        return self.folder / "summary.md"

    def run(self, without: tuple[str, ...] = (), **inputs: str) -> list[Step]:
        """Run the steps with these inputs (`prod_db` for prod-db), up to the first that fails; return them."""
        yaml = pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed: pip install -e '.[dev]'")
        document: Any = yaml.YAML(typ="safe").load(self.action / "action.yml")
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        assert given.keys() <= document["inputs"].keys()
        values = {
            name: given[name] if name in given else self._expand(str(one.get("default", "")), {})
            for name, one in document["inputs"].items()
        }
        self.outputs = {"python": {"python-path": self.python}}
        steps: list[Step] = []
        for step in document["runs"]["steps"]:
            condition = step.get("if", "").removeprefix("${{").removesuffix("}}").strip()
            if "uses" in step or step["name"] in without or (condition and not self._evaluate(condition, values)):
                continue
            steps.append(self._run_step(step, values))
            if steps[-1].code:
                break
        return steps

    def _run_step(self, step: Any, inputs: Mapping[str, str]) -> Step:
        assert step["shell"] == "bash"
        script, output = self.folder / "script.sh", self.folder / "output"
        script.write_text(step["run"], encoding="utf-8")
        output.write_text("", encoding="utf-8")
        environ = {
            **self.environ,
            "GITHUB_ACTIONS": "true",
            "CI": "true",
            "GITHUB_ACTION_PATH": str(self.action),
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(self.folder),
            **{name: self._expand(str(value), inputs) for name, value in step.get("env", {}).items()},
        }
        # The command line that the documentation of `shell: bash` names.
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        done = subprocess.run(
            command,
            cwd=self.workspace,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        lines = (line.partition("=") for line in output.read_text(encoding="utf-8").splitlines())
        self.outputs[step.get("id", "")] = {name: value for name, _, value in lines}
        return Step(name=step["name"], code=done.returncode, printed=done.stdout)

    def _expand(self, text: str, inputs: Mapping[str, str]) -> str:
        return _EXPRESSION.sub(lambda found: self._evaluate(found[1], inputs), text)

    def _evaluate(self, expression: str, inputs: Mapping[str, str]) -> Any:
        """The value of an expression of names, texts, == and !=, && and ||; a name without a value is empty."""
        at, translated = 0, []
        while at < len(expression):
            token = _TOKEN.match(expression, at)
            assert token, expression
            at = token.end()
            if token["text"] is not None:
                translated.append(repr(token["text"]))
            elif token["operator"]:
                translated.append(_OPERATORS[token["operator"]])
            elif token["name"]:
                translated.append(repr(self._look_up(token["name"], inputs)))
        return eval(" ".join(translated), {"__builtins__": {}})  # noqa: S307 - texts and operators, see above

    def _look_up(self, name: str, inputs: Mapping[str, str]) -> str:
        context, _, rest = name.partition(".")
        if context == "inputs":
            return inputs[rest]
        if context == "github":
            return self.github.get(rest, "")
        assert context == "steps", name
        step, _, output = rest.partition(".outputs.")
        return self.outputs.get(step, {}).get(output, "")


def runner_environment(**more: str) -> dict[str, str]:
    """What a step has besides: the path, the home, and the settings of pip and the network."""
    kept = re.compile(r"PATH|HOME|LANG|(PIP|SSL_CERT|REQUESTS_CA)_.*|https?_proxy|no_proxy", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if kept.fullmatch(name)} | more
