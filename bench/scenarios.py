"""The scenarios and their targets, with the reasons in docs/benchmarks.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import files, production, programs
from bench.model import ClonedDatabase, Comparison, Quantity, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[Path, Path], Scenario]
    """Writes the scenario's files into a folder; the second path is psql."""

OURS, SINGLE = "ours", "ours --single-transaction"
PSQL, PSQL_EACH = "one psql session", "a psql for each file"
FLEET, PSQL_TARGET, FLEET_STATUS = "inv fleet.migrate", "a psql for each target", "seconds of inv fleet.status"
SCHEMA_CHECK, SCHEMA_DUMP = "inv db.verify --schema", "pg_dump --schema-only"
LOOP = "a plain loop"
STATUS, BARE, LIST, BARE_LIST = "inv db.status", "a bare task", "inv --list", "--list of one task"
FIRST, AGAIN = "the first copy", "the next copy, kept"
STATUS_FEW, STATUS_MANY, NOTHING_TO_DO = "status, 15 applied", "status, 5,000 applied", "migrate, nothing to do"
CHECK, UNTOUCHED = "check of a rewritten table", "check of an untouched one"
ROW_HASH_SUMS = "sum(hashtext(t::text)) of both sides"

_MEGABYTE = 1_000_000
_PROCESS_BYTES = 150 * _MEGABYTE
_BACKEND_BYTES = 100 * _MEGABYTE
_ENTRIES = "(SELECT count(*) FROM schema_migrations) = 1 AND (SELECT count(*) FROM entry) ="


def small_200(folder: Path, psql: Path) -> Scenario:
    """200 small migrations from zero."""
    made = files.small(folder, 200)
    return Scenario(
        name="200 small migrations",
        programs=(
            programs.kernel_task(OURS, made, "db.migrate"),
            programs.kernel_task(SINGLE, made, "db.migrate", "--single-transaction"),
            programs.psql_session(PSQL, made, psql),
            programs.psql_each(PSQL_EACH, made, psql),
            programs.plain_loop(LOOP, made),
        ),
        comparisons=(
            Comparison(program=OURS, reference=PSQL, at_most=1.4),
            Comparison(program=SINGLE, reference=PSQL),
            Comparison(program=OURS, reference=PSQL_EACH),
            Comparison(program=OURS, reference=LOOP),
        ),
        proof=_made_accounts(200),
    )


def small_1000(folder: Path, psql: Path) -> Scenario:
    """1,000 small migrations from zero."""
    made = files.small(folder, 1000)
    return Scenario(
        name="1,000 small migrations",
        programs=(
            programs.kernel_task(OURS, made, "db.migrate"),
            programs.kernel_task(SINGLE, made, "db.migrate", "--single-transaction"),
            programs.psql_session(PSQL, made, psql),
            programs.plain_loop(LOOP, made),
        ),
        comparisons=(
            Comparison(program=OURS, reference=PSQL, at_most=1.05),
            Comparison(program=SINGLE, reference=PSQL, at_most=0.9),
            Comparison(program=OURS, reference=LOOP),
        ),
        proof=_made_accounts(1000),
    )


def start_up(folder: Path, _psql: Path) -> Scenario:
    """What a task costs before and after its work."""
    made = files.small(folder, 15)
    return Scenario(
        name="start-up",
        programs=(
            programs.kernel_task(STATUS, made, "db.status", applied=True),
            programs.bare_task(BARE, made, "ping"),
            programs.kernel_task(LIST, made, "--list", applied=True),
            programs.bare_task(BARE_LIST, made, "--list"),
        ),
        comparisons=(
            Comparison(program=STATUS, reference=BARE, at_most=1.3),
            Comparison(program=LIST, reference=BARE_LIST),
        ),
        proof="SELECT count(*) = 15 FROM schema_migrations",
    )


def long_history(folder: Path, _psql: Path) -> Scenario:
    """5,000 applied files: reading them is fast compared with starting."""
    few, many = files.small(folder / "few", 15), files.small(folder / "many", 5000)
    return Scenario(
        name="5,000 applied files",
        programs=(
            programs.kernel_task(STATUS_FEW, few, "db.status", applied=True),
            programs.kernel_task(STATUS_MANY, many, "db.status", applied=True),
            programs.kernel_task(NOTHING_TO_DO, many, "db.migrate", applied=True),
        ),
        comparisons=(
            Comparison(program=STATUS_MANY, reference=STATUS_FEW, at_most=1.5),
            Comparison(program=NOTHING_TO_DO, reference=STATUS_FEW),
        ),
        proof="SELECT count(*) IN (15, 5000) FROM schema_migrations",
    )


