"""Rehearsals for tests of the reports: one that passes, one that fails in every way, a huge one, a hostile one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import cycle

from kernel.errors import Failure
from kernel.lint.finding import Finding, Severity
from kernel.lint.fingerprint import add_fingerprints
from kernel.lint.rules import ALL_RULES
from kernel.rehearsal.result import (
    BlockedTime,
    ColumnChange,
    DumpSource,
    Practice,
    Receipt,
    RefusedSuggestion,
    Rehearsal,
    Relation,
    Restore,
    RowsWritten,
    RunFailure,
    Scan,
    Standstill,
    SuggestedFile,
    Suggestion,
    SuggestionResult,
    SuggestionTrial,
    TableContent,
    Unexpected,
    Violation,
)
from tests.unit.runs import line_offset, lock, run, statement

ORDERS = Relation(oid=16_400, name="public.orders", rows=4_012_331, size_bytes=1_204_338_688)
ORDERS_KEY = Relation(
    oid=16_404, name="public.orders_pkey", kind="index", rows=4_012_331, size_bytes=90_136_576, table="public.orders"
)
USERS = Relation(oid=16_420, name="public.users", rows=181_204, size_bytes=41_287_680)
INVOICES = Relation(oid=16_440, name="billing.invoices", rows=912_440, size_bytes=268_435_456)
TERMS = Relation(oid=16_460, name="public.business_terms", rows=212, size_bytes=98_304)
NOTES = Relation(oid=16_480, name="public.order_notes", created=True)

BEGAN_AT = datetime(2026, 11, 1, 8, 5, tzinfo=UTC)
SOURCE = DumpSource(
    name="shop-2026-11-01.dump",
    kind="custom archive",
    size_bytes=318_442_112,
    server_version="15.18",
)
ENVIRONMENT = (
    ("server_version", "15.18 (Debian 15.18-0+deb12u1)"),
    ("lock_timeout", "5s"),
    ("statement_timeout", "0"),
    ("work_mem", "4MB"),
    ("maintenance_work_mem", "64MB"),
    ("wal_level", "replica"),
    ("TimeZone", "UTC"),
    ("processors", "2"),
)


NOTES_RUN = run(
    statement(
        "CREATE TABLE order_notes (\n"
        "    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n"
        "    order_id bigint NOT NULL REFERENCES orders (id),\n"
        "    body text NOT NULL\n);",
        line=3,
        at=0.0006,
        seconds=0.0118,
        locks=(
            lock(NOTES, "ACCESS EXCLUSIVE", 0.0218, at=0.0008),
            lock(ORDERS, "SHARE ROW EXCLUSIVE", 0.0145, at=0.0081),
            lock(ORDERS_KEY, "ACCESS SHARE", 0.0147, at=0.0079),
        ),
        wal_bytes=41_208,
    ),
    statement(
        "CREATE INDEX order_notes_order_id_idx ON order_notes (order_id);",
        line=9,
        at=0.0126,
        seconds=0.0052,
        locks=(lock(NOTES, "SHARE", 0.0099, at=0.0127),),
        wal_bytes=7_112,
    ),
    version="016",
    filename="016_create_order_notes.sql",
    at=0.0,
    seconds=0.0231,
    wal_bytes=48_320,
    growth_bytes=40_960,
)
WIDEN_RUN = run(
    statement(
        "UPDATE users SET last_order_id = NULL WHERE last_order_id = 0;",
        line=4,
        at=0.312,
        seconds=1.204,
        locks=(lock(USERS, "ROW EXCLUSIVE", 43.17, at=0.3124),),
        scans=(Scan(relation=USERS, rows=181_204, held_lock_mode="ROW EXCLUSIVE"),),
        written=(RowsWritten(relation=USERS, updated=12_004),),
        wal_bytes=2_118_144,
    ),
    statement(
        "ALTER TABLE orders\n    ALTER COLUMN id TYPE bigint,\n    ALTER COLUMN customer_id TYPE bigint;",
        line=5,
        at=1.518,
        seconds=37.914,
        locks=(
            lock(ORDERS, "ACCESS EXCLUSIVE", 41.38, at=2.112, waited=0.592),
            lock(ORDERS_KEY, "ACCESS EXCLUSIVE", 41.379, at=2.113),
        ),
        rewrites=(ORDERS,),
        index_rebuilds=(ORDERS_KEY,),
        scans=(Scan(relation=ORDERS, rows=4_012_331, held_lock_mode="ACCESS EXCLUSIVE"),),
        wal_bytes=1_310_000_000,
    ),
    statement(
        "CREATE INDEX invoices_order_id_idx ON billing.invoices (order_id);",
        line=9,
        at=39.44,
        seconds=3.88,
        locks=(lock(INVOICES, "SHARE", 4.051, at=39.441),),
        scans=(Scan(relation=INVOICES, rows=912_440, held_lock_mode="SHARE"),),
        wal_bytes=90_000_000,
        notes=('WARNING: index "invoices_order_id_idx" will be large',),
    ),
    statement(
        "DO $$\nBEGIN\n    ALTER TABLE users ALTER COLUMN email SET NOT NULL;\n"
        "    COMMENT ON COLUMN users.email IS 'where bills go';\nEND\n$$;",
        line=10,
        at=43.322,
        seconds=0.146,
        locks=(lock(USERS, "ACCESS EXCLUSIVE", 0.168, at=43.324),),
        scans=(Scan(relation=USERS, rows=181_204, held_lock_mode="ACCESS EXCLUSIVE"),),
        commands=("ALTER TABLE public.users", "COMMENT public.users.email"),
    ),
    version="017",
    filename="017_widen_order_ids.sql",
    at=0.31,
    seconds=43.182,
    wal_bytes=1_402_118_144,
    growth_bytes=16_777_216,
)
TERMS_RUN = run(
    statement(
        "DELETE FROM business_terms WHERE effective_from < '2020-01-01';",
        line=2,
        at=43.901,
        seconds=0.018,
        locks=(lock(TERMS, "ROW EXCLUSIVE", 0.41, at=43.901),),
        written=(RowsWritten(relation=TERMS, deleted=14),),
        wal_bytes=18_000,
    ),
    version="018",
    filename="018_require_effective_from.sql",
    at=43.9,
    seconds=0.412,
    wal_bytes=212_992,
    growth_bytes=-98_304,
    failed=RunFailure(
        code="migration_failed",
        message='column "effective_from" of relation "business_terms" contains null values',
        aftermath="rolled back: the database is as it was before this file",
        hint="fill the column first, or add the rows' values in an earlier migration",
        failure=Failure(
            file="018_require_effective_from.sql",
            line=4,
            column=1,
            statement="ALTER TABLE business_terms ALTER COLUMN effective_from SET NOT NULL;",
            excerpt="3 |\n4 | ALTER TABLE business_terms ALTER COLUMN effective_from SET NOT NULL;\n  | ^",
            sqlstate="23502",
            detail="Failing column: effective_from",
            context="PL/pgSQL function audit() line 3",
        ),
        violations=(
            Violation(
                relation="public.business_terms",
                constraint="effective_from NOT NULL",
                rows=31,
                query="SELECT * FROM public.business_terms AS t WHERE t.effective_from IS NULL",
                check="-- migrate: check no row of public.business_terms violates effective_from NOT NULL\n"
                "SELECT NOT EXISTS (SELECT * FROM public.business_terms AS t WHERE t.effective_from IS NULL);",
            ),
        ),
    ),
)
REWRITE = Finding(
    rule="rewrite-under-lock",
    severity=Severity.ERROR,
    message="4 012 331 rows of public.orders (1.20 GB) were rewritten while nobody could read or write it, for 41.4 s",
    remedy="add a bigint column beside it, fill it in batches, then swap the two names in a short transaction",
    version="017",
    filename="017_widen_order_ids.sql",
    line=5,
    offset=line_offset(5),
    relation="public.orders",
)
LOSS = Finding(
    rule="rows-removed",
    severity=Severity.ERROR,
    message="14 rows of public.business_terms are gone, and no migration declares it",
    remedy="keep the rows, or declare it in the file: -- rehearse: rows business_terms=-14",
    version="018",
    filename="018_require_effective_from.sql",
    line=2,
    offset=line_offset(2),
    relation="public.business_terms",
)
INDEX = Finding(
    rule="index-not-concurrent",
    severity=Severity.WARNING,
    message="billing.invoices took no writes for 4.05 s while an index was built on its 912 440 rows",
    remedy="CREATE INDEX CONCURRENTLY, alone in a file of its own",
    version="017",
    filename="017_widen_order_ids.sql",
    line=9,
    offset=line_offset(9),
    relation="billing.invoices",
)
TIMEOUT = Finding(
    rule="no-lock-timeout",
    severity=Severity.WARNING,
    message="the migration waited 592 ms for public.orders, and every other session waited behind it",
    remedy="-- migrate: lock_timeout=2s",
    version="017",
    filename="017_widen_order_ids.sql",
    relation="public.orders",
)
FEARED = Finding(
    rule="foreign-key-locks-parent",
    severity=Severity.HARMLESS,
    message="the foreign key shut writes out of public.orders for 14.5 ms: the new table has no rows to check",
    remedy="",
    version="016",
    filename="016_create_order_notes.sql",
    line=5,
    offset=line_offset(5),
    relation="public.orders",
)
DEARER = Finding(
    rule="plan-regression",
    severity=Severity.WARNING,
    message="orders.sql:3: its plan costs 98 412, before 9"
    "\nbefore:\nIndex Scan using orders_pkey on orders  (cost=0.43..8.45)\n  Index Cond: (id = 7)"
    "\nafter:\nSeq Scan on orders  (cost=0.00..98412.20)\n  Filter: ((id)::text = '7'::text)",
    remedy="compare both plans; an index for the new type or a statistics target may be missing",
    version="017",
    filename="017_widen_order_ids.sql",
)
PRACTICES = (
    Practice(name="Safe to run again", held=True),
    Practice(name="Incremental: one change in each file", held=True),
    Practice(name="Backward compatible", held=True),
    Practice(
        name="The revert files bring back schema and data",
        held=None,
        details=("016_create_order_notes.sql has no revert file",),
    ),
)
_UNTOUCHED = "no tuple written, the same file on disk"


def untouched(table: str, rows: int) -> Receipt:
    return Receipt(table=table, rows_before=rows, rows_after=rows, content=TableContent.SAME, proof=_UNTOUCHED)


def suggested() -> SuggestionResult:
    """An index built concurrently and a type change that blocks writers; values of the clock differ."""
    version, filename = WIDEN_RUN.version, WIDEN_RUN.filename
    files = (
        SuggestedFile(filename="017_widen_order_ids.sql", text="ALTER TABLE orders ALTER COLUMN id TYPE bigint;\n"),
        SuggestedFile(
            filename="018_widen_order_ids_index.sql",
            text="-- migrate: no-transaction\n\nCREATE INDEX CONCURRENTLY ON billing.invoices (order_id);\n",
        ),
    )
    after = tuple(
        run(
            statement(
                file.text.splitlines()[-1],
                line=3 if at else 1,
                at=100.001 + 41.4 * at,
                seconds=41.3 if not at else 5.9,
                locks=(lock(relation, mode, 41.3 if not at else 5.9, at=100.001 + 41.4 * at),),
            ),
            version=file.filename[:3],
            filename=file.filename,
            at=100.0 + 41.4 * at,
            seconds=41.4 if not at else 6.0,
            transactional=not at,
        )
        for at, (file, relation, mode) in enumerate(
            zip(files, (ORDERS, INVOICES), ("ACCESS EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"), strict=True)
        )
    )
    return SuggestionResult(
        trials=(
            SuggestionTrial(
                suggestion=Suggestion(
                    version=version,
                    filename=filename,
                    files=files,
                    refused=(RefusedSuggestion(rule="type-change-rewrites", line=5, reason="a view depends on id"),),
                ),
                original_run=WIDEN_RUN,
                suggested_runs=after,
                blocked_before=(
                    BlockedTime(relation=ORDERS, version=version, reads_seconds=41.38, writes_seconds=41.38),
                    BlockedTime(relation=INVOICES, version=version, reads_seconds=0.0, writes_seconds=4.051),
                ),
                blocked_after=(
                    BlockedTime(relation=USERS, version=version, reads_seconds=0.002, writes_seconds=0.002),
                    BlockedTime(relation=ORDERS, version=version, reads_seconds=41.3, writes_seconds=41.3),
                ),
            ),
        ),
        refused=(
            (filename, RefusedSuggestion(rule="type-change-rewrites", line=5, reason="a view depends on id")),
            ("018_require_effective_from.sql", RefusedSuggestion(rule="set-not-null-scans", line=4, reason="it fails")),
        ),
        nondeterministic_values=("public.users: 12 004 values of touched_at",),
        seconds=61.2,
    )


def passing() -> Rehearsal:
    """One harmless migration."""
    return Rehearsal(
        database="db.shop.internal:5432/shop",
        source=SOURCE,
        restore=Restore(seconds=12.41, size_bytes=1_982_464_000, reused=True, clone_seconds=0.482),
        runs=(NOTES_RUN,),
        blocked=(BlockedTime(relation=ORDERS, version="016", reads_seconds=0.0, writes_seconds=0.0145),),
        receipts=(
            Receipt(
                table="public.order_notes",
                rows_before=None,
                rows_after=0,
                content=TableContent.EXPECTED,
                proof="made by 016_create_order_notes.sql",
            ),
            untouched("public.orders", 4_012_331),
            untouched("public.users", 181_204),
        ),
        schema=("table public.order_notes is new: 3 columns, a primary key, a foreign key to public.orders",),
        practices=PRACTICES,
        rerun_safe=True,
        traffic=(Standstill(relation="public.orders", writes_longest_seconds=0.016, writes_total_seconds=0.016),),
        findings=(FEARED,),
        environment=ENVIRONMENT,
        began_at=BEGAN_AT,
        seconds=2.318,
    )


def failing() -> Rehearsal:
    """A rewrite under traffic, rows lost, and a migration that fails on data."""
    return Rehearsal(
        database="db.shop.internal:5432/shop",
        source=SOURCE,
        restore=Restore(
            seconds=12.41,
            size_bytes=1_982_464_000,
            clone_seconds=0.482,
            warnings=(
                "extension pg_cron: not here, its 2 jobs were left out",
                "role reporting: made without a password",
            ),
        ),
        runs=(NOTES_RUN, WIDEN_RUN, TERMS_RUN),
        blocked=(
            BlockedTime(relation=ORDERS, version="016", reads_seconds=0.0, writes_seconds=0.0145),
            BlockedTime(relation=ORDERS, version="017", reads_seconds=41.38, writes_seconds=41.38),
            BlockedTime(relation=INVOICES, version="017", reads_seconds=0.0, writes_seconds=4.051),
            BlockedTime(relation=USERS, version="017", reads_seconds=0.168, writes_seconds=0.168),
        ),
        receipts=(
            untouched("billing.invoices", 912_440),
            Receipt(
                table="public.business_terms",
                rows_before=212,
                rows_after=198,
                content=TableContent.CHANGED,
                removed=14,
                unexpected=(Unexpected(what="14 rows are gone, and no migration declares it"),),
                proof="every row compared by its key",
                query="SELECT * FROM golden.business_terms\nEXCEPT\nSELECT * FROM clone.business_terms;",
                seconds=0.021,
            ),
            Receipt(
                table="public.orders",
                rows_before=4_012_331,
                rows_after=4_012_331,
                content=TableContent.SAME,
                proof="every row compared by its key (id), 11 columns; int to bigint is the same value",
                seconds=1.912,
            ),
            Receipt(
                table="public.users",
                rows_before=181_204,
                rows_after=181_204,
                content=TableContent.EXPECTED,
                changed=12_004,
                columns=(ColumnChange(column="last_order_id", rows=12_004, detail="0 became null"),),
                proof="every row compared by its key (id), 9 columns",
                seconds=0.088,
            ),
            untouched("public.audit_ledger", 18_220_117),
            untouched("public.data_contracts", 841),
        ),
        schema=(
            "column public.orders.id: integer becomes bigint",
            "column public.orders.customer_id: integer becomes bigint",
            "index billing.invoices_order_id_idx is new: btree (order_id)",
            "column public.users.email: not null",
        ),
        practices=(
            Practice(
                name="Safe to run again",
                held=False,
                details=('017_widen_order_ids.sql:9: relation "invoices_order_id_idx" already exists (42P07)',),
            ),
            *PRACTICES[1:],
        ),
        rerun_safe=False,
        traffic=(
            Standstill(
                relation="public.orders",
                reads_longest_seconds=41.92,
                reads_total_seconds=41.94,
                writes_longest_seconds=41.91,
                writes_total_seconds=41.95,
                queued=38,
            ),
            Standstill(relation="billing.invoices", writes_longest_seconds=4.06, writes_total_seconds=4.06, queued=6),
        ),
        findings=(REWRITE, LOSS, INDEX, TIMEOUT, DEARER, FEARED),
        advice=suggested(),
        reasons=(REWRITE, LOSS, INDEX, TIMEOUT),
        environment=ENVIRONMENT,
        began_at=BEGAN_AT,
        seconds=112.4,
    )


def huge() -> Rehearsal:
    """Three hundred tables, a migration that locks all of them, and more reasons than a screen holds."""
    tables = [
        Relation(
            oid=20_000 + number,
            name=f"tenant_{number // 10:02}.measurements_of_kind_{number}",
            rows=1_000 * number,
            size_bytes=8_192 * number,
        )
        for number in range(300)
    ]
    locks = tuple(
        lock(one, "ACCESS EXCLUSIVE" if one.oid % 3 else "SHARE", 3.2 - 0.01 * at, at=0.01 * at)
        for at, one in enumerate(tables)
    )
    statements = tuple(
        statement(
            f"ALTER TABLE {lock.relation.name} ADD COLUMN note text;",
            line=at + 1,
            at=0.01 * at,
            seconds=0.0098,
            locks=(lock,),
            wal_bytes=812,
        )
        for at, lock in enumerate(locks)
    )
    found = tuple(
        Finding(
            rule="locks-chained",
            severity=Severity.ERROR if number < 20 else Severity.WARNING,
            message=f"{one.name} stayed shut for {3.2 - 0.01 * number:.2f} s, while {300 - number} more were altered",
            remedy="alter each table in a migration of its own",
            version="020",
            filename="020_add_notes.sql",
            line=number + 1,
            relation=one.name,
        )
        for number, one in enumerate(tables[:60])
    )
    return Rehearsal(
        database="localhost:5432/warehouse",
        source=DumpSource(name="warehouse.sql.zst", kind="plain dump", size_bytes=48_112, server_version="17.10"),
        restore=Restore(seconds=205.2, size_bytes=92_000_112_640, clone_seconds=31.2),
        runs=(run(*statements, version="020", filename="020_add_notes.sql", at=0.0, seconds=3.2, wal_bytes=243_600),),
        blocked=tuple(
            BlockedTime(
                relation=lock.relation,
                version="020",
                reads_seconds=lock.held_seconds if lock.mode == "ACCESS EXCLUSIVE" else 0.0,
                writes_seconds=lock.held_seconds,
            )
            for lock in locks
        ),
        receipts=tuple(untouched(one.name, one.rows) for one in tables),
        findings=found,
        reasons=found,
        environment=ENVIRONMENT,
        began_at=BEGAN_AT,
        seconds=268.0,
    )


# What a dump may hold: markup, quotes, ends of elements, marks that turn the reading direction, controls, long names.
HOSTILE = (
    'public."</script><script>alert(1)</script>"',
    "public.\"' onmouseover='alert(2)\"",
    'public."\\" autofocus onfocus=alert(3) x=\\""',
    'public."</title></style><img src=https://example.invalid/x onerror=alert(4)>"',
    'public."\N{RIGHT-TO-LEFT OVERRIDE}sresu\N{POP DIRECTIONAL FORMATTING}"',
    'public."line\nbreak\x1b[31mred\x07\r"',
    'public."שלום"',
    'public."表格"',
    "public." + "w" * 63,
    'public."zero\N{ZERO WIDTH SPACE}width\N{HANGUL FILLER}"',
    'public."half \ud800"',
)


def _hostile_advice(relations: list[Relation]) -> SuggestionResult:
    tried = run(version="021", filename=HOSTILE[0], seconds=1.0)
    refused = tuple(RefusedSuggestion(rule=text, line=1, reason=text) for text in HOSTILE)
    shut = tuple(BlockedTime(relation=one, version="021", reads_seconds=0.5, writes_seconds=1.0) for one in relations)
    return SuggestionResult(
        trials=(
            SuggestionTrial(
                suggestion=Suggestion(
                    version="021",
                    filename=HOSTILE[0],
                    files=tuple(SuggestedFile(filename=text, text=text) for text in HOSTILE),
                    refused=refused,
                ),
                original_run=tried,
                suggested_runs=(tried,),
                blocked_before=shut,
                blocked_after=shut,
            ),
        ),
        refused=tuple((text, one) for text, one in zip(HOSTILE, refused, strict=True)),
        differences=HOSTILE,
        nondeterministic_values=HOSTILE,
    )


def hostile() -> Rehearsal:
    """A rehearsal in which every text attempts an injection."""
    relations = [Relation(oid=30_000 + at, name=text, rows=5, size_bytes=8_192) for at, text in enumerate(HOSTILE)]
    everything = "\n".join(HOSTILE)
    statements = tuple(
        statement(
            f"SELECT '{one.name}' AS \"]]>&lt;\";\r\n-- {everything}",
            line=1 + at,
            at=0.1 * at,
            seconds=0.1,
            locks=(lock(one, "ACCESS EXCLUSIVE", 1.5 - 0.1 * at, at=0.1 * at),),
            rewrites=(one,),
            commands=(one.name, one.name),
            notes=(f"NOTICE: {one.name}",),
        )
        for at, one in enumerate(relations)
    )
    found = tuple(
        Finding(
            rule=f"rule-{one.name}",
            severity=Severity.ERROR,
            message=one.name,
            remedy=one.name,
            version="021",
            filename=f"021_{one.name}.sql",
            line=1,
            relation=one.name,
        )
        for one in relations
    )
    failure = Failure(file=everything, line=1, excerpt=everything, sqlstate="42601", detail=everything)
    return Rehearsal(
        database=HOSTILE[3],
        source=DumpSource(name=HOSTILE[3], kind=HOSTILE[0], size_bytes=1, server_version=HOSTILE[2]),
        restore=Restore(seconds=0.1, size_bytes=8_192, warnings=HOSTILE),
        runs=(
            run(
                *statements,
                version="021",
                filename=HOSTILE[0],
                at=0.0,
                seconds=1.5,
                failed=RunFailure(
                    code="migration_failed",
                    message=everything,
                    aftermath=everything,
                    hint=everything,
                    failure=failure,
                    violations=tuple(
                        Violation(relation=text, constraint=text, rows=1, query=text, check=text) for text in HOSTILE
                    ),
                ),
                transactional=False,
            ),
        ),
        blocked=tuple(
            BlockedTime(relation=one, version="021", reads_seconds=1.0, writes_seconds=1.0) for one in relations
        ),
        receipts=tuple(
            Receipt(
                table=text,
                rows_before=5,
                rows_after=6,
                content=TableContent.CHANGED,
                added=1,
                columns=(ColumnChange(column=text, rows=1, detail=text),),
                unexpected=(Unexpected(what=text),),
                proof=text,
                query=text,
            )
            for text in HOSTILE
        ),
        schema=HOSTILE,
        practices=tuple(Practice(name=text, held=False, details=(text,)) for text in HOSTILE),
        traffic=tuple(Standstill(relation=text, reads_longest_seconds=1.0, queued=1) for text in HOSTILE),
        findings=found,
        reasons=found,
        environment=tuple((text, text) for text in HOSTILE),
        advice=_hostile_advice(relations),
        seconds=2.0,
    )


SAMPLES = {"passing": passing, "failing": failing, "huge": huge, "hostile": hostile}


def sample_with_known_rules(name: str) -> Rehearsal:
    """A sample whose findings have rules of the linter and fingerprints, as those of a rehearsal have."""
    rehearsal = SAMPLES[name]()
    rules = {one.rule: rule.id for one, rule in zip(rehearsal.findings, cycle(ALL_RULES), strict=False)}
    findings = [replace(one, rule=rules[one.rule]) for one in rehearsal.findings]
    return replace(
        rehearsal,
        findings=tuple(add_fingerprints(findings, [b""] * len(findings))),
        reasons=tuple(replace(one, rule=rules[one.rule]) for one in rehearsal.reasons),
    )
