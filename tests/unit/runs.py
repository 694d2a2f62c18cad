"""Runs of migrations as values, for tests of what is made of them: findings, text, JSON and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.result import Lock, Run, TracedStatement

if TYPE_CHECKING:
    from kernel.rehearsal.result import Relation, RowsWritten, RunFailure, Scan


def lock(relation: Relation, mode: str, seconds: float, *, at: float = 0.0, waited: float = 0.0) -> Lock:
    return Lock(relation=relation, mode=mode, at_seconds=at, held_seconds=seconds, waited_seconds=waited)


def line_offset(line: int) -> int:
    """The offset of a line in a file whose lines are as long as one wishes."""
    return 1000 * (line - 1)


def statement(
    sql: str,
    *,
    line: int = 1,
    offset: int | None = None,
    seconds: float = 0.001,
    at: float = 0.0,
    locks: tuple[Lock, ...] = (),
    scans: tuple[Scan, ...] = (),
    rewrites: tuple[Relation, ...] = (),
    written: tuple[RowsWritten, ...] = (),
    commands: tuple[str, ...] = (),
    index_rebuilds: tuple[Relation, ...] = (),
    wal_bytes: int = 0,
    notes: tuple[str, ...] = (),
) -> TracedStatement:
    return TracedStatement(
        line=line,
        column=1,
        offset=line_offset(line) if offset is None else offset,
        sql=sql,
        at_seconds=at,
        seconds=seconds,
        locks=locks,
        scans=scans,
        rewrites=rewrites,
        written=written,
        commands=commands,
        index_rebuilds=index_rebuilds,
        wal_bytes=wal_bytes,
        notes=notes,
    )


def run(
    *statements: TracedStatement,
    failed: RunFailure | None = None,
    version: str = "002",
    filename: str = "",
    at: float = 0.0,
    seconds: float = 0.01,
    wal_bytes: int = 0,
    growth_bytes: int = 0,
    transactional: bool = True,
) -> Run:
    return Run(
        version=version,
        filename=filename or f"{version}_it.sql",
        transactional=transactional,
        at_seconds=at,
        seconds=seconds,
        statements=statements,
        failed=failed,
        wal_bytes=wal_bytes,
        growth_bytes=growth_bytes,
    )
