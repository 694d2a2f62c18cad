"""From the entries of an inventory to its targets: queries on the control database, and schemas of a database."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg

from kernel.db.connection import open_session
from kernel.errors import DatabaseUnreachable, FilesInvalid, KernelError, Problem, UsageError
from kernel.fleet.inventory import check_target_name, parse_address
from kernel.fleet.target import Address, Inventory, Source, Target, Wave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kernel.fleet.addresses import Addresses


_SCHEMAS = r"""
SELECT nspname FROM pg_namespace
WHERE nspname LIKE %s AND nspname !~ '^(pg_|information_schema$)' ORDER BY nspname
"""
_NAMES_SHOWN = 5


def find_targets(inventory: Inventory, addresses: Addresses) -> tuple[Target, ...]:
    """Return all targets, in the order of the file; queries and schemas are read from their databases.

    Raises FilesInvalid with every problem, also names that occur twice; SettingsError; else DatabaseUnreachable with
    every database that does not answer.
    """
    problems: list[Problem] = []
    unreachable: dict[str, DatabaseUnreachable] = {}
    targets: dict[str, Target] = {}
    lines: dict[str, int] = {}
    for source in inventory.sources:

        def report(message: str, line: int = source.line) -> None:
            problems.append(Problem(message=message, file=inventory.filename, line=line))

        try:
            found = _targets_of(source, inventory, addresses, report)
        except DatabaseUnreachable as error:
            where = "the control database" if source.query else str(source.target.address)
            unreachable[f"{inventory.filename}:{source.line}: {where}: {error}"] = error
            continue
        for target in found:
            if target.name in targets:
                where = f"that of line {lines[target.name]}" if lines[target.name] != source.line else "there"
                remedy = 'give it name = "GROUP", for GROUP/SCHEMA' if source.schemas else "rename one of them"
                report(f"the name {target.name} is {where} twice; {remedy}")
            targets.setdefault(target.name, target)
            lines.setdefault(target.name, source.line)
    if problems:
        raise FilesInvalid(problems)
    if unreachable:
        first = next(iter(unreachable.values()))
        raise DatabaseUnreachable("\n".join(unreachable), hint=first.hint) from first
    return tuple(targets.values())


def _targets_of(
    source: Source, inventory: Inventory, addresses: Addresses, report: Callable[[str], None]
) -> list[Target]:
    """The targets of an entry; faults of it are reported. Raises DatabaseUnreachable."""
    if source.query:
        rows = _read_control(source, inventory, addresses, report)
        targets = (_target_of_row(source.target, row, report) for row in rows)
        return [target for target in targets if target is not None]
    if source.schemas:
        pattern = source.schemas.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        pattern = pattern.replace("*", "%").replace("?", "_")
        named = replace(source.target, name=f"schemas {source.schemas}")
        try:
            with open_session(addresses.url(named), variable=str(named.address)) as session:
                names = [str(name) for (name,) in session.connection.execute(_SCHEMAS, (pattern,))]
        except DatabaseUnreachable:
            raise
        except KernelError as error:
            report(f"schemas: {error}")
            return []
        if not names:
            report(f"schemas: no schema is named {source.schemas} in {session.name}")
        group = source.target.name or source.target.server
        prefix = f"{group}/" if group else ""
        return [replace(source.target, name=f"{prefix}{name}", schema=name) for name in names]
    return [source.target]


def _read_control(
    source: Source, inventory: Inventory, addresses: Addresses, report: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The rows of a query on the control database, in a session that cannot write. Raises DatabaseUnreachable."""
    control = Target(name="control", address=inventory.control or Address())
    try:
        with open_session(addresses.url(control), variable=str(control.address)) as session:
            session.connection.execute("SET default_transaction_read_only = on")
            cursor = session.connection.execute(source.query.encode())
            columns = [column.name for column in cursor.description or ()]
            if "name" in columns:
                rows = [dict(zip(columns, row, strict=True)) for row in cursor]
    except psycopg.Error as error:
        report(f"query: {error.diag.message_primary or error}")
    except DatabaseUnreachable:
        raise
    except KernelError as error:
        report(f"query: {error}")
    else:
        if "name" in columns:
            if not rows:
                report(f"query: returns no row in {session.name}")
            return rows
        report(f"query: returns no column name, which every target needs; it returns {', '.join(columns) or 'nothing'}")
    return []


def _target_of_row(base: Target, row: dict[str, Any], report: Callable[[str], None]) -> Target | None:
    """The target of a row: the columns name, url, server, database, schema; all others are labels."""
    texts = {column: "" if value is None else str(value) for column, value in row.items()}
    name = texts.pop("name")
    url = texts.pop("url", "")
    server, database, schema = (texts.pop(key, "") or getattr(base, key) for key in ("server", "database", "schema"))
    try:
        check_target_name(name)
    except ValueError as error:
        report(f"query: the name {name[:60]!r}: {error}")
        return None
    try:
        address = parse_address(url) if url else base.address
    except ValueError as error:
        report(f"query: {name}: the column url: {error}")
        return None
    if not (address.url or address.variable or address.command):
        report(f'query: {name}: no URL; return a column url, or write url = "$NAME" in the entry')
        return None
    labels = {**base.labels, **texts}
    return replace(base, name=name, address=address, labels=labels, server=server, database=database, schema=schema)


def choose_targets(targets: Sequence[Target], *, only: Sequence[str], part: tuple[int, int]) -> tuple[Target, ...]:
    """Return the targets that `only` names, all for (); then part K of N, taken in turn so that parts are alike.

    Raises UsageError for a name that no target has.
    """
    names = {target.name for target in targets}
    if unknown := [name for name in only if name not in names]:
        raise UsageError(f"--only {', '.join(unknown)}: no such target; inv fleet.status lists them")
    number, parts = part
    chosen = [target for target in targets if not only or target.name in only]
    return tuple(chosen[number - 1 :: parts])


def divide_into_waves(
    targets: Iterable[Target], waves: Sequence[Wave], *, filename: str
) -> tuple[tuple[Wave, tuple[Target, ...]], ...]:
    """Return each wave with its targets in order; a target belongs to the first that it matches.

    Raises FilesInvalid for targets that match none.
    """
    by_wave: list[list[Target]] = [[] for _ in waves]
    homeless: list[Target] = []
    for target in targets:
        at = next((at for at, wave in enumerate(waves) if target.matches(wave.match)), None)
        (homeless if at is None else by_wave[at]).append(target)
    if homeless:
        shown = ", ".join(target.name for target in homeless[:_NAMES_SHOWN])
        more = f" and {len(homeless) - _NAMES_SHOWN} more" if homeless[_NAMES_SHOWN:] else ""
        message = f"no wave has {shown}{more}; add one without match as the last"
        raise FilesInvalid([Problem(message=message, file=filename)])
    return tuple((wave, _in_order(chosen, wave.order)) for wave, chosen in zip(waves, by_wave, strict=True))


def _in_order(targets: list[Target], order: str) -> tuple[Target, ...]:
    label = order.removeprefix("-")
    if not order:
        return tuple(targets)
    if order == "random":
        return tuple(random.sample(targets, len(targets)))

    def value(target: Target) -> tuple[float, str]:
        text = target.name if label == "name" else target.labels.get(label, "")
        try:
            return float(text), text
        except ValueError:
            return float("inf"), text

    return tuple(sorted(targets, key=value, reverse=order.startswith("-")))
