"""A fleet on a real server: states, limits, stop rules, the lock, resuming, and what a cluster's worker does."""

from __future__ import annotations

import json
import os
import pickle
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.apply.executor import WaitLimits
from kernel.db.connection import open_session
from kernel.errors import DatabaseUnreachable, FilesInvalid, LockBusy
from kernel.fleet import cluster
from kernel.fleet.addresses import Addresses
from kernel.fleet.catalogs import Catalogs, group_by_catalog
from kernel.fleet.dispatch import Limits
from kernel.fleet.inventory import read_inventory
from kernel.fleet.journal import Journal, hold_control_lock, open_journal, read_unfinished
from kernel.fleet.outcome import TargetOutcome, TargetState, worst_exit
from kernel.fleet.rollout import Rollout
from kernel.fleet.servers import probe_target
from kernel.fleet.survey import read_fleet, read_fleet_catalogs, survey_servers
from kernel.fleet.target import ASK, Address, Target, Wave
from kernel.fleet.targets import divide_into_waves, find_targets
from kernel.fleet.verify import group_by_records
from kernel.fleet.work import Work, WorkOptions
from kernel.fleet.workers import ThreadWorkers
from kernel.migrations.migration import require_migrations
from kernel.schema import snapshot
from kernel.schema.snapshot import SESSION_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernel.fleet.outcome import TargetStatus
    from kernel.fleet.rollout import WaveProgress, WaveResult
    from kernel.fleet.survey import Survey

SECRET = "opensesame4711"  # noqa: S105 - of nothing
WAITS = WaitLimits(lock_wait_seconds=10, lock_retries=0)
# A body leaves a mark in its own transaction: a second one would be seen.
BODY = "CREATE TABLE {name} (id int);\nINSERT INTO public.marks VALUES (current_schema(), '{name}');\n"

# What a new session of the database begins with.
CHANGED_DEFAULT = """
DO $$ BEGIN
  EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET geqo = {}', current_database());
END $$;
"""


@dataclass
class Observer:
    """Calls `ended` after each target, and does nothing else."""

    ended: Callable[[Target], None]

    def wave_began(self, wave: str, targets: int) -> None: ...

    def target_ended(self, target: Target, _outcome: TargetOutcome) -> None:
        self.ended(target)

    def target_is_slow(self, target: Target, seconds: float, usual_seconds: float) -> None: ...
    def progressed(self, progress: WaveProgress) -> None: ...
    def wave_ended(self, result: WaveResult) -> None: ...
    def holding(self, wave: str, seconds_left: float) -> None: ...


