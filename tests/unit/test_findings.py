"""Findings made of values: measurements against the linter's findings, without a server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernel.errors import Failure
from kernel.lint.finding import Finding, Severity
from kernel.lint.lint import AcceptedRule
from kernel.rehearsal.data.integrity import (
    IntegrityReport,
    KeyNearLimit,
    LostSafeguard,
    SequenceBehind,
    UnvalidatedConstraint,
)
from kernel.rehearsal.findings.evidence import Evidence
from kernel.rehearsal.findings.statements import is_same_relation
from kernel.rehearsal.findings.verdict import collect_findings, decisive_findings
from kernel.rehearsal.practices.result import PracticeFault
from kernel.rehearsal.result import (
    BlockedTime,
    Limits,
    Receipt,
    Relation,
    RowsWritten,
    Run,
    RunFailure,
    Scan,
    Standstill,
    TableContent,
    Unexpected,
    Violation,
)
from tests.unit.runs import line_offset, lock, run, statement

ORDERS = Relation(oid=1, name="public.orders", rows=4_000_000, size_bytes=918_000_000)
USERS = Relation(oid=2, name="public.users", rows=1000, size_bytes=131_000)
EMPTY = Relation(oid=3, name="public.fresh")
PART = Relation(oid=4, name="public.events_1", rows=10, size_bytes=8192, root="public.events")
INDEX = "CREATE INDEX i ON orders (note);"
FEARED = Finding(
    rule="create-index-not-concurrently",
    severity=Severity.ERROR,
    message="orders: an index is built",
    remedy="CREATE INDEX CONCURRENTLY",
    version="002",
    filename="002_it.sql",
    line=1,
    relation="orders",
)


def index_built(seconds: float, *, rows: int = 4_000_000) -> Run:
    return run(
        statement(
            INDEX,
            seconds=seconds,
            locks=(lock(ORDERS, "SHARE", seconds),),
            scans=(Scan(relation=ORDERS, rows=rows, held_lock_mode="SHARE"),),
        )
    )


def findings_of(
    *runs: Run, text: tuple[Finding, ...] = (), limits: Limits | None = None, **more: object
) -> list[Finding]:
    evidence = replace(
        Evidence(runs=runs, lint_findings=text, copy_rows=1, limits=limits or Limits()),
        **more,  # type: ignore[arg-type]  # the fields of Evidence
    )
    evidence = replace(
        evidence,
        lint_findings=tuple(map(at_its_line, evidence.lint_findings)),
        accepted_findings=tuple(map(at_its_line, evidence.accepted_findings)),
    )
    return list(collect_findings(evidence))


def at_its_line(found: Finding) -> Finding:
    """A finding of the linter that says its line only, where that line begins."""
    return replace(found, offset=line_offset(found.line)) if found.line and found.offset is None else found


def only(found: list[Finding]) -> Finding:
    (one,) = found
    return one


def test_what_lasts_longer_than_the_limit_is_an_error_with_the_figures() -> None:
    one = only(findings_of(index_built(41.2), text=(FEARED,)))
    assert (one.rule, one.severity) == (FEARED.rule, Severity.ERROR)
    assert "4 000 000 rows read" in one.message
    assert "writes blocked for 41.2 s" in one.message


def test_what_reads_rows_within_the_limit_is_a_warning() -> None:
    assert only(findings_of(index_built(0.003, rows=1000), text=(FEARED,))).severity is Severity.WARNING


def test_what_reads_no_row_and_lasts_a_moment_is_listed_as_harmless() -> None:
    momentary = run(statement(INDEX, locks=(lock(ORDERS, "SHARE", 0.002),)))
    one = only(findings_of(momentary, text=(FEARED,)))
    assert one.severity is Severity.HARMLESS
    assert one.remedy.startswith("nothing")


def test_a_rewrite_of_a_table_without_rows_is_harmless() -> None:
    feared = replace(FEARED, rule="volatile-default", relation="fresh")
    rewritten = run(
        statement(
            "ALTER TABLE fresh ADD COLUMN a uuid DEFAULT gen_random_uuid();",
            locks=(lock(EMPTY, "ACCESS EXCLUSIVE", 0.002),),
            rewrites=(EMPTY,),
        )
    )
    assert only(findings_of(rewritten, text=(feared,))).severity is Severity.HARMLESS


@pytest.mark.parametrize(("limit", "severity"), [(0.0, Severity.ERROR), (0.002, Severity.HARMLESS)])
def test_the_limit_is_what_may_be_and_not_be_passed(limit: float, severity: Severity) -> None:
    momentary = run(statement(INDEX, locks=(lock(ORDERS, "SHARE", 0.002),)))
    assert only(findings_of(momentary, text=(FEARED,), limits=Limits(block_seconds=limit))).severity is severity


def test_new_relations_block_no_session() -> None:
    made = replace(ORDERS, created=True)
    built = run(
        statement(
            INDEX, locks=(lock(made, "SHARE", 9.0),), scans=(Scan(relation=made, rows=9, held_lock_mode="SHARE"),)
        )
    )
    assert findings_of(built) == []


def test_a_measured_impact_without_lint_finding_has_a_finding() -> None:
    one = only(findings_of(index_built(0.5)))
    assert (one.rule, one.relation, one.line) == ("create-index-not-concurrently", "public.orders", 1)


def test_a_file_accepts_what_was_measured_as_well() -> None:
    allow = AcceptedRule(rule="create-index-not-concurrently", version="002", offset=line_offset(1))
    assert findings_of(index_built(41.2), accepted_rules=(allow,)) == []
    assert findings_of(index_built(41.2), accepted_rules=(replace(allow, version="003"),)) != []
    assert findings_of(index_built(41.2), accepted_rules=(replace(allow, rule="data-lost"),)) != []


def test_an_accepted_lock_is_no_standstill_either() -> None:
    shut = BlockedTime(relation=ORDERS, version="002", reads_seconds=0.0, writes_seconds=41.2)
    blocked = Standstill(relation="public.orders", writes_longest_seconds=41.2)
    allow = AcceptedRule(rule=FEARED.rule, version="002")
    found = findings_of(
        index_built(41.2), accepted_findings=(FEARED,), accepted_rules=(allow,), blocking=(shut,), traffic=(blocked,)
    )
    assert found == []


def test_a_standstill_is_one_finding() -> None:
    shut = BlockedTime(relation=ORDERS, version="002", reads_seconds=0.0, writes_seconds=41.2)
    blocked = Standstill(relation="public.orders", writes_longest_seconds=41.2)
    assert (
        only(findings_of(index_built(41.2), text=(FEARED,), blocking=(shut,), traffic=(blocked,))).rule == FEARED.rule
    )


def test_an_unexplained_standstill_is_reported_where_it_began() -> None:
    waiting = run(
        statement("ALTER TABLE users ADD COLUMN a int;", locks=(lock(USERS, "ACCESS EXCLUSIVE", 3.0),)),
        statement("SELECT pg_sleep(3);", line=2, seconds=3.0, at=0.001),
    )
    shut = BlockedTime(relation=USERS, version="002", reads_seconds=3.0, writes_seconds=3.0)
    one = only(findings_of(waiting, blocking=(shut,)))
    assert (one.rule, one.line, one.relation) == ("standstill", 1, "public.users")
    assert "reads and writes blocked for 3.00 s" in one.message


def test_a_relation_is_not_taken_for_one_whose_name_ends_alike() -> None:
    power = Relation(oid=9, name="public.power_users", rows=5)
    waiting = run(statement("SELECT wait();", locks=(lock(power, "ACCESS EXCLUSIVE", 3.0),)))
    shut = BlockedTime(relation=power, version="002", reads_seconds=3.0, writes_seconds=3.0)
    known = replace(FEARED, rule="rename-column", relation="users", line=7, version="003")
    assert {one.rule for one in findings_of(waiting, text=(known,), blocking=(shut,))} == {
        "rename-column",
        "standstill",
    }


def test_standstill_under_traffic_names_the_statement_that_waited() -> None:
    momentary = run(statement("ALTER TABLE users ADD COLUMN a int;", locks=(lock(USERS, "ACCESS EXCLUSIVE", 0.002),)))
    blocked = Standstill(relation="public.users", reads_longest_seconds=5.0, writes_longest_seconds=5.0)
    one = only(findings_of(momentary, traffic=(blocked,)))
    assert (one.rule, one.version, one.line) == ("standstill", "002", 1)


def test_work_under_a_lock_counts_as_far_as_it_prolonged_the_standstill() -> None:
    feared = replace(FEARED, rule="work-under-exclusive-lock", line=2, relation="users")

    def severity_after(took: float) -> Severity:
        first = statement("ALTER TABLE users ADD COLUMN a int;", locks=(lock(USERS, "ACCESS EXCLUSIVE", 3.0),))
        second = statement("SELECT count(*) FROM orders;", line=2, at=0.1, seconds=took)
        return only([one for one in findings_of(run(first, second), text=(feared,)) if one.line == 2]).severity

    assert severity_after(2.9) is Severity.ERROR
    assert severity_after(0.001) is Severity.HARMLESS


def test_statements_on_one_line_keep_their_own_measurements() -> None:
    (heavy,) = index_built(0.5).statements
    harmless = statement("CREATE INDEX ON users (id);", locks=(lock(USERS, "SHARE", 0.001),))
    first, second = replace(FEARED, offset=0), replace(FEARED, offset=40, relation="users")
    for order in ((heavy, harmless), (harmless, heavy)):
        statements = (replace(order[0], offset=0), replace(order[1], offset=40, column=41))
        found = findings_of(run(*statements), text=(first, second))
        severities = {one.offset: one.severity for one in found}
        expected = [Severity.WARNING, Severity.HARMLESS]
        assert [severities[0], severities[40]] == (expected if order[0] is heavy else expected[::-1])


def failing(sqlstate: str, *, line: int = 1, code: str = "migration_failed") -> RunFailure:
    return RunFailure(
        code=code, message="it does not", aftermath="", failure=Failure(file="002_it.sql", line=line, sqlstate=sqlstate)
    )


@pytest.mark.parametrize(
    ("sqlstate", "rule"),
    [("23514", "constraint-violated"), ("22001", "data-does-not-fit"), ("42P01", "migration-failed")],
)
def test_the_class_of_the_sqlstate_decides_the_rule_of_a_failure(sqlstate: str, rule: str) -> None:
    one = only(findings_of(run(statement("SELECT 1;"), failed=failing(sqlstate))))
    assert (one.rule, one.line) == (rule, 1)
    assert sqlstate in one.message


def test_rows_in_the_way_are_counted_and_the_query_that_lists_them_is_the_remedy() -> None:
    violation = Violation(relation="public.users", constraint="c", rows=200, query="SELECT * FROM public.users")
    failed = replace(failing("23514"), violations=(violation,))
    one = only(findings_of(run(statement("SELECT 1;"), failed=failed)))
    assert "200 rows of public.users in its way" in one.message
    assert one.remedy == "list them: SELECT * FROM public.users"


def test_a_failure_that_the_linter_predicted_is_one_finding() -> None:
    feared = replace(FEARED, rule="add-required-column", relation="users")
    found = findings_of(
        run(statement("ALTER TABLE users ADD COLUMN a int NOT NULL;"), failed=failing("23502")), text=(feared,)
    )
    assert only(found).rule == "add-required-column"


def test_of_what_was_not_reached_the_text_is_all_that_is_known() -> None:
    behind = replace(FEARED, line=2)
    later = replace(FEARED, version="003", filename="003_it.sql")
    found = findings_of(run(statement("SELECT 1 / 0;"), failed=failing("22012")), text=(behind, later))
    assert [one.severity for one in found if one.rule == FEARED.rule] == [Severity.ERROR, Severity.ERROR]
    assert all("measured" not in one.message for one in found)


def lost(
    what: str,
    declaration: str = "",
    *,
    table: str = "public.orders",
    after: int | None = 0,
    rows_removed: int | None = None,
) -> Receipt:
    unexpected = Unexpected(what=what, declaration=declaration, rows_removed=rows_removed)
    return Receipt(
        table=table, rows_before=10, rows_after=after, content=TableContent.CHANGED, unexpected=(unexpected,)
    )


def test_lost_rows_are_reported_at_the_statement_that_removed_most() -> None:
    few = statement("DELETE FROM orders WHERE id = 1;", written=(RowsWritten(relation=ORDERS, deleted=1),))
    most = statement("SELECT purge();", line=2, written=(RowsWritten(relation=ORDERS, deleted=9),))
    one = only(findings_of(run(few, most), receipts=(lost("10 rows removed", "rows orders=-10", rows_removed=10),)))
    assert (one.rule, one.line, one.severity) == ("data-lost", 2, Severity.ERROR)
    assert one.message == "public.orders: 10 rows removed"
    assert one.remedy.endswith("-- rehearse: rows orders=-10")


def test_a_lint_finding_that_the_receipt_proves_is_one_finding() -> None:
    feared = replace(FEARED, rule="drop-table", message="orders: a table is dropped")
    dropped = statement(
        "DROP TABLE orders;",
        locks=(lock(ORDERS, "ACCESS EXCLUSIVE", 0.002),),
        commands=("DROP TABLE public.orders",),
    )
    receipt = lost("dropped with 10 rows", "drops orders", after=None)
    one = only(findings_of(run(dropped), text=(feared,), receipts=(receipt,)))
    assert one.rule == "drop-table"
    assert "dropped with 10 rows" in one.message
    assert "-- rehearse: drops orders" in one.remedy


def test_accepting_a_dropped_table_accepts_the_loss_of_its_rows() -> None:
    feared = replace(FEARED, rule="drop-table")
    dropped = statement(
        "DROP TABLE orders;",
        locks=(lock(ORDERS, "ACCESS EXCLUSIVE", 0.002),),
        commands=("DROP TABLE public.orders",),
    )
    assert (
        findings_of(run(dropped), accepted_findings=(feared,), receipts=(lost("dropped with 10 rows", after=None),))
        == []
    )


def test_rows_written_elsewhere_explain_the_loss_there() -> None:
    cascade = statement(
        "DELETE FROM users WHERE id = 1;",
        written=(RowsWritten(relation=USERS, deleted=1), RowsWritten(relation=ORDERS, deleted=3)),
    )
    one = only(findings_of(run(cascade), receipts=(lost("3 rows removed", "rows orders=-3", rows_removed=3),)))
    assert (one.rule, one.severity, one.relation) == ("cascade-reaches-further", Severity.ERROR, "public.orders")
    assert findings_of(run(cascade), declared_tables=(("002_it.sql", "orders"),)) == []


@pytest.mark.parametrize(
    ("sql", "relation"),
    [
        ("UPDATE events SET kind = 'x' WHERE id = 1;", PART),
        ('UPDATE "Order Items" SET a = 1 WHERE id = 1;', Relation(oid=5, name='public."Order Items"')),
        ('DELETE FROM "we.ird" WHERE id = 1;', Relation(oid=5, name='public."we.ird"')),
        ("INSERT INTO fresh VALUES (1) ON CONFLICT DO NOTHING;", EMPTY),
        ("CALL purge();", ORDERS),
    ],
)
def test_what_a_statement_names_or_cannot_name_is_not_elsewhere(sql: str, relation: Relation) -> None:
    assert findings_of(run(statement(sql, written=(RowsWritten(relation=relation, updated=1),)))) == []


def test_the_word_do_in_on_conflict_hides_no_trigger() -> None:
    sql = "INSERT INTO users VALUES (1) ON CONFLICT DO NOTHING;"
    one = only(findings_of(run(statement(sql, written=(RowsWritten(relation=ORDERS, inserted=1),)))))
    assert one.rule == "trigger-writes-elsewhere"


def test_a_second_run_that_fails_and_changes_nothing_is_harmless() -> None:
    fault = PracticeFault(message="the second run fails", version="002", left_unchanged=True)
    assert only(findings_of(run(), rerun_faults=(fault,))).severity is Severity.HARMLESS
    assert only(findings_of(run(), rerun_faults=(replace(fault, left_unchanged=False),))).severity is Severity.WARNING


def test_a_stricter_rule_that_every_row_keeps_is_harmless() -> None:
    fault = PracticeFault(
        message="constraint c is new", version="002", object_name="public.users", only_rejects_rows=True
    )
    assert only(findings_of(run(), compatibility_faults=(fault,))).severity is Severity.HARMLESS
    assert (
        only(findings_of(run(), compatibility_faults=(replace(fault, only_rejects_rows=False),))).severity
        is Severity.WARNING
    )


def test_rows_that_violate_a_new_constraint_are_one_finding() -> None:
    fault = PracticeFault(
        message="constraint c is new", version="002", object_name="public.users", subject="c", only_rejects_rows=True
    )
    violation = Violation(relation="public.users", constraint="c", rows=7, query="SELECT 1")
    found = findings_of(
        run(),
        compatibility_faults=(fault,),
        integrity=integrity(unvalidated=(UnvalidatedConstraint(violation=violation, in_production=False),)),
    )
    assert (only(found).rule, only(found).severity) == ("constraint-not-validated", Severity.WARNING)


def test_rows_that_violate_one_constraint_silence_no_other() -> None:
    fault = PracticeFault(
        message="column users.a takes no NULL any more",
        version="002",
        object_name="public.users",
        subject="a",
        only_rejects_rows=True,
    )
    violation = Violation(relation="public.users", constraint="c", rows=7, query="SELECT 1")
    unvalidated = UnvalidatedConstraint(violation=violation, in_production=False)
    found = findings_of(run(), compatibility_faults=(fault,), integrity=integrity(unvalidated=(unvalidated,)))
    assert {one.rule for one in found} == {"constraint-not-validated", "breaks-running-version"}


def test_a_rule_that_a_file_accepts_silences_no_standstill_of_another_kind() -> None:
    dropped = run(statement("ALTER TABLE users DROP COLUMN a;", locks=(lock(USERS, "ACCESS EXCLUSIVE", 3.0),)))
    shut = BlockedTime(relation=USERS, version="002", reads_seconds=3.0, writes_seconds=3.0)
    accepted = replace(FEARED, rule="drop-column", relation="users")
    assert only(findings_of(dropped, accepted_findings=(accepted,), blocking=(shut,))).rule == "standstill"
    of_lock = replace(FEARED, rule="policy-or-trigger-lock", relation="users")
    assert findings_of(dropped, accepted_findings=(of_lock,), blocking=(shut,)) == []


def test_a_default_that_went_is_reported_though_statements_name_its_column() -> None:
    report = replace(integrity(), lost_safeguards=(LostSafeguard(table="public.users", kind="default", name="email"),))
    written = statement("UPDATE users SET email = '' WHERE id = 1;")
    assert "rule-gone" in {one.rule for one in findings_of(run(written), integrity=report)}
    meant = statement("ALTER TABLE users ALTER COLUMN email DROP DEFAULT;")
    assert "rule-gone" not in {one.rule for one in findings_of(run(written, meant), integrity=report)}


def test_what_the_linter_says_the_comparison_of_the_schemas_does_not_say_again() -> None:
    renamed = statement("ALTER TABLE users RENAME COLUMN a TO b;")
    feared = replace(FEARED, rule="rename-column", relation="users")
    here = PracticeFault(
        message="column users.a is gone",
        version="002",
        object_name="public.users",
        subject="a",
        rules=("rename-column", "drop-column"),
    )
    others = (
        replace(here, message="view v is gone", object_name="public.v", subject="v"),  # another object
        replace(here, message="column users.c is gone", subject="c"),  # another part of it
        replace(here, message="column users.a takes no NULL any more", rules=()),  # another hazard
    )
    found = findings_of(run(renamed), text=(feared,), compatibility_faults=(here, *others))
    assert [(one.rule, one.message.partition(";")[0]) for one in found if one.rule == "breaks-running-version"] == [
        ("breaks-running-version", one.message) for one in others
    ]


def test_a_name_that_is_still_there_is_harmless() -> None:
    renamed = statement("ALTER TABLE users RENAME COLUMN a TO b;")
    feared = replace(FEARED, rule="rename-column", relation="users")
    assert only(findings_of(run(renamed), text=(feared,))).severity is Severity.HARMLESS


def integrity(
    *,
    behind: tuple[SequenceBehind, ...] = (),
    near_end: tuple[KeyNearLimit, ...] = (),
    unvalidated: tuple[UnvalidatedConstraint, ...] = (),
) -> IntegrityReport:
    return IntegrityReport(
        sequences_behind=behind,
        keys_near_limit=near_end,
        invalid_indexes=(),
        unvalidated_constraints=unvalidated,
        lost_safeguards=(),
    )


@pytest.mark.parametrize(("before", "severity"), [(False, Severity.ERROR), (True, Severity.HARMLESS)])
def test_a_fault_that_production_has_is_harmless(before: bool, severity: Severity) -> None:
    behind = SequenceBehind(sequence="public.s", column="public.t.id", next_value=5, max_value=9, in_production=before)
    near = KeyNearLimit(
        column="public.u.id", type="integer", max_value=2_000_000_000, type_limit=2_147_483_647, in_production=before
    )
    found = findings_of(run(), integrity=integrity(behind=(behind,), near_end=(near,)))
    assert {one.severity for one in found} == {severity}
    assert ("production has it already" in found[0].message) is before


def test_nothing_was_rehearsed_only_where_something_in_use_was_touched() -> None:
    touching = run(statement("ALTER TABLE fresh ADD COLUMN a int;", locks=(lock(EMPTY, "ACCESS EXCLUSIVE", 0.001),)))
    making = run(
        statement("CREATE TABLE t (id int);", locks=(lock(replace(EMPTY, created=True), "ACCESS EXCLUSIVE", 1),))
    )
    assert only(findings_of(touching, copy_rows=0)).rule == "not-rehearsed"
    assert findings_of(making, copy_rows=0) == []


def test_wal_and_growth_beyond_the_limit_are_a_finding() -> None:
    heavy = replace(run(), wal_bytes=2_000, growth_bytes=1_000)
    assert only(findings_of(heavy, limits=Limits(wal_bytes=1_999))).rule == "write-volume"
    assert findings_of(heavy, limits=Limits(wal_bytes=2_000)) == []


@pytest.mark.parametrize(("threshold", "count"), [(Severity.ERROR, 1), (Severity.WARNING, 2), (None, 0)])
def test_the_threshold_decides_what_fails_the_rehearsal(threshold: Severity | None, count: int) -> None:
    found = [replace(FEARED, severity=one) for one in Severity]
    assert len(decisive_findings(found, Limits(fail_on=threshold))) == count


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("orders", "public.orders", True),
        ("shop.orders", "public.orders", False),
        ("Order Items", 'public."Order Items"', True),
        ("we.ird", 'public."we.ird"', True),
        ('a"b', 'public."a""b"', True),
        ("users", "public.power_users", False),
        ("", "", False),
    ],
)
def test_names_are_compared_as_far_as_they_are_qualified(one: str, other: str, same: bool) -> None:
    assert is_same_relation(one, other) is same
    assert is_same_relation(other, one) is same
