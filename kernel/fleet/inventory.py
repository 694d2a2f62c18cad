"""Read fleet.toml: targets, waves and limits. All problems of the file are reported at once, each with its line."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from kernel.config.conninfo import check_conninfo
from kernel.errors import FilesInvalid, Problem
from kernel.fleet.target import ASK, Address, FailureLimit, Inventory, Source, Target, Wave
from kernel.fleet.toml_places import key_lines
from kernel.units import parse_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path


_T = TypeVar("_T")
_LIMIT_KEYS = ("max_failures", "at_a_time", "per_server", "timeout")
_TOP_KEYS = ("control", "targets", "waves", *_LIMIT_KEYS)
_WAVE_KEYS = ("name", "match", "hold", "order", *_LIMIT_KEYS)
_TARGET_KEYS = (
    *("name", "url", "command", "server", "database", "schema"),
    *("schemas", "query", "search_path", "labels"),
)
_LABELS_OF_ITS_OWN = ("name", "server", "database", "schema")
_SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")
_NAME_LENGTH = 200
_IDENTIFIER_BYTES = 63
_MOST_AT_A_TIME = 10_000


def read_inventory(path: Path) -> Inventory:
    """Read an inventory. Raises FilesInvalid with every problem and its line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        document = tomllib.loads(text)
    except FileNotFoundError as error:
        message = "no such file; write the targets there, or name another with --inventory PATH"
        raise FilesInvalid([Problem(message=message, file=path.name)]) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise FilesInvalid([Problem(message=f"cannot be read: {reason}", file=path.name)]) from error
    except tomllib.TOMLDecodeError as error:
        raise FilesInvalid([_syntax_problem(error, path.name)]) from error
    reading = _Reading(filename=path.name, lines=key_lines(text))
    inventory = reading.inventory(document)
    if reading.problems:
        raise FilesInvalid(sorted(reading.problems, key=lambda problem: problem.line or 0))
    return inventory


def _syntax_problem(error: tomllib.TOMLDecodeError, filename: str) -> Problem:
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
    message = str(error)[: place.start()] if place else str(error)
    line, column = (int(place[1]), int(place[2])) if place and place[1] else (None, None)
    message = f"is no TOML: {message[:1].lower()}{message[1:]}"
    return Problem(message=message, file=filename, line=line, column=column)


def check_target_name(name: str) -> str:
    """Return a name. Raises ValueError for one that a command could take for an option, or that does not show."""
    if not name or len(name) > _NAME_LENGTH or name.startswith("-") or not name.isprintable() or "," in name:
        raise ValueError(
            f"expected a name of 1 to {_NAME_LENGTH} visible characters, without a comma or - at its start"
        )
    return name


def parse_address(text: str) -> Address:
    """Parse $NAME, or a URL without a secret. Raises ValueError, whose message never quotes it."""
    if match := _VARIABLE.fullmatch(text):
        return Address(variable=match[1])
    if "$" in text:
        raise ValueError("mixes $NAME with other text, which is not replaced; put the whole URL into the variable")
    check_conninfo(text, shared=False)
    try:
        parameters = conninfo_to_dict(text)
    except ProgrammingError as error:
        raise ValueError("libpq cannot read it; check its special characters") from error
    if secrets := [name for name in _SECRETS if parameters.get(name)]:
        raise ValueError(f"has a secret in it ({secrets[0]}); write $NAME, and put the URL into that variable")
    return Address(url=text)


def parse_failure_limit(text: str) -> FailureLimit:
    """Parse 3 or 5%. Raises ValueError."""
    if match := re.fullmatch(r"([0-9]{1,9})(?:(\.[0-9]{1,3})? ?%)?", text, re.ASCII):
        limit = FailureLimit(number=float(match[1] + (match[2] or "")), percent=text.endswith("%"))
        if not limit.percent or limit.number <= 100:  # noqa: PLR2004 - of a hundred
            return limit
    raise ValueError("expected a number of targets, such as 3, or a percentage, such as 5%")