@dataclass
class Fleet:
    """Schemas of one database as targets, and the folder of their files."""

    folder: Path
    look: psycopg.Connection[tuple[Any, ...]]
    environ: dict[str, str]
    inventory: str = '[[targets]]\nurl = "$URL"\nschemas = "t_*"\n'

    def make(self, *schemas: str) -> None:
        self.look.execute("CREATE TABLE IF NOT EXISTS public.marks (target text, name text)")
        for schema in schemas:
            self.look.execute(f'CREATE SCHEMA "{schema}"'.encode())

    def put(self, filename: str, text: str) -> None:
        (self.folder / "migrations").mkdir(exist_ok=True)
        (self.folder / "migrations" / filename).write_text(text)

    def targets(self) -> tuple[Target, ...]:
        (self.folder / "fleet.toml").write_text(self.inventory)
        return find_targets(read_inventory(self.folder / "fleet.toml"), Addresses(self.environ))

    def run(
        self,
        waves: tuple[Wave, ...] = (Wave(max_failures=replace(Wave().max_failures, number=99)),),
        *,
        targets: tuple[Target, ...] | None = None,
        answer: bool = False,
        ended: Callable[[Target], None] = lambda _target: None,
    ) -> dict[str, TargetOutcome]:
        """Roll out with a journal; the outcomes by name. `ended` is called after each target."""
        runs = self.folder / "runs"
        with open_journal(runs, part=(1, 1)) as journal, ThreadWorkers(self.work(), threads=16) as workers:
            survey = self.survey(workers, targets)
            journal.write("begun", targets=[target.name for target in survey.targets])
            rollout = Rollout(
                survey=survey,
                workers=workers,
                journal=journal,
                observer=Observer(ended),
                ask=lambda _wave: answer,
            )
            results = rollout.run(divide_into_waves(survey.targets, waves, filename="fleet.toml"))
        return {outcome.name: outcome for result in results for outcome in result.outcomes}

    def work(self) -> Work:
        migrations = require_migrations(self.folder / "migrations")
        return Work(migrations=migrations, addresses=Addresses(self.environ), options=WorkOptions(waits=WAITS))

    def survey(self, workers: ThreadWorkers, targets: tuple[Target, ...] | None = None) -> Survey:
        limits = Limits(at_a_time=8, per_server=4)
        return survey_servers(targets or self.targets(), workers, limits, filename="fleet.toml")

    def status(self) -> dict[str, TargetStatus]:
        with ThreadWorkers(self.work(), threads=4) as workers:
            statuses = read_fleet(self.survey(workers), workers, Limits(at_a_time=4, per_server=4))
        return {one.name: one for one in statuses}

    def catalogs(self, **options: Any) -> Catalogs:
        work = self.work()
        with ThreadWorkers(replace(work, options=replace(work.options, **options)), threads=4) as workers:
            return read_fleet_catalogs(self.survey(workers), workers, Limits(at_a_time=4, per_server=4))

    def marks(self) -> list[tuple[Any, ...]]:
        return self.look.execute(
            "SELECT target, name, count(*) FROM public.marks GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()

    def journal(self) -> str:
        return max((self.folder / "runs").glob("*.jsonl")).read_text()


@pytest.fixture
def fleet(database: str, tmp_path: Path) -> Iterator[Fleet]:
    with psycopg.connect(database, autocommit=True) as look:
        fleet = Fleet(folder=tmp_path, look=look, environ={"URL": make_conninfo(database, password=SECRET)})
        fleet.put("001_one.sql", BODY.format(name="one"))
        fleet.put("002_two.sql", BODY.format(name="two"))
        yield fleet


def test_every_target_gets_its_own_state_and_its_bodies_once(fleet: Fleet) -> None:
    fleet.make("t_bad", "t_drift", "t_empty", "t_good", "t_used")
    fleet.run(targets=tuple(target for target in fleet.targets() if target.name in ("t_bad", "t_drift", "t_good")))
    fleet.put("003_three.sql", BODY.format(name="three"))
    fleet.look.execute("CREATE TABLE t_bad.three (x int); CREATE TABLE t_used.other (x int)")
    fleet.look.execute("UPDATE t_drift.schema_migrations SET checksum = 'x' WHERE version = '001'")
    fleet.inventory += '[[targets]]\nname = "lost"\nurl = "postgresql://127.0.0.1:1/x"\n'
    outcomes = fleet.run()
    assert {name: (str(one.state), one.from_version, one.to_version) for name, one in outcomes.items()} == {
        "t_bad": ("failed", "002", "002"),
        "t_drift": ("drift", "", ""),
        "t_empty": ("applied", "", "003"),
        "t_good": ("applied", "002", "003"),
        "t_used": ("drift", "", ""),
        "lost": ("unreachable", "", ""),
    }
    assert [worst_exit([outcomes[name]]) for name in ("t_bad", "t_drift", "lost", "t_good")] == [6, 4, 7, 0]
    assert worst_exit(outcomes.values()) == 6
    again = fleet.run()
    assert (again["t_good"].state, again["t_empty"].state) == (TargetState.CURRENT, TargetState.CURRENT)
    assert {count for _, _, count in fleet.marks()} == {1}
    assert len(fleet.marks()) == 2 + 2 + 3 + 3
    last = read_unfinished(fleet.folder / "runs")
    assert last is not None
    assert sorted(last[1]) == ["lost", "t_bad", "t_drift", "t_used"]
    groups = group_by_records(one for one in fleet.status().values() if one.readable)
    assert [group.targets for group in groups] == [("t_empty", "t_good"), ("t_bad",), ("t_drift",)]
    assert groups[1].differences == ("003_three.sql: not recorded",)
    assert groups[2].differences[0].startswith("001_one.sql: checksum x, elsewhere ")


def test_a_server_never_has_more_sessions_of_a_run_than_its_limit(fleet: Fleet) -> None:
    fleet.make(*(f"t_{number:02}" for number in range(8)))
    # One at a time: the server refuses two sessions that change the settings of one role at once.
    fleet.put(
        "003_wait.sql", f"SELECT pg_sleep(0.05);\nSELECT pg_advisory_xact_lock(7);\n{CHANGED_DEFAULT.format('on')}"
    )
    fleet.put("004_after.sql", "SELECT pg_sleep(0.05);\n")
    seen: list[int] = []
    end = threading.Event()
    dsn = fleet.look.info.dsn

    def observe() -> None:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name LIKE 'inv db%' AND backend_type = 'client backend'"
        )
        with psycopg.connect(dsn, autocommit=True, application_name="observer") as other:
            while not end.wait(0.002):
                seen.append(other.execute(query).fetchall()[0][0])

    watching = threading.Thread(target=observe)
    watching.start()
    try:
        outcomes = fleet.run((Wave(at_a_time=9, per_server=3),))
    finally:
        end.set()
        watching.join()
    assert {one.state for one in outcomes.values()} == {TargetState.APPLIED}
    assert max(seen) == 3


