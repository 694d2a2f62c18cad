"""A fleet on a Dask cluster with TLS: nothing secret is in its logs, on its pages, in the journal or the document."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import urlopen

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.dask_cluster import LOGS, dask_cluster, free_port
from tests.faults.runner import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SECRET = "opensesame4711"  # noqa: S105 - of nothing
IN_A_FILE = "sandcastle0815"
INVENTORY = """
max_failures = "100%"
[[targets]]
url = "$URL"
schemas = "t_*"
[[targets]]
name = "lost"
url = "$LOST"
[[targets]]
name = "printed"
command = ["sh", "-c", "echo $LOST"]
"""
# Documents of these are drawn from data that the scheduler sends; the others are pages.
DRAWN = ("status", "workers", "graph", "individual-task-stream", "individual-progress")
PAGES = ("status", "info/main/workers.html", "sitemap.json", "json/counts.json", "json/identity.json", "metrics")
WAIT_SECONDS = 60
HELD = 4711  # the key of a lock, by which a test keeps the tasks running


@dataclass
class Cluster:
    """A project with the cluster for it; `tls` are the settings of Dask that the client needs.

    The tasks run until `look` lets go of the lock.
    """

    folder: Path
    look: psycopg.Connection[tuple[Any, ...]]
    address: str
    pages: str
    environment: dict[str, str]
    tls: dict[str, str]

    def start(self, *arguments: str, tls: bool = True) -> subprocess.Popen[str]:
        command = (sys.executable, "-m", "invoke", *arguments, "--cluster", self.address)
        environment = self.environment | (self.tls if tls else {})
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def read_pages(self) -> dict[str, str]:
        """All pages that can be reached, and the documents of those that are drawn."""
        from bokeh.client import pull_session  # noqa: PLC0415 - of an optional package

        texts = {name: str(pull_session(url=f"{self.pages}{name}").document.to_json()) for name in DRAWN}
        waiting = [urljoin(self.pages, name) for name in PAGES]
        while waiting:
            url = waiting.pop()
            if url in texts:
                continue
            try:
                with urlopen(url, timeout=10) as answer:  # noqa: S310 - of this test's own cluster
                    texts[url] = answer.read().decode(errors="replace")
            except (URLError, OSError):
                texts[url] = ""
            links = re.findall(r'(?:href|src)="([^"#?]+)"', texts[url])
            if url.endswith("sitemap.json"):
                links = re.findall(r'"(/?[a-z][^"{}]*\.(?:html|json))"', texts[url])
            inner = (urljoin(url, link) for link in links)
            waiting += [link for link in inner if re.match(r"http://127\.0\.0\.1:", link) and "/static" not in link]
        return texts


@pytest.fixture
def cluster(database: str, tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("bokeh")
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl, which makes a certificate")
    shutil.copy(ROOT / "tasks.py", tmp_path)
    (tmp_path / "fleet.toml").write_text(INVENTORY)
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "001_one.sql").write_text(
        f"CREATE TABLE one (id int);\nSELECT pg_advisory_xact_lock_shared({HELD});\n"
    )
    (tmp_path / "migrations" / "002_two.sql").write_text(
        f"CREATE ROLE {IN_A_FILE[:4]}_nobody PASSWORD '{IN_A_FILE}' NO_SUCH_OPTION;\n"
    )
    look = psycopg.connect(database, autocommit=True)
    look.execute("SELECT pg_advisory_lock(%s)", (HELD,))
    for one in range(6):
        look.execute(f"CREATE SCHEMA t_{one}".encode())
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=cluster"),
            *("-keyout", key, "-out", certificate),
        ),
        check=True,
        capture_output=True,
    )
    prefix = "DASK_DISTRIBUTED__COMM"
    tls = {f"{prefix}__REQUIRE_ENCRYPTION": "True", f"{prefix}__TLS__CA_FILE": str(certificate)}
    for who in ("SCHEDULER", "WORKER", "CLIENT"):
        tls |= {f"{prefix}__TLS__{who}__CERT": str(certificate), f"{prefix}__TLS__{who}__KEY": str(key)}
    urls = {
        "URL": make_conninfo(database, password=SECRET),
        "LOST": f"postgresql://someone:{SECRET}@127.0.0.1:1/lost",
    }
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), **urls}
    port = free_port()
    with look, dask_cluster(tmp_path, environment | tls, protocol="tls", dashboard=port) as address:
        yield Cluster(tmp_path, look, address, f"http://127.0.0.1:{port}/", environment, tls)


def _until_running(cluster: Cluster, *arguments: str) -> subprocess.Popen[str]:
    """Start a task again until the cluster has workers, and it has begun."""
    deadline = time.monotonic() + WAIT_SECONDS
    journals = cluster.folder / ".kernel" / "fleet"
    while True:
        running = cluster.start(*arguments)
        while running.poll() is None:
            if any('"started"' in path.read_text() for path in journals.glob("*.jsonl")):
                return running
            time.sleep(0.1)
        output = running.communicate()
        assert time.monotonic() < deadline, output


def test_no_secret_is_in_logs_pages_journal_or_document_of_a_run_on_a_cluster_with_tls(cluster: Cluster) -> None:
    running = _until_running(cluster, "fleet.migrate", "--json")
    texts = cluster.read_pages()
    assert running.poll() is None
    cluster.look.execute("SELECT pg_advisory_unlock_all()")
    assert "run_task" in texts["individual-progress"] + texts["status"] + texts["individual-task-stream"]
    assert sum("info/" in url and bool(text) for url, text in texts.items()) >= 4
    output, messages = running.communicate()
    assert running.returncode == 6, messages
    assert output.count('"unreachable"') == 2
    assert output.count('"failed"') >= 6
    texts |= cluster.read_pages() | {"output": output, "messages": messages}
    texts |= {name: (cluster.folder / name).read_text() for name in LOGS}
    texts |= {str(path): path.read_text() for path in (cluster.folder / ".kernel" / "fleet").glob("*.jsonl")}
    found = [name for name, text in texts.items() for secret in (SECRET, IN_A_FILE) if secret in text]
    assert found == []


def test_a_client_without_the_certificate_gets_a_clear_error(cluster: Cluster) -> None:
    refused = cluster.start("fleet.status", tls=False)
    _, messages = refused.communicate(timeout=WAIT_SECONDS)
    assert refused.returncode == 7
    assert f"{cluster.address}: no scheduler answers" in messages
    assert "Traceback" not in messages