def parse_timeout(text: str) -> float:
    """Parse a duration, such as 10min, in seconds. Raises ValueError."""
    milliseconds = parse_milliseconds(text)
    if not re.search("[a-z]", text) and milliseconds:
        raise ValueError("has no unit; write 30s or 10min")
    return milliseconds / 1000


class _Reading:
    """An inventory while it is read; `problems` are those found so far."""

    def __init__(self, *, filename: str, lines: Mapping[tuple[str, int, str], int]) -> None:
        self.filename = filename
        self.lines = lines
        self.problems: list[Problem] = []

    def problem(self, message: str, table: str, number: int, key: str) -> None:
        line = next((self.lines[place] for place in self._places(table, number, key) if place in self.lines), None)
        self.problems.append(Problem(message=message, file=self.filename, line=line))

    def _places(self, table: str, number: int, key: str) -> Iterable[tuple[str, int, str]]:
        outer, _, inner = key.partition(".")  # labels.region may stand under [targets.labels]
        return (table, number, key), (f"{table}.{outer}", number, inner), (table, number, outer), (table, number, "")

    def inventory(self, document: dict[str, Any]) -> Inventory:
        top = _Table(self, document, "", 0, _TOP_KEYS)
        limits = self._limits(top, Wave())
        control = top.parsed("control", parse_address)
        waves = [self._wave(table, limits) for table in self._tables(document, "waves", _WAVE_KEYS)]
        tables = self._tables(document, "targets", _TARGET_KEYS)
        sources = [source for table in tables if (source := self._source(table, control)) is not None]
        if not document.get("targets"):
            self.problem("has no targets; write [[targets]] with name and url", "", 0, "")
        self._refuse_duplicates("waves", [wave.name for wave in waves])
        self._refuse_duplicates("targets", [str(table.values.get("name", "")) for table in tables])
        return Inventory(
            filename=self.filename, sources=tuple(sources), waves=tuple(waves) or (limits,), control=control
        )

    def _refuse_duplicates(self, table: str, names: list[str]) -> None:
        for number, name in enumerate(names):
            if name and name in names[:number]:
                first = self.lines.get((table, names.index(name), ""), "?")
                self.problem(f"the name {name} is that of line {first} too; rename one of them", table, number, "name")

    def _tables(self, document: dict[str, Any], name: str, keys: tuple[str, ...]) -> list[_Table]:
        values = document.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            self.problem(f"expected tables: write [[{name}]]", "", 0, name)
            return []
        return [_Table(self, value, name, number, keys) for number, value in enumerate(values)]

    def _limits(self, table: _Table, default: Wave) -> Wave:
        return replace(
            default,
            max_failures=table.parsed("max_failures", parse_failure_limit, numbers=True) or default.max_failures,
            at_a_time=table.count("at_a_time") or default.at_a_time,
            per_server=table.count("per_server") or default.per_server,
            timeout_seconds=table.parsed("timeout", parse_timeout) or default.timeout_seconds,
        )

    def _wave(self, table: _Table, limits: Wave) -> Wave:
        def parse_hold(text: str) -> float:
            return ASK if text == "ask" else parse_timeout(text)

        match = {
            label: (value,) if isinstance(value, str) else tuple(value)
            for label, value in table.table("match").items()
            if self._is_pattern(value) or table.wrong(f"match.{label}", "expected a pattern or a list of patterns")
        }
        return replace(
            self._limits(table, limits),
            name=table.text("name", needed=True),
            match=match,
            hold_seconds=table.parsed("hold", parse_hold) or 0,
            order=table.text("order"),
        )

    @staticmethod
    def _is_pattern(value: object) -> bool:
        return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))

    def _source(self, table: _Table, control: Address | None) -> Source | None:
        before = len(self.problems)
        kinds = [key for key in ("query", "schemas") if key in table.values]
        if len(kinds) > 1:
            table.wrong("query", "query and schemas exclude each other; write two entries")
        if kinds == ["query"] and control is None:
            table.wrong("query", 'runs on the control database; name it at the top: control = "$CONTROL_URL"')
        if "query" in kinds and "name" in table.values:
            table.wrong("name", "is that of one target, and query finds several; remove it")
        if kinds == ["schemas"] and "schema" in table.values:
            table.wrong("schema", "schemas finds them; remove it")
        query = kinds == ["query"]
        target = Target(
            name=table.parsed("name", check_target_name, needed=not kinds) or "",
            address=self._address(table, needed=not query),
            server=table.text("server"),
            database=table.identifier("database"),
            schema=table.identifier("schema"),
            search_path=table.texts("search_path"),
            labels=self._labels(table),
        )
        source = Source(
            target=target,
            query=table.text("query"),
            schemas=table.text("schemas"),
            line=self.lines.get((table.name, table.number, ""), 1),
        )
        return source if len(self.problems) == before else None

    def _address(self, table: _Table, *, needed: bool) -> Address:
        url, command = table.parsed("url", parse_address), table.texts("command")
        if "url" in table.values and "command" in table.values:
            table.wrong("command", "url and command exclude each other; remove one")
        elif needed and not {"url", "command"} & table.values.keys():
            table.wrong("", 'needs the URL of its database: url = "$NAME", or command = ["program", "argument"]')
        elif "command" in table.values and not command:
            table.wrong("command", 'expected a program and its arguments, such as ["vault", "read", "…"]')
        return url or Address(command=command)

    def _labels(self, table: _Table) -> dict[str, str]:
        labels = table.table("labels")
        for label, value in labels.items():
            if label in _LABELS_OF_ITS_OWN:
                table.wrong(f"labels.{label}", f"every target has a {label}; rename the label")
            elif not isinstance(value, str):
                table.wrong(f"labels.{label}", "expected a text")
        return {label: str(value) for label, value in labels.items()}