def test_a_session_that_is_closed_does_not_count_any_more_as_the_server_has_ended_it(fleet: Fleet) -> None:
    still_there = 0
    for _ in range(40):
        with open_session(fleet.environ["URL"]) as session:
            pid = session.backend_pid
        row = fleet.look.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone()
        still_there += row[0] if row else 0
    assert still_there == 0  # without waiting for the server, some always are


ONE_BY_ONE = Wave(at_a_time=1)
# What a session has that another one has not. The runner's own settings are the same for all.
SESSION = """
CREATE TABLE seen AS SELECT pg_backend_pid() AS pid, ARRAY[current_schemas(false)::text, current_setting('geqo'),
  current_user, to_regclass('pg_temp.left')::text, (SELECT count(*) FROM pg_prepared_statements)::text,
  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711)::text,
  (SELECT count(*) FROM pg_listening_channels())::text, current_setting('app.tenant', true)] AS state;
"""
LEAVES = """
SET geqo = off;
SET SESSION AUTHORIZATION pg_monitor;
SET SESSION AUTHORIZATION DEFAULT;
PREPARE left_over AS SELECT 1;
SELECT pg_advisory_lock(4711);
LISTEN left_over;
"""
# A function of the database, which no file shows.
FORGET = """
CREATE FUNCTION public.forget() RETURNS void LANGUAGE plpgsql AS $$
BEGIN PERFORM set_config('search_path', '', false); RESET search_path; END $$
"""


def sessions_seen(fleet: Fleet, *schemas: str) -> list[tuple[int, list[str | None]]]:
    """The pid and the state of the session in which each schema was migrated."""
    return [fleet.look.execute(f"SELECT pid, state FROM {one}.seen".encode()).fetchall()[0] for one in schemas]


def test_schemas_share_a_session_that_is_for_each_as_a_new_one(fleet: Fleet) -> None:
    fleet.make("t_1", "t_2", "t_3")
    fleet.put("003_seen.sql", SESSION)
    fleet.put("004_leaves.sql", LEAVES)
    fleet.run((ONE_BY_ONE,))
    seen = sessions_seen(fleet, "t_1", "t_2", "t_3")
    assert len({pid for pid, _ in seen}) == 1
    assert [state[0] for _, state in seen] == ["{t_1}", "{t_2}", "{t_3}"]
    assert [state[1:] for _, state in seen] == [["on", fleet.look.info.user, None, "0", "0", "0", None]] * 3


@pytest.mark.parametrize(
    "text",
    [
        "RESET search_path;",
        "SET search_path TO DEFAULT;",
        "-- migrate: no-transaction\nDISCARD ALL;",
        "RESET ALL;",
        "SELECT public.forget();",
        "SELECT set_config('app.tenant', current_schema(), false);",
        "SET app.tenant = 'x';",
        "SET /* whose */ app.tenant = 'x';",
        "SELECT setseed(0.5);",
        'CREATE TEMP TABLE "left" (x int);',
        "LOAD 'auto_explain';",
        "DO $$ BEGIN PERFORM 1; END $$;",
    ],
)
def test_a_file_that_may_change_what_a_session_returns_to_has_one_of_its_own(fleet: Fleet, text: str) -> None:
    fleet.make("t_1", "t_2")
    if "forget" in text:
        fleet.look.execute(FORGET.encode())
    fleet.put("003_first.sql", f"{text}\nDROP TABLE IF EXISTS one;\n")
    fleet.put("004_seen.sql", SESSION)
    outcomes = fleet.run((ONE_BY_ONE,))
    assert [str(one.state) for one in outcomes.values()] == ["applied", "applied"], outcomes
    (first, one), (second, two) = sessions_seen(fleet, "t_1", "t_2")
    assert first != second
    assert (one[0], two[0], one[1:]) == ("{t_1}", "{t_2}", two[1:])
    assert fleet.look.execute("SELECT to_regclass('t_1.one'), to_regclass('t_2.one')").fetchone() == (None, None)


