"""The rules of squawk: which are reported under a rule of ours, which duplicate ours, which are ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.rules import ALL_RULES, RULES_BY_ID
from kernel.lint.squawk import REPORTED_RULES, find_squawk, run_squawk

if TYPE_CHECKING:
    from pathlib import Path

# Rules of squawk that duplicate ours. Ours decide, because they know the context: a table that the file itself
# creates is no hazard, nor is a type that is known to fit.
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

# Rules of squawk that have no counterpart here, with the reason.
IGNORED_RULES = {
    "syntax-error": "PostgreSQL reports it in the rehearsal, by the grammar that counts",
    "require-lock-timeout": "the runner sets one for every file",
    "require-statement-timeout": "KERNEL_STATEMENT_TIMEOUT is for that, and a rehearsal measures the time",
    "require-timeout-settings": "the older name of both",
    "require-enum-value-ordering": "the end of an enum is the usual place",
    "require-table-schema": "the search path is the database's own",
    "ban-create-domain-with-constraint": "a domain that no column uses yet is no hazard",
    "prefer-repack": "about an extension; VACUUM FULL and CLUSTER have a rule here",
    "ban-duplicate-column-assignments": "PostgreSQL refuses it (42601)",
    **dict.fromkeys(
        (
            *("ban-add-column", "ban-add-composite-attribute", "ban-add-enum-value", "ban-set-default"),
            *("ban-replace-view-function", "ban-alter-function-options", "ban-alter-view-options"),
            *("ban-alter-identity", "ban-alter-sequence-values", "ban-drop-generated-expression"),
            *("ban-replica-identity", "ban-detach-inheritance", "ban-new-write-restriction"),
        ),
        "the usual and quick form of a change; --queries of a rehearsal show its effect on programs",
    ),
    **dict.fromkeys(
        ("ban-alter-database-options", "ban-alter-role-options", "ban-alter-system-options"),
        "settings of a server are up to its operator",
    ),
}


def test_every_squawk_rule_that_an_example_meets_is_mapped_or_ignored_for_a_reason(tmp_path: Path) -> None:
    command = find_squawk()
    assert command, "squawk-cli is one of the dev dependencies"
    known = REPORTED_RULES.keys() | DUPLICATE_RULES.keys() | IGNORED_RULES.keys()
    paths = []
    for rule in ALL_RULES:
        paths.append(tmp_path / f"{rule.id}.sql")
        paths[-1].write_text(rule.setup + rule.bad)
    assert {remark.rule for remark in run_squawk(command, paths)} <= known


def test_squawk_rules_map_to_existing_rules() -> None:
    assert {*REPORTED_RULES.values(), *DUPLICATE_RULES.values()} <= RULES_BY_ID.keys()