class _Table:
    """A table of the file and its readers; each reports what it cannot use, and returns an empty value."""

    def __init__(
        self, reading: _Reading, values: dict[str, Any], name: str, number: int, known: tuple[str, ...]
    ) -> None:
        self.reading, self.values, self.name, self.number = reading, values, name, number
        for key in values:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                remedy = f"write {near[0]}, or remove it" if near else f"known are {', '.join(known)}"
                self.wrong(key, f"unknown key; {remedy}")

    def wrong(self, key: str, message: str) -> bool:
        """Report a problem of a key, "" for the whole table; returns False."""
        self.reading.problem(f"{key}: {message}" if key else message, self.name, self.number, key)
        return False

    def text(self, key: str, *, needed: bool = False) -> str:
        value = self.values.get(key)
        if value is None and needed:
            self.wrong("", f"needs a {key}")
        elif value is not None and (not isinstance(value, str) or not value.strip() or "\0" in value):
            self.wrong(key, "expected a text that is not empty")
        else:
            return value or ""
        return ""

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) and one and "\0" not in one for one in value):
            self.wrong(key, "expected a list of texts")
            return ()
        return tuple(value)

    def identifier(self, key: str) -> str:
        value = self.text(key)
        if len(value.encode()) > _IDENTIFIER_BYTES:
            self.wrong(key, f"PostgreSQL cuts names after {_IDENTIFIER_BYTES} bytes; shorten it")
        return value

    def table(self, key: str) -> dict[str, Any]:
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            self.wrong(key, f'expected a table: {key} = {{ region = "eu" }}')
            return {}
        return value

    def count(self, key: str) -> int:
        value = self.values.get(key)
        if value is not None and (type(value) is not int or not 1 <= value <= _MOST_AT_A_TIME):
            self.wrong(key, f"expected a whole number from 1 to {_MOST_AT_A_TIME}")
            return 0
        return value or 0

    def parsed(self, key: str, parse: Callable[[str], _T], *, needed: bool = False, numbers: bool = False) -> _T | None:
        value = self.values.get(key)
        if numbers and type(value) is int:
            value = str(value)
        if value is None:
            if needed:
                self.wrong("", f"needs a {key}")
            return None
        if not isinstance(value, str):
            self.wrong(key, "expected a text")
            return None
        try:
            return parse(value)
        except ValueError as error:
            self.wrong(key, str(error))
            return None