# PL/pgSQL resolves the type of m when a session first runs the function.
TYPED = """
CREATE FUNCTION public.add_mood() RETURNS void LANGUAGE plpgsql AS $$
DECLARE m mood := 'fine'; BEGIN INSERT INTO moods VALUES (m); END $$
"""
ATOMIC = """
CREATE FUNCTION public.forget() RETURNS text LANGUAGE sql
BEGIN ATOMIC SELECT set_config('search_path', reset_val, false) FROM pg_settings WHERE name = 'search_path'; END
"""


@pytest.mark.parametrize(("function", "call"), [(TYPED, "add_mood"), (ATOMIC, "forget")])
def test_where_a_database_has_functions_no_session_is_shared(fleet: Fleet, function: str, call: str) -> None:
    fleet.make("t_1", "t_2", "t_3")
    fleet.look.execute("CREATE TYPE public.mood AS ENUM ('fine')")
    fleet.look.execute(function.encode())
    fleet.inventory += 'search_path = ["public"]\n'
    fleet.put("003_mood.sql", "CREATE TYPE mood AS ENUM ('fine', 'sad');\nCREATE TABLE moods (mood mood);\n")
    fleet.put("004_call.sql", f"SELECT {call}();\nCREATE TABLE after (id int);\n")
    outcomes = fleet.run((ONE_BY_ONE,))
    assert {str(one.state) for one in outcomes.values()} == {"applied"}, outcomes


def test_a_shared_session_that_has_ended_or_is_out_of_date_is_replaced(fleet: Fleet) -> None:
    fleet.make(*(f"t_{number}" for number in range(1, 6)))
    fleet.put("003_seen.sql", SESSION)
    idle = "application_name LIKE 'inv db%' AND state = 'idle'"

    def change(target: Target) -> None:
        if target.name == "t_1":
            fleet.look.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {idle}".encode())
        if target.name == "t_3":
            fleet.look.execute(CHANGED_DEFAULT.format("off").encode())

    outcomes = fleet.run((ONE_BY_ONE,), ended=change)
    assert {str(one.state) for one in outcomes.values()} == {"applied"}, outcomes
    seen = sessions_seen(fleet, "t_1", "t_2", "t_3", "t_4", "t_5")
    first, second, third, fourth, fifth = (pid for pid, _ in seen)
    assert first != second == third != fourth == fifth
    assert [state[1] for _, state in seen] == ["on", "on", "on", "off", "off"]


def test_a_session_in_which_a_target_failed_is_for_no_other(fleet: Fleet) -> None:
    fleet.make("t_1", "t_2")
    fleet.put("003_seen.sql", SESSION)
    fleet.put("004_fails.sql", "SELECT 1 / (CASE current_schema() WHEN 't_1' THEN 0 ELSE 1 END);\n")
    outcomes = fleet.run((replace(ONE_BY_ONE, max_failures=replace(Wave().max_failures, number=9)),))
    assert [str(one.state) for one in outcomes.values()] == ["failed", "applied"]
    (first, _), (second, _) = sessions_seen(fleet, "t_1", "t_2")
    assert first != second


def test_a_kept_session_counts_among_those_of_its_server_and_ends_with_the_wave(fleet: Fleet) -> None:
    fleet.make("t_1", "t_2", "t_3")
    left: list[int] = []
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'inv db%'"
    waves = (replace(ONE_BY_ONE, name="first", match={"schema": ("t_[12]",)}), replace(ONE_BY_ONE, name="second"))
    fleet.run(waves, ended=lambda _target: left.append(fleet.look.execute(count.encode()).fetchall()[0][0]))
    assert left == [1, 1, 1]
    assert fleet.look.execute(count.encode()).fetchone() == (0,)


def test_a_wave_with_too_many_failures_stops_the_run_and_nothing_begins_after_it(fleet: Fleet) -> None:
    fleet.make("t_a", "t_b", "t_c")
    fleet.look.execute("CREATE TABLE t_a.other (x int)")
    canary = Wave(name="canary", match={"schema": ("t_[ab]",)}, at_a_time=1)
    outcomes = fleet.run((canary, Wave(name="rest")))
    assert [str(outcomes[name].state) for name in ("t_a", "t_b", "t_c")] == ["drift", "not_started", "not_started"]
    assert fleet.marks() == []
    allowed = replace(canary, max_failures=replace(canary.max_failures, number=50, percent=True))
    outcomes = fleet.run((allowed, Wave(name="rest")))
    assert [str(outcomes[name].state) for name in ("t_a", "t_b", "t_c")] == ["drift", "applied", "applied"]


