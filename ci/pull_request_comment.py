"""Write a comment on a pull request of GitHub, or update the one that an earlier run wrote.

`python ci/pull_request_comment.py BODY NUMBER`: the comment is the file BODY, whose first line is a marker,
`<!-- … -->`, by which it is found again. From the environment of a workflow it reads GITHUB_API_URL,
GITHUB_REPOSITORY and GITHUB_TOKEN. With HEAD_SHA, the pull request must have this commit as its head: a workflow that
got NUMBER from a fork compares it so. COMMENT_AUTHOR is the account of the token, if not that of GitHub Actions.

A comment that cannot be written is a warning of the workflow, since the verdict does not depend on it.
Source: GitHub documentation, "REST API endpoints for issue comments".
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_PER_PAGE = 100
_SECONDS = 30


class _Refused(Exception):
    """The comment is not written; the message says why."""


def _request(method: str, path: str, document: dict[str, str] | None = None) -> Any:
    """The JSON answer of GitHub's API for this repository. Raises _Refused."""
    url = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}"
    request = urllib.request.Request(  # noqa: S310 - the address is that of the workflow's own server
        url,
        method=method,
        data=json.dumps(document).encode() if document else None,
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}",
            "Content-Type": "application/json",
            "User-Agent": "kernel-migrations",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - see above
            return json.load(answer)
    except urllib.error.HTTPError as error:
        reason = f"{error.code} {error.reason}"
        if error.code in (401, 403, 404):
            reason += "; the job needs the permission pull-requests: write, which a pull request from a fork never has"
        raise _Refused(f"{method} {path}: {reason}") from error
    except (OSError, ValueError) as error:
        raise _Refused(f"{method} {path}: {error}") from error


def _find_comment(number: str, marker: str) -> int | None:
    """The id of the comment that begins with the marker and was written by this account; None for none."""
    author = os.environ.get("COMMENT_AUTHOR") or "github-actions[bot]"
    page = 1
    while True:
        comments = _request("GET", f"issues/{number}/comments?per_page={_PER_PAGE}&page={page}")
        for comment in comments:
            # Anybody may write the marker; to update the comment of another would put words into their mouth.
            if comment["user"]["login"] == author and comment["body"].startswith(marker):
                return int(comment["id"])
        if len(comments) < _PER_PAGE:
            return None
        page += 1


def write_comment(body: str, number: str) -> str:
    """Write or update the comment; return its address. Raises _Refused."""
    if not (number.isascii() and number.isdigit()):
        raise _Refused(f"{number!r} is no number of a pull request")
    marker = body.partition("\n")[0]
    if not (marker.startswith("<!--") and marker.endswith("-->")):
        raise _Refused("the first line of the comment is no marker")
    head = os.environ.get("HEAD_SHA")
    if head and _request("GET", f"pulls/{number}")["head"]["sha"] != head:
        raise _Refused(f"the head of pull request {number} is not {head}")
    known = _find_comment(number, marker)
    written = (
        _request("POST", f"issues/{number}/comments", {"body": body})
        if known is None
        else _request("PATCH", f"issues/comments/{known}", {"body": body})
    )
    return str(written["html_url"])


if __name__ == "__main__":
    file, pull_request = sys.argv[1:]
    try:
        print(write_comment(Path(file).read_text(encoding="utf-8"), pull_request))
    except _Refused as error:
        print(f"::warning title=No comment::{error}")