def inserts_3mb(folder: Path, psql: Path) -> Scenario:
    """20,000 INSERTs in one file."""
    made = files.inserts(folder, 20_000)
    return Scenario(
        name="20,000 INSERTs, 3 MB",
        programs=(
            programs.kernel_task(OURS, made, "db.migrate"),
            programs.psql_large(PSQL, made, psql),
            programs.plain_loop(LOOP, made),
        ),
        comparisons=(
            Comparison(program=OURS, reference=PSQL, at_most=0.25),
            Comparison(program=LOOP, reference=PSQL),
        ),
        proof=f"SELECT {_ENTRIES} 20000",
    )


def inserts_60mb(folder: Path, psql: Path) -> Scenario:
    """400,000 INSERTs in one file, with the memory of client and server."""
    made = files.inserts(folder, 400_000)
    return Scenario(
        name="400,000 INSERTs, 60 MB",
        programs=(
            programs.kernel_task(OURS, made, "db.migrate"),
            programs.psql_large(PSQL, made, psql),
            programs.plain_loop(LOOP, made),
        ),
        comparisons=(
            Comparison(program=OURS, reference=PSQL, at_most=0.35),
            Comparison(program=LOOP, reference=PSQL),
            *_memory(OURS, LOOP),
        ),
        proof=f"SELECT {_ENTRIES} 400000",
    )


def copy_1gb(folder: Path, psql: Path) -> Scenario:
    """A gigabyte of COPY data in one file: memory does not grow."""
    made = files.copy(folder, 12_000_000)
    return Scenario(
        name="12,000,000 rows of COPY, 1 GB",
        programs=(
            programs.kernel_task(OURS, made, "db.migrate"),
            programs.psql_large(PSQL, made, psql),
        ),
        comparisons=(
            Comparison(program=OURS, reference=PSQL),
            *_memory(OURS),
        ),
        proof=f"SELECT {_ENTRIES} 12000000",
    )


def rehearsal_copy(folder: Path, psql: Path) -> Scenario:
    """A dump of pgbench's tables and the Kernel's schema, restored for the first rehearsal, cloned for the next."""
    scale = 50
    made, rows = files.small(folder, 1), scale * production.ACCOUNTS_PER_BRANCH
    dump, store = production.dump(folder / "production.sql", scale, psql), folder / "store"
    return Scenario(
        name=f"a dump of {rows:,} rows",
        programs=(
            programs.psql_restore(PSQL, made, dump, psql),
            programs.clone_dump(FIRST, made, dump, rows),
            programs.clone_dump(AGAIN, made, dump, rows, store=store),
        ),
        comparisons=(
            Comparison(program=FIRST, reference=PSQL, at_most=0.8),
            Comparison(program=AGAIN, reference=PSQL, at_most=0.15),
        ),
        proof="SELECT true",  # the other programs use servers of their own, and check the rows themselves
    )


def data(folder: Path, _psql: Path) -> Scenario:
    """The comparison of 5,000,000 rows that were rewritten and are unchanged."""
    rows = 5_000_000
    made = files.small(folder, 1)
    account = "SELECT n AS id, n % 50 AS branch, 0 AS balance, repeat('x', 84)::char(84) AS filler"
    template = (
        f"CREATE TABLE account AS {account} FROM generate_series(1, {rows}) AS n",
        "ALTER TABLE account ADD PRIMARY KEY (id)",
        "VACUUM (FREEZE, ANALYZE) account",
    )
    rewritten = ClonedDatabase(template=template, migration="ALTER TABLE account ALTER id TYPE bigint")
    return Scenario(
        name="data of 5,000,000 rows",
        programs=(
            programs.data_check(CHECK, made, rewritten),
            programs.data_check(UNTOUCHED, made, ClonedDatabase(template=template)),
            programs.row_hash_sums(ROW_HASH_SUMS, made, rewritten, "account"),
        ),
        comparisons=(
            Comparison(program=CHECK, reference=ROW_HASH_SUMS, at_most=0.5),
            Comparison(program=UNTOUCHED, reference=CHECK),
            Comparison(program=CHECK, reference=UNTOUCHED, rows=rows, at_least=5_000_000),
        ),
        proof=f"SELECT count(*) = {rows} FROM account",
    )