# Everything in which the name of a schema stands: defaults, constraints, views, functions with their settings.
RELATIVE = """
CREATE TYPE mood AS ENUM ('fine', 'sad');
CREATE TABLE parent (id serial PRIMARY KEY, mood mood DEFAULT 'fine');
CREATE TABLE child (id int REFERENCES parent, note text CHECK (note <> ''));
CREATE VIEW both_of_them AS SELECT parent.mood, child.note FROM parent JOIN child USING (id);
CREATE FUNCTION moods(mood) RETURNS SETOF mood LANGUAGE sql AS 'SELECT $1';
DO $$ BEGIN EXECUTE format('ALTER FUNCTION moods(mood) SET search_path = %I, public', current_schema()); END $$;
"""


def test_catalogs_of_schemas_are_equal_but_for_their_names_and_the_odd_ones_say_how_they_differ(fleet: Fleet) -> None:
    fleet.put("003_relative.sql", RELATIVE)
    names = ("t_a", "t_b", "t_with space", "t_odd")
    fleet.make(*names)
    assert {str(one.state) for one in fleet.run().values()} == {"applied"}
    (equal,) = group_by_catalog(names, fleet.catalogs())
    assert (equal.targets, equal.differences) == (names, ())
    fleet.look.execute("ALTER TABLE t_odd.child ADD COLUMN extra int; DROP VIEW t_odd.both_of_them")
    fleet.look.execute("GRANT SELECT ON t_a.child TO PUBLIC")  # which belongs to the tenant
    usual, odd = group_by_catalog(names, fleet.catalogs())
    assert (len(usual.targets), odd.targets) == (3, ("t_odd",))
    assert odd.differences == ("view both_of_them: dropped", "table child: column extra integer added")
    assert len(group_by_catalog(names, fleet.catalogs(ignored_drift=("child.extra", "t_*.both_of_them")))) == 2
    ignored = ("child.extra", "both_of_them")
    assert len(group_by_catalog(names, fleet.catalogs(ignored_drift=ignored))) == 1
    assert fleet.catalogs().size_bytes["t_a"] > 0
    fleet.inventory += '[[targets]]\nname = "whole"\nurl = "$URL"\n'
    *_, whole = group_by_catalog((*names, "whole"), fleet.catalogs())
    assert (whole.targets, whole.usual, whole.differences) == (("whole",), True, ())  # there is no other database


