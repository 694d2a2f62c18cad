"""The text that db.new writes into new files, and whether a file is still that text."""

from __future__ import annotations

import hashlib
import re

_EXAMPLE = "Replace this example:"
_MIGRATION_BODY = f"""\
-- One change, safe to run again, and harmless to the running instances: a nullable column, a new table.
-- Backfill data in a migration of its own. {_EXAMPLE}
--
-- ALTER TABLE tenants
--   ADD COLUMN IF NOT EXISTS preferences JSONB DEFAULT '{{}}';
"""
_NO_TRANSACTION_BODY = f"""\
-- Each statement commits by itself: what ran before a failure stays. {_EXAMPLE}
--
-- CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_tenants_preferences
--   ON tenants USING GIN (preferences);
"""
_REVERT_BODY = f"""\
-- Undo the migration of the same name; runs in one transaction with the removal of its record. {_EXAMPLE}
--
"""
_REVERT_EXAMPLE = "-- ALTER TABLE tenants\n--   DROP COLUMN IF EXISTS preferences;\n"
_REVERT_EXAMPLE_INDEX = "-- DROP INDEX IF EXISTS idx_tenants_preferences;\n"
_REPEATABLE_BODY = f"""\
-- Applied again whenever this file changes, after the numbered files and those that it names. {_EXAMPLE}
--
-- CREATE OR REPLACE VIEW active_tenants AS
--   SELECT id, slug FROM tenants;
"""  # noqa: S608 - a comment
_BODY_LINES = frozenset(
    line
    for body in (
        _MIGRATION_BODY,
        _NO_TRANSACTION_BODY,
        _REPEATABLE_BODY,
        _REVERT_BODY,
        _REVERT_EXAMPLE,
        _REVERT_EXAMPLE_INDEX,
    )
    for line in body.splitlines()
)
_TITLE_LINE = re.compile(r"--[ \t]*(?:Migration|Revert):[ \t]*[0-9]+[ \t]*-[ \t]*(.*)")
_DESCRIPTION_LINE = re.compile(r"--[ \t]*Description:[ \t]*(.*)")
_DIRECTIVE_OR_BLANK = re.compile(r"(?:--(?:[ \t]*migrate[ \t]*:.*)?)?")
_HEADER = re.compile(r"-- Migration: (?P<version>[0-9]+) - (?P<title>.*)\n-- Description: (?P<description>.*)\n")


def migration_text(version: str, title: str, description: str, *, no_transaction: bool) -> str:
    """Return the text of a new migration."""
    head = f"-- Migration: {version} - {title}\n-- Description: {description}\n"
    if no_transaction:
        return f"{head}-- migrate: no-transaction\n\n{_NO_TRANSACTION_BODY}"
    return f"{head}\n{_MIGRATION_BODY}"


def repeatable_text(title: str, description: str) -> str:
    """Return the text of a new repeatable file."""
    return f"-- Repeatable: {title}\n-- Description: {description or title}\n\n{_REPEATABLE_BODY}"


def revert_text(version: str, title: str, *, no_transaction: bool) -> str:
    """Return the text of a new revert file."""
    example = _REVERT_EXAMPLE_INDEX if no_transaction else _REVERT_EXAMPLE
    return f"-- Revert: {version} - {title}\n\n{_REVERT_BODY}{example}"


def is_unwritten(comments: bytes) -> bool:
    """Whether a file without statements, of which these are the comments, has the text of db.new and no other.

    A comment of the author, or a description other than the title, may say why the file does nothing.
    """
    lines = [line.strip() for line in comments.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").split("\n")]
    if any(_EXAMPLE in line for line in lines):
        return True
    titles = {title[1] for line in lines if (title := _TITLE_LINE.fullmatch(line))}
    others = [line for line in lines if line not in _BODY_LINES and not _DIRECTIVE_OR_BLANK.fullmatch(line)]
    return bool(titles) and all(
        _TITLE_LINE.fullmatch(line) or ((found := _DESCRIPTION_LINE.fullmatch(line)) and found[1] in titles)
        for line in others
    )


def unwritten_checksums(content: bytes) -> frozenset[str]:
    """Return the checksums of this file when it was unwritten: empty, or as db.new writes it with this header."""
    texts = [""]
    if header := _HEADER.match(content.replace(b"\r\n", b"\n").decode(errors="replace").removeprefix("\ufeff")):
        texts += [migration_text(**header.groupdict(), no_transaction=choice) for choice in (False, True)]
    return frozenset(hashlib.sha256(text.encode()).hexdigest() for text in texts)