def schema_2000(folder: Path, psql: Path) -> Scenario:
    """The catalog of a database of 2,000 tables compared with the files that made it, which were built before."""
    made = files.small(folder, 2000)
    database = ClonedDatabase(template=((folder / "all.sql").read_text(encoding="utf-8"),))
    return Scenario(
        name="the schema of 2,000 tables",
        programs=(
            programs.schema_check(SCHEMA_CHECK, made, database),
            programs.schema_dump(SCHEMA_DUMP, made, database, psql),
        ),
        comparisons=(Comparison(program=SCHEMA_CHECK, reference=SCHEMA_DUMP),),
        proof=_made_accounts(2000),
    )


def fleet_1000(folder: Path, psql: Path) -> Scenario:
    """Five files in each of 1,000 schemas, eight at a time, with the memory of the coordinator; and their status."""
    made = files.small(folder, 5)
    return Scenario(
        name="5 files in 1,000 schemas",
        programs=(
            programs.fleet(FLEET, made, "ours", psql, schemas=1000),
            programs.fleet(PSQL_TARGET, made, "psql", psql, schemas=1000),
            programs.fleet(FLEET_STATUS, made, "status", psql, schemas=1000),
        ),
        comparisons=(
            Comparison(program=FLEET, reference=PSQL_TARGET, at_most=1.3),
            Comparison(program=FLEET, reference=None, quantity=Quantity.PROCESS_BYTES, at_most=200 * _MEGABYTE),
            Comparison(program=FLEET_STATUS, reference=None, at_most=5),
        ),
        proof=_made_in_schemas(1000),
    )


def fleet_200(folder: Path, psql: Path) -> Scenario:
    """Five files in each of 200 databases, half of them on a second server."""
    made = files.small(folder, 5)
    return Scenario(
        name="5 files in 200 databases on 2 servers",
        programs=(
            programs.fleet(FLEET, made, "ours", psql, databases=200),
            programs.fleet(PSQL_TARGET, made, "psql", psql, databases=200),
        ),
        comparisons=(Comparison(program=FLEET, reference=PSQL_TARGET, at_most=1.3),),
        proof="SELECT true",  # the databases are gone; both programs end with an error if one of them fails
    )


def fleet_1200(folder: Path, psql: Path) -> Scenario:
    """Both in one run."""
    made = files.small(folder, 5)
    return Scenario(
        name="5 files in 1,000 schemas and 200 databases",
        programs=(
            programs.fleet(FLEET, made, "ours", psql, schemas=1000, databases=200),
            programs.fleet(PSQL_TARGET, made, "psql", psql, schemas=1000, databases=200),
        ),
        comparisons=(Comparison(program=FLEET, reference=PSQL_TARGET, at_most=1.3),),
        proof=_made_in_schemas(1000),
    )


def _made_in_schemas(schemas: int) -> str:
    return f"SELECT count(*) = {schemas * 5} FROM pg_class WHERE relkind = 'r' AND relname ~ '^account_[0-9]+$'"


USUAL: dict[str, Make] = {
    "small-200": small_200,
    "small-1000": small_1000,
    "start-up": start_up,
    "long-history": long_history,
    "inserts-3mb": inserts_3mb,
    "inserts-60mb": inserts_60mb,
}
LONG: dict[str, Make] = {
    "copy-1gb": copy_1gb,
    "data": data,
    "rehearsal-copy": rehearsal_copy,
    "schema-2000": schema_2000,
    "fleet-1000": fleet_1000,
    "fleet-200": fleet_200,
    "fleet-1200": fleet_1200,
}
"""Minutes, and gigabytes of disk."""


def _made_accounts(count: int) -> str:
    tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^account_[0-9]+$'"
    return f"SELECT (SELECT count(*) FROM schema_migrations) = {count} AND ({tables}) = {count}"


def _memory(program: str, *others: str) -> tuple[Comparison, ...]:
    """The memory targets of one program; the others have none. psql reads a file line by line."""
    backend, process = Quantity.BACKEND_BYTES, Quantity.PROCESS_BYTES
    return (
        Comparison(program=program, reference=None, quantity=process, at_most=_PROCESS_BYTES),
        *(Comparison(program=other, reference=None, quantity=process) for other in others),
        Comparison(program=program, reference=PSQL, quantity=backend, at_most=_BACKEND_BYTES),
        *(Comparison(program=other, reference=PSQL, quantity=backend) for other in others),
    )