def test_a_table_that_a_session_has_locked_is_waited_for_no_longer_than_the_limit(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.put("003_relative.sql", RELATIVE)
    fleet.make("t_a")
    fleet.run()
    limited = tuple((name, "50ms" if name == "lock_timeout" else value) for name, value in SESSION_SETTINGS)
    monkeypatch.setattr(snapshot, "SESSION_SETTINGS", limited)
    with fleet.look.transaction():
        fleet.look.execute("LOCK t_a.parent IN ACCESS EXCLUSIVE MODE")
        error = fleet.catalogs().errors["t_a"]
    assert "lock timeout" in error.message
    assert error.hint
    assert "another session has locked a table in ACCESS EXCLUSIVE mode" in error.hint


def test_a_wave_that_asks_holds_the_rest_until_the_next_run_or_the_answer(fleet: Fleet) -> None:
    fleet.make("t_a", "t_b")
    waves = (Wave(name="canary", match={"schema": ("t_a",)}, hold_seconds=ASK), Wave(name="rest"))
    assert [one.state for one in fleet.run(waves).values()] == [TargetState.APPLIED, TargetState.NOT_STARTED]
    assert [one.state for one in fleet.run(waves).values()] == [TargetState.CURRENT, TargetState.APPLIED]
    fleet.put("003_three.sql", BODY.format(name="three"))
    assert [one.state for one in fleet.run(waves, answer=True).values()] == [TargetState.APPLIED] * 2


def test_a_wave_holds_too_after_a_target_that_failed_when_a_file_was_applied(fleet: Fleet) -> None:
    fleet.make("t_a", "t_b")
    fleet.look.execute("CREATE TYPE t_a.two AS (x int)")
    one_may_fail = replace(Wave().max_failures, number=1)
    canary = Wave(name="canary", match={"schema": ("t_a",)}, hold_seconds=ASK, max_failures=one_may_fail)
    outcomes = fleet.run((canary, Wave(name="rest")))
    assert (outcomes["t_a"].state, outcomes["t_a"].to_version) == (TargetState.FAILED, "001")
    assert outcomes["t_b"].state is TargetState.NOT_STARTED


def test_a_target_whose_time_is_over_says_which_files_it_has_committed(fleet: Fleet) -> None:
    fleet.make("t_slow")
    fleet.put("003_three.sql", BODY.format(name="three") + "SELECT pg_sleep(20);\n")
    slow = fleet.run((Wave(timeout_seconds=1),))["t_slow"]
    assert (slow.state, slow.from_version, slow.to_version) == (TargetState.TIMED_OUT, "", "002")
    assert slow.applied == tuple(one.filename for one in fleet.work().migrations[:2])


def test_a_database_that_is_gone_leaves_the_others_of_its_server_reachable(fleet: Fleet) -> None:
    fleet.environ["URL"] = make_conninfo(fleet.environ["URL"], dbname="no_such_database")
    own = fleet.look.info.dbname
    fleet.inventory = "".join(
        f'[[targets]]\nurl = "$URL"\nname = "{name}"\ndatabase = "{database}"\n'
        for name, database in (("gone", "gone_database"), ("there", own))
    )
    states = {name: (one.state, one.error) for name, one in fleet.status().items()}
    assert states["there"] == (TargetState.PENDING, None)
    state, error = states["gone"]
    assert state is TargetState.UNREACHABLE
    assert error is not None
    assert 'database "gone_database" does not exist' in error.message


def test_a_database_by_name_and_that_of_the_address_are_two(fleet: Fleet) -> None:
    entry = '[[targets]]\nurl = "$URL"\nname = "{}"\n'
    fleet.inventory = entry.format("other") + 'database = "postgres"\n' + entry.format("main")
    with ThreadWorkers(fleet.work(), threads=2) as workers:
        assert [target.name for target in fleet.survey(workers).targets] == ["other", "main"]


def test_a_target_that_takes_too_long_is_rolled_back_and_continues_in_the_next_run(fleet: Fleet) -> None:
    fleet.make("t_slow")
    fleet.run()
    fleet.put("003_three.sql", BODY.format(name="three") + "SELECT pg_sleep(20);\n")
    slow = fleet.run((Wave(timeout_seconds=0.3),))["t_slow"]
    assert slow.state is TargetState.TIMED_OUT
    assert slow.error is not None
    assert (slow.error.exit, slow.error.message.partition(";")[0]) == (6, "not done within 300 ms")
    assert fleet.status()["t_slow"].version == "002"
    assert fleet.look.execute("SELECT to_regclass('t_slow.three')").fetchone() == (None,)
    locked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert fleet.look.execute(locked.encode()).fetchone() == (0,)


CONTROL = """
CREATE SCHEMA control;
CREATE TABLE control.tenants (name text, database text, region text);
INSERT INTO control.tenants VALUES ('a', current_database(), 'eu'), ('b', 'other', NULL);
"""


def test_a_query_finds_targets_with_labels_and_names_its_faults_with_the_line(fleet: Fleet) -> None:
    fleet.look.execute(CONTROL.encode())
    begin = 'control = "$URL"\n[[targets]]\nurl = "$URL"\nquery = '
    fleet.inventory = f'{begin}"SELECT * FROM control.tenants ORDER BY name"\n'
    found = [(one.name, one.database, one.labels["region"]) for one in fleet.targets()]
    assert found == [("a", fleet.look.info.dbname, "eu"), ("b", "other", "")]
    for query, message in {
        "SELECT database FROM control.tenants": "returns no column name, which every target needs; it returns database",
        "SELECT 'a' AS name FROM control.tenants": "the name a is there twice; rename one of them",
        "SELECT name FROM control.tenants WHERE false": "returns no row in ",
        "SELECT name FROM control.nothing": 'relation "control.nothing" does not exist',
        "DELETE FROM control.tenants RETURNING name": "cannot execute DELETE in a read-only transaction",
        "SELECT '-x' AS name": "expected a name of 1 to 200 visible characters",
        f"SELECT 'a' AS name, 'postgresql://u:{SECRET}@h/d' AS url": "has a secret in it (password)",
    }.items():
        fleet.inventory = f'{begin}"{query}"\n'
        with pytest.raises(FilesInvalid) as refused:
            fleet.targets()
        assert str(refused.value).startswith("fleet.toml:2: ")
        assert message in str(refused.value)
        assert SECRET not in str(refused.value)
    assert fleet.look.execute("SELECT count(*) FROM control.tenants").fetchone() == (2,)


def test_schemas_of_one_name_in_two_databases_are_told_apart_by_the_name_of_their_entry(fleet: Fleet) -> None:
    fleet.make("t_a")
    fleet.environ["OTHER"] = make_conninfo(fleet.environ["URL"], dbname="postgres")
    entry = '[[targets]]\nurl = "$OTHER"\nschemas = "t_*"\n'
    with psycopg.connect(fleet.environ["OTHER"], autocommit=True) as other:
        other.execute("CREATE SCHEMA t_a")
        try:
            fleet.inventory += entry
            with pytest.raises(FilesInvalid) as refused:
                fleet.targets()
            (problem,) = refused.value.problems
            assert str(problem) == (
                'fleet.toml:4: the name t_a is that of line 1 twice; give it name = "GROUP", for GROUP/SCHEMA'
            )
            fleet.inventory += 'name = "eu"\n'
            assert [target.name for target in fleet.targets()] == ["t_a", "eu/t_a"]
        finally:
            other.execute("DROP SCHEMA t_a")


def test_databases_of_the_inventory_that_do_not_answer_are_named_all_at_once(fleet: Fleet) -> None:
    fleet.environ["LOST"] = f"postgresql://u:{SECRET}@127.0.0.1:1/x"
    lost = '[[targets]]\nurl = "$LOST"\n'
    fleet.inventory = f'control = "$LOST"\n{lost}query = "SELECT 1 AS name"\n{lost}schemas = "t_*"\n'
    with pytest.raises(DatabaseUnreachable) as refused:
        fleet.targets()
    first, second = str(refused.value).splitlines()
    assert first.startswith("fleet.toml:2: the control database: connection failed")
    assert second.startswith("fleet.toml:5: $LOST: connection failed")
    assert SECRET not in str(refused.value)


def test_two_names_of_a_database_are_refused_by_what_the_server_says(fleet: Fleet) -> None:
    url = fleet.environ["URL"]
    fleet.environ["OTHER"] = make_conninfo(url, host=f"{fleet.look.info.host}/.")
    fleet.inventory = '[[targets]]\nname = "a"\nurl = "$URL"\n[[targets]]\nname = "b"\nurl = "$OTHER"\n'
    with ThreadWorkers(fleet.work(), threads=2) as workers, pytest.raises(FilesInvalid, match="a and b are both "):
        fleet.survey(workers)


def test_a_probe_says_how_many_connections_are_left_to_a_plain_role(fleet: Fleet) -> None:
    role = f"{fleet.look.info.dbname}_fleet"
    target = Target(name="a", address=Address(variable="URL"))
    fleet.look.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 5".encode())
    try:
        probe = probe_target(target, Addresses({"URL": make_conninfo(fleet.environ["URL"], user=role)}))
        assert (probe.error, probe.connections_left) == ("", 5)
        assert probe.identity == probe_target(target, Addresses(fleet.environ)).identity
    finally:
        fleet.look.execute(f"DROP ROLE {role}".encode())


def test_a_schema_that_was_dropped_since_the_inventory_was_read_is_named(fleet: Fleet) -> None:
    fleet.make("t_a", "t_gone")
    targets = fleet.targets()
    fleet.look.execute("DROP SCHEMA t_gone")
    outcomes = fleet.run(targets=targets)
    gone = outcomes["t_gone"]
    assert (outcomes["t_a"].state, gone.state) == (TargetState.APPLIED, TargetState.UNREACHABLE)
    assert "there is no schema t_gone; it was dropped since" in str(gone.error)
    assert fleet.look.execute("SELECT to_regnamespace('t_gone')").fetchone() == (None,)


def test_one_rollout_runs_at_a_time_and_parts_of_one_division_together(fleet: Fleet, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    url, control = fleet.environ["URL"], Address(variable="URL")
    with open_journal(folder, part=(1, 1)), pytest.raises(LockBusy, match="another rollout runs"), ExitStack() as held:
        held.enter_context(open_journal(folder, part=(1, 2)))
    with open_journal(folder, part=(1, 2)), open_journal(folder, part=(2, 2)):
        for part in ((1, 1), (2, 2)):
            with pytest.raises(LockBusy), ExitStack() as held:
                held.enter_context(open_journal(folder, part=part))
    with hold_control_lock(url, control, part=(1, 2)), hold_control_lock(url, control, part=(2, 2)):
        for part in ((1, 1), (2, 2)):
            with pytest.raises(LockBusy, match=r"holds the lock in .*: pid [0-9]+ \(inv db\)"), ExitStack() as held:
                held.enter_context(hold_control_lock(url, control, part=part))
    with hold_control_lock(url, control, part=(1, 1)):
        pass


def test_the_journal_of_a_killed_run_names_what_it_left_even_with_half_a_line(tmp_path: Path) -> None:
    lines = [
        {"event": "begun", "targets": ["a", "b", "c", "d"]},
        {"event": "ended", "target": "a", "state": "applied"},
        {"event": "ended", "target": "b", "state": "failed"},
        {"event": "started", "target": "c"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "20260101-000000-000000-0000.jsonl").write_text('{"event": "begun", "targets": ["old"]}\n')
    (tmp_path / "20260102-000000-000000-0000.jsonl").write_text(text + '{"event": "en')
    (tmp_path / "20260103-000000-000000-0000.jsonl").write_text("")  # refused before it began, so that nothing changed
    assert read_unfinished(tmp_path) == ("20260102-000000-000000-0000", ("b", "c", "d"))
    assert read_unfinished(tmp_path / "none") is None


def test_small_files_are_parsed_once_for_all_targets_and_those_that_name_a_schema_for_each(fleet: Fleet) -> None:
    fleet.make("t_a", "t_b", "t_c")
    fleet.put("001_one.sql", "CREATE TABLE one (id int);\n")
    fleet.put("003_three.sql", 'DROP TABLE IF EXISTS "t_a".schema_migrations;\n')
    outcomes = fleet.run()
    assert [str(outcomes[name].state) for name in ("t_a", "t_b", "t_c")] == ["refused", "applied", "applied"]
    work = fleet.work()
    paths = [migration.path for migration in work.migrations]
    one, other = work.ledger_of(fleet.targets()[0]), work.ledger_of(fleet.targets()[1])
    first = work.scripts.parse(paths[0], "001_one.sql", keep_bytes=1 << 20, ledger=one)
    assert first is work.scripts.parse(paths[0], "001_one.sql", keep_bytes=1 << 20, ledger=other)


def test_a_worker_gets_files_and_options_and_no_url_and_refuses_another_version(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.make("t_a")
    (target,) = fleet.targets()
    work = fleet.work()
    bundle = cluster.bundle_files(work.migrations)
    packed = pickle.dumps(("migrate", target, None, work.options))
    assert SECRET.encode() not in packed + bundle.content
    assert fleet.look.info.dbname.encode() not in packed
    refused = pickle.loads(cluster.run_task("0.0+other", packed, bundle))  # noqa: S301 - of this test
    assert refused.reason == cluster.own_version()
    unset = pickle.loads(cluster.run_task(cluster.own_version(), packed, bundle))  # noqa: S301 - of this test
    assert (unset.state, unset.error.exit) == (TargetState.REFUSED, 2)
    monkeypatch.setitem(os.environ, "URL", fleet.environ["URL"])
    other = replace(work.options, waits=replace(WAITS, lock_retries=1))  # its own entry of what a worker keeps
    packed = pickle.dumps(("migrate", target, None, other))
    outcome = pickle.loads(cluster.run_task(cluster.own_version(), packed, bundle))  # noqa: S301 - of this test
    assert (outcome.state, outcome.to_version) == (TargetState.APPLIED, "002")
    fleet.put("003_three.sql", "CREATE TABLE three (id int);\n")
    (fleet.folder / "migrations" / "verify").mkdir()
    fleet.put("verify/003_three.sql", "SELECT 'three is empty' WHERE NOT EXISTS (SELECT FROM three);\n")
    verified = cluster.bundle_files(fleet.work().migrations)
    packed = pickle.dumps(("migrate", target, None, other))
    outcome = pickle.loads(cluster.run_task(cluster.own_version(), packed, verified))  # noqa: S301 - of this test
    assert (outcome.state, outcome.error.file) == (TargetState.FAILED, "verify/003_three.sql")
    changed = replace(bundle, digest="0" * 64)
    assert pickle.loads(cluster.run_task(cluster.own_version(), packed, changed)).reason == "ClusterFailed"  # noqa: S301


def test_no_secret_is_in_the_journal(fleet: Fleet) -> None:
    fleet.make("t_a")
    fleet.inventory += '[[targets]]\nname = "lost"\nurl = "$LOST"\n'
    fleet.environ["LOST"] = f"postgresql://u:{SECRET}@127.0.0.1:1/x"
    fleet.run()
    assert '"unreachable"' in fleet.journal()
    assert SECRET not in fleet.journal()
    assert Journal().path is None
