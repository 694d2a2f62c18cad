"""What squawk, a linter for PostgreSQL in one program, knows of our rules: https://squawkhq.com/docs/rules.

It reads a file without knowing how it will be run, or what other files made. So its word is taken for what shows in one
line, and where the context decides it is ours that is. Without the program that part is missing, and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


# Its rules that nothing here finds otherwise, and ours that they stand for.
REPORTED_RULES = {
    "prefer-text-field": "varchar-length",
    "prefer-timestamp-tz": "timestamp-without-zone",
    "prefer-identity": "serial-column",
    "ban-char-field": "char-column",
}

# Its rules that are ours as well, and found by us: a table that the file makes itself is no hazard, a type that is
# known to fit is none, and neither is what stands in a comment or runs in another file.
DUPLICATE_RULES = {
    "require-concurrent-index-creation": "create-index-not-concurrently",
    "require-concurrent-index-deletion": "drop-index-not-concurrently",
    "ban-concurrent-index-creation-in-transaction": "concurrently-in-transaction",
    "constraint-missing-not-valid": "check-validated-under-lock",
    "adding-foreign-key-constraint": "foreign-key-validated-under-lock",
    "disallowed-unique-constraint": "unique-builds-index-under-lock",
    "adding-serial-primary-key-field": "unique-builds-index-under-lock",
    "adding-not-nullable-field": "set-not-null-scans",
    "adding-required-field": "add-required-column",
    "adding-field-with-default": "volatile-default",
    "changing-column-type": "type-change-rewrites",
    "ban-drop-column": "drop-column",
    "ban-drop-table": "drop-table",
    "ban-drop-database": "drop-schema",
    "ban-drop-schema": "drop-schema",
    "ban-drop-index": "drop-index-not-concurrently",
    "ban-drop-not-null": "drop-not-null",
    "ban-drop-extension": "extension-changed",
    "ban-alter-extension": "extension-changed",
    "ban-drop-policy": "policy-or-trigger-lock",
    "ban-drop-trigger": "policy-or-trigger-lock",
    "ban-disable-trigger": "policy-or-trigger-lock",
    "ban-create-policy": "policy-or-trigger-lock",
    "ban-alter-policy-condition": "policy-or-trigger-lock",
    "ban-alter-policy-roles": "policy-or-trigger-lock",
    "ban-alter-row-level-security": "row-security-switched",
    "ban-alter-generated-expression": "computed-column-rewrites",
    "ban-set-schema": "rename-table",
    "ban-revoke": "privileges-changed",
    **dict.fromkeys(
        (
            *("ban-drop-constraint", "ban-drop-default", "ban-drop-domain", "ban-drop-function", "ban-drop-sequence"),
            *("ban-drop-type", "ban-drop-view"),
        ),
        "drop-object",
    ),
    "ban-truncate-cascade": "truncate",
    "renaming-column": "rename-column",
    "renaming-table": "rename-table",
    "renaming-object": "rename-object",
    "require-concurrent-reindex": "reindex-not-concurrently",
    "require-concurrent-partition-detach": "detach-partition",
    "ban-alter-domain-with-add-constraint": "domain-constraint-scans",
    "identifier-too-long": "identifier-too-long",
    "transaction-nesting": "transaction-in-file",
    "ban-uncommitted-transaction": "transaction-in-file",
    "prefer-bigint-over-int": "int4-key",
    "prefer-bigint-over-smallint": "int4-key",
    "prefer-robust-stmts": "not-rerunnable",
}

# Its rules that are none of ours, with the reason.
IGNORED_RULES = {
    "syntax-error": "PostgreSQL itself names the place, in the rehearsal, and its grammar is the one that counts",
    "require-lock-timeout": "the runner sets one for every file",
    "require-statement-timeout": "KERNEL_STATEMENT_TIMEOUT is for that, and a rehearsal tells how long it takes",
    "require-timeout-settings": "the older name of both",
    "require-enum-value-ordering": "an enum's order is a choice, and the end of it the usual one",
    "require-table-schema": "the search path is the database's own",
    "ban-create-domain-with-constraint": "a domain that no column has yet is no hazard",
    "prefer-repack": "a remark about an extension; VACUUM FULL and CLUSTER are a rule of ours",
    "ban-duplicate-column-assignments": "PostgreSQL refuses it (42601)",
    **dict.fromkeys(
        (
            *("ban-add-column", "ban-add-composite-attribute", "ban-add-enum-value", "ban-set-default"),
            *("ban-replace-view-function", "ban-alter-function-options", "ban-alter-view-options"),
            *("ban-alter-identity", "ban-alter-sequence-values", "ban-drop-generated-expression"),
            *("ban-replica-identity", "ban-detach-inheritance", "ban-new-write-restriction"),
        ),
        "a change that this is the usual and quick way of; what it does to programs, a rehearsal's queries tell",
    ),
    **dict.fromkeys(
        ("ban-alter-database-options", "ban-alter-role-options", "ban-alter-system-options"),
        "settings of a server are its operator's choice",
    ),
}

_SQUAWK_TIMEOUT_SECONDS = 60  # 6 ms a file; a machine in trouble is no reason to wait for ever
_FILES_PER_CALL = 200  # files for one call, so that no command line is too long


class SquawkFailed(Exception):
    """Squawk gave no answer that can be read; the message says why."""


class SquawkRemark(NamedTuple):
    """A rule of squawk met on a line, which counts from 1, of a file."""

    path: str
    line: int
    rule: str


def find_squawk(environ: Mapping[str, str] = os.environ) -> str | None:
    """Where squawk is: beside this Python, as its wheel puts it, or on PATH; None when it is nowhere."""
    beside = shutil.which("squawk", path=sysconfig.get_path("scripts"))
    return beside or shutil.which("squawk", path=environ.get("PATH"))


def run_squawk(command: str, paths: Sequence[Path]) -> tuple[SquawkRemark, ...]:
    """All that squawk says of files. Raises Silent."""
    try:
        return tuple(
            remark
            for at in range(0, len(paths), _FILES_PER_CALL)
            for remark in _run_squawk_once(command, paths[at : at + _FILES_PER_CALL])
        )
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise SquawkFailed(f"{type(error).__name__}: {error}") from error


def _run_squawk_once(command: str, paths: Sequence[Path]) -> Iterator[SquawkRemark]:
    # A configuration of the project's own would have it leave out what we ask it for.
    arguments = [command, "--reporter=Json", f"--config={os.devnull}", "--no-error-on-unmatched-pattern", "--"]
    answer = subprocess.run(  # noqa: S603 - the program that `program` found, and files of ours
        [*arguments, *map(str, paths)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SQUAWK_TIMEOUT_SECONDS,
        check=False,
        env={},
    )
    for found in json.loads(answer.stdout or b"[]"):
        yield SquawkRemark(path=found["file"], line=found["line"] + 1, rule=found["rule_name"])
