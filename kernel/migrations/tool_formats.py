"""The file formats of other migration tools, as data: names, order, marks of the up and down parts, what is refused.

Source: the documentation of each tool, and the behaviour of its parser where that is stricter: goose ("SQL file
annotations"), sql-migrate ("Writing migrations"), dbmate ("Migration options"), golang-migrate (MIGRATIONS.md), Flyway
("Migrations", "Script configuration"), node-pg-migrate ("SQL migrations"), the Supabase CLI ("Database migrations") and
tern ("Migrations").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    SortKey = tuple[int | str | tuple[int, ...], ...]


class Mark(Enum):
    """The meaning of a line for a tool."""

    UP = "begins the up part"
    DOWN = "begins the down part"
    STATEMENT_BEGIN = "begins a statement with semicolons in it"
    STATEMENT_END = "ends such a statement"
    NO_TRANSACTION = "this part runs outside a transaction"
    NO_TRANSACTION_FILE = "both parts run outside a transaction"
    IGNORED = "without effect"
    REFUSED = "cannot be carried over"


class LineRule(NamedTuple):
    """A pattern that is searched in a line, and the meaning of the line; `message` explains a REFUSED one."""

    pattern: re.Pattern[bytes]
    mark: Mark
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFormat:
    """The format of one tool's files.

    `filename` has the groups version and description, and direction where the parts are separate files. Names with one
    `identity`, which is `order` by default, are of one migration; names that match `refused_names` cannot be carried
    over, and others are not read by the tool. Of `rules`, the first that matches a line decides. The group options of
    the mark of a part has the tool's options: `no_transaction` is the one for a part that runs outside a transaction,
    `transaction` those that change nothing. Files begin with the up part if `starts_up`, else with a mark; with
    `marks_optional` a file without a mark is the up part; with `parts_repeat` a part may have several sections.
    A file named as a script with `config_suffix` at its end has the script's settings.
    """

    name: str
    filename: re.Pattern[str]
    order: Callable[[re.Match[str]], SortKey]
    identity: Callable[[re.Match[str]], SortKey] | None = None
    rules: tuple[LineRule, ...] = ()
    starts_up: bool = False
    marks_optional: bool = False
    parts_repeat: bool = False
    no_transaction: bytes = b""
    transaction: tuple[bytes, ...] = ()
    recursive: bool = False
    refused_names: tuple[tuple[re.Pattern[str], str], ...] = ()
    config_suffix: str = ""


def _by_number(name: re.Match[str]) -> SortKey:
    return (int(name["version"]),)


def _by_filename(name: re.Match[str]) -> SortKey:
    return (name.string,)


def _by_number_then_filename(name: re.Match[str]) -> SortKey:
    """Order names with a number before those without, as sql-migrate does."""
    return (0, int(name["version"]), name.string) if name["version"] else (1, 0, name.string)


def dotted_version(version: str) -> tuple[int, ...]:
    """A version of Flyway as numbers: 1.2 comes before 1.10, and 1.0 is 1."""
    numbers = [int(number) for number in re.split(r"[._]", version)]
    while numbers[1:] and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _by_dotted_version(name: re.Match[str]) -> SortKey:
    return (dotted_version(name["version"]),)


def _version_as_written(name: re.Match[str]) -> SortKey:
    return (name["version"],)


def _name_without_direction(name: re.Match[str]) -> SortKey:
    return (name["version"], name["description"])


_UTC_DIGITS = 17  # 2020-05-13 07:07:24.505 without separators


def _by_time(name: re.Match[str]) -> SortKey:
    """Order by milliseconds since 1970; seventeen digits are a date in UTC, as node-pg-migrate reads them."""
    version = name["version"]
    if len(version) == _UTC_DIGITS:
        try:
            moment = datetime.strptime(version[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            pass
        else:
            return (int(moment.timestamp()) * 1000 + int(version[14:]), name.string)
    return (int(version), name.string)


def _rule(pattern: bytes, mark: Mark, message: str = "") -> LineRule:
    return LineRule(re.compile(pattern), mark, message)


PLACEHOLDER = re.compile(rb"\$\{[^}]*\}")
_NO_SUCH_MARK = "not a mark that {} reads, which are at the beginning of a line and spelled as its documentation does"


def _tools() -> Iterator[ToolFormat]:
    yield ToolFormat(
        name="goose",
        filename=re.compile(r"(?P<version>[0-9]+)_(?P<description>.+)\.sql"),
        order=_by_number,
        rules=(
            _rule(rb"(?i)^--\s*\+goose\s+up\s*$", Mark.UP),
            _rule(rb"(?i)^--\s*\+goose\s+down\s*$", Mark.DOWN),
            _rule(rb"(?i)^--\s*\+goose\s+statementbegin\s*$", Mark.STATEMENT_BEGIN),
            _rule(rb"(?i)^--\s*\+goose\s+statementend\s*$", Mark.STATEMENT_END),
            _rule(rb"(?i)^--\s*\+goose\s+no\s+transaction\s*$", Mark.NO_TRANSACTION_FILE),
            _rule(rb"(?i)^--\s*\+goose\s+envsub(?:st)?\s+off\s*$", Mark.IGNORED),
            _rule(
                rb"(?i)^--\s*\+goose\s+envsub(?:st)?\s+on\s*$",
                Mark.REFUSED,
                "goose puts variables of the environment into what follows; write their values",
            ),
            _rule(rb"(?i)^\s*--\s*\+goose\b.*", Mark.REFUSED, _NO_SUCH_MARK.format("goose")),
        ),
        refused_names=(
            (re.compile(r"[0-9]+_.*(?<!_test)\.go"), "a migration in Go; write what it does as a migration in SQL"),
        ),
    )
    yield ToolFormat(
        name="sql-migrate",
        filename=re.compile(r"(?P<version>[0-9]*)(?P<description>.*)\.sql"),
        order=_by_number_then_filename,
        rules=(
            _rule(rb"^-- \+migrate\s+Up(?P<options>\s.*)?$", Mark.UP),
            _rule(rb"^-- \+migrate\s+Down(?P<options>\s.*)?$", Mark.DOWN),
            _rule(rb"^-- \+migrate\s+StatementBegin\s*$", Mark.STATEMENT_BEGIN),
            _rule(rb"^-- \+migrate\s+StatementEnd\s*$", Mark.STATEMENT_END),
            _rule(rb"(?i)^\s*--\s*\+migrate\b.*", Mark.REFUSED, _NO_SUCH_MARK.format("sql-migrate")),
        ),
        parts_repeat=True,
        no_transaction=b"notransaction",
    )
    yield ToolFormat(
        name="dbmate",
        filename=re.compile(r"(?P<version>[0-9]+)(?P<description>.*)\.sql"),
        order=_by_filename,
        identity=_version_as_written,
        rules=(
            _rule(rb"^--\s*migrate:up(?P<options>\s.*)?$", Mark.UP),
            _rule(rb"^--\s*migrate:down(?P<options>\s.*)?$", Mark.DOWN),
            _rule(rb"(?i)^\s*--\s*migrate\s*:\s*(?:up|down)\b.*", Mark.REFUSED, _NO_SUCH_MARK.format("dbmate")),
        ),
        no_transaction=b"transaction:false",
        transaction=(b"transaction:true",),
    )
    yield ToolFormat(
        name="golang-migrate",
        filename=re.compile(r"(?P<version>[0-9]+)_(?P<description>.*)\.(?P<direction>up|down)\..*"),
        order=_by_number,
        starts_up=True,
    )
    yield ToolFormat(
        name="flyway",
        filename=re.compile(r"(?P<direction>[VU])(?P<version>[0-9]+(?:[._][0-9]+)*)__(?P<description>.*)\.sql"),
        order=_by_dotted_version,
        rules=(
            _rule(rb"(?i)^\s*--\s*flyway:executeInTransaction\s*=\s*false\s*$", Mark.NO_TRANSACTION),
            _rule(rb"(?i)^\s*--\s*flyway:executeInTransaction\s*=\s*true\s*$", Mark.IGNORED),
            _rule(rb"(?i)^\s*--\s*flyway:\s*\w+.*", Mark.REFUSED, "a setting that no migration has; take it out"),
            LineRule(PLACEHOLDER, Mark.REFUSED, "Flyway replaces placeholders; write the value"),
        ),
        starts_up=True,
        recursive=True,
        refused_names=(
            (
                re.compile(r"R__.*\.sql"),
                "a repeatable migration; take it out, and copy it to repeatable/ of the new directory",
            ),
            (re.compile(r"B[0-9].*__.*\.sql"), "a baseline migration, which stands for others; leave it out"),
            (re.compile(r"(?:before|after|createSchema)\w*\.sql"), "a callback; add what it does to a migration"),
            (re.compile(r"[VUR][0-9._]*__.*\.(?:java|class|kt|sh|bash|py|ps1|bat|cmd)"), "not a migration in SQL"),
        ),
        config_suffix=".conf",
    )
    yield ToolFormat(
        name="node-pg-migrate-sql",
        filename=re.compile(r"(?P<version>[0-9]+)(?P<description>.*?)(?:\.(?P<direction>up|down))?\.sql"),
        order=_by_time,
        identity=_name_without_direction,
        rules=(
            _rule(rb"(?i)^\s*--[\s-]*up\s+migration.*", Mark.UP),
            _rule(rb"(?i)^\s*--[\s-]*down\s+migration.*", Mark.DOWN),
        ),
        marks_optional=True,
        refused_names=((re.compile(r".*\.[cm]?[jt]s"), "not a migration in SQL; write what it does as one"),),
    )
    yield ToolFormat(
        name="supabase",
        filename=re.compile(r"(?P<version>[0-9]+)_(?P<description>.*)\.sql"),
        order=_by_filename,
        identity=_version_as_written,
        starts_up=True,
    )
    yield ToolFormat(
        name="tern",
        filename=re.compile(r"(?P<version>[0-9]+)_(?P<description>.+)\.sql"),
        order=_by_number,
        rules=(
            _rule(rb"^\s*---- create above / drop below ----\s*$", Mark.DOWN),
            _rule(rb"^---- tern: disable-tx ----\s*$", Mark.NO_TRANSACTION),
            _rule(rb"\{\{.*", Mark.REFUSED, "a template of tern; write what it makes"),
            _rule(rb"(?i)-{2,}\s*(?:tern:|create above).*", Mark.REFUSED, _NO_SUCH_MARK.format("tern")),
        ),
        starts_up=True,
    )


TOOLS = {tool.name: tool for tool in _tools()}
