"""A suggestion ends in the same database as its original, and reads no row of a table that it locks exclusively."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.db.connection import open_session
from kernel.lint.finding import Finding, Severity
from kernel.lint.lint import lint_migrations, read_migration_directory
from kernel.lint.rules import ALL_RULES, EXAMPLE_SCHEMA
from kernel.migrations.migration import Migration, discover_migrations
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import FALLBACK_FOLDER, MEMORY_FOLDER, NEEDED_MEMORY_BYTES
from kernel.rehearsal.findings.lock_impact import locks_held_before, measure_impact
from kernel.rehearsal.prod_copy import CopyRequest, CopyTarget, open_copy
from kernel.rehearsal.prod_copy.server_settings import GB
from kernel.rehearsal.request import RehearsalRequest, Reporter
from kernel.rehearsal.suggest.catalog import read_table_catalog
from kernel.rehearsal.suggest.equivalence import Equivalence, MigratedClones, describe_row_difference, prove_equivalence
from kernel.rehearsal.suggest.files import write_suggested_files
from kernel.rehearsal.suggest.model import quote_name
from kernel.rehearsal.suggest.rewrite import MECHANICAL_RULES, rewrite_migration
from kernel.rehearsal.suggest.source import split_into_units
from kernel.rehearsal.suggest.suggest import OriginalRehearsal, suggest_rewrites
from kernel.rehearsal.tracing.run import trace_migrations
from kernel.report.safe_text import TERMINAL_COLUMNS
from kernel.report.suggestions import suggestions_text
from kernel.schema.diff import diff_schemas
from kernel.schema.snapshot import read_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.lint.rules import Rule
    from kernel.postgres.programs import Programs
    from kernel.rehearsal.prod_copy.copy import ProdCopy
    from kernel.rehearsal.result import Run, SuggestionResult, SuggestionTrial

# One template database serves them all.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("suggest")]

ROWS = 10_000
TABLES = ("built", "checked", "child", "single", "required", "token", "first", "second")
TABLES_SQL = "".join(
    f"CREATE TABLE {name} (id int PRIMARY KEY, value int, note text);\n"
    f"INSERT INTO {name} SELECT g, g, 'note ' || g FROM generate_series(1, {ROWS}) AS g;\n"
    for name in TABLES
)
LEDGER_TABLES = frozenset({"public.schema_migrations", "public.schema_migrations_progress"})
LEDGER = """
CREATE TABLE schema_migrations (
  version varchar(255) PRIMARY KEY, filename varchar(255) NOT NULL, applied_at timestamp NOT NULL DEFAULT now(),
  checksum varchar(64) NOT NULL);
"""
YEARS = """
CREATE TABLE years (id int PRIMARY KEY, year int, born date);
INSERT INTO years SELECT g, g, '2020-01-01' FROM generate_series(1, 100) AS g;
CREATE TABLE viewed (id int PRIMARY KEY);
INSERT INTO viewed VALUES (1);
"""
OTHERS = f"""{YEARS}
CREATE INDEX single_note ON single (note);
CREATE TABLE "Odd ""table" ("a b" int, "C" text);
INSERT INTO "Odd ""table" SELECT g, 'x' FROM generate_series(1, 1000) AS g;
CREATE VIEW views AS SELECT id FROM viewed;
"""
# By the table that it is about, what a migration does, and the number of files that are suggested instead.
KINDS = {
    "built": ("CREATE INDEX ON built (lower(note), value DESC);", 1),
    "checked": ("ALTER TABLE checked ADD CHECK (value > 0), ADD COLUMN extra text;", 2),
    "child": ("ALTER TABLE child ADD FOREIGN KEY (value) REFERENCES built (id) ON DELETE CASCADE;", 2),
    "single": ("ALTER TABLE single ADD UNIQUE (value) INCLUDE (note);\nREINDEX INDEX single_note;", 3),
    "required": ("ALTER TABLE required ALTER note SET NOT NULL;", 3),
    "token": ("ALTER TABLE token ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid();", 5),
    "Odd": ('ALTER TABLE "Odd ""table" ADD PRIMARY KEY ("a b");', 5),
    "first": ("ALTER TABLE first ADD x int;\nUPDATE first SET x = value;\nALTER TABLE second ADD x int;", 3),
}


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A copy of production, its clone at `url` with the originals applied, and the suggestions for them."""

    copy: ProdCopy
    url: str
    runs: tuple[Run, ...]
    advice: SuggestionResult

    def trial(self, table: str) -> SuggestionTrial:
        (found,) = [one for one in self.advice.trials if one.suggestion.filename.endswith(f"_{table.lower()}.sql")]
        return found


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


@contextmanager
def production(script: str) -> Iterator[ProdCopy]:
    """A copy of production on a small server of its own, since a large one takes longer to set up than a test."""

    def restore(url: str) -> tuple[str, ...]:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(script.encode())
            connection.execute("VACUUM ANALYZE")
        return ()

    roomy = MEMORY_FOLDER.is_dir() and shutil.disk_usage(MEMORY_FOLDER).free > NEEDED_MEMORY_BYTES
    store = Path(tempfile.mkdtemp(prefix="suggest-", dir=MEMORY_FOLDER if roomy else FALLBACK_FOLDER))
    store.chmod(0o755)
    request = CopyRequest(
        target=CopyTarget(store_folder=store),
        digest="ab" * 32,
        name="p",
        programs=found_programs(),
        memory_bytes=GB,
    )
    with open_copy(request, restore=restore) as copy:
        yield copy
    shutil.rmtree(store)


def found_programs() -> Programs:
    configured = os.environ.get("KERNEL_PG_BINDIR")
    return find_programs(Path(configured) if configured else None)


def lint_findings(place: Path, runs: tuple[Run, ...]) -> tuple[Finding, ...]:
    """The linter's findings of the files that were run."""
    ran = {run.filename for run in runs}
    return tuple(one.finding for one in lint_migrations(read_migration_directory(place), ran).findings)


@pytest.fixture(scope="module")
def copy() -> Iterator[ProdCopy]:
    with production(LEDGER + TABLES_SQL + OTHERS) as found:
        yield found


@pytest.fixture(scope="module")
def tried(copy: ProdCopy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    place = tmp_path_factory.mktemp("migrations")
    for number, (table, (text, _)) in enumerate(KINDS.items(), start=1):
        (place / f"{number:03}_{table.lower()}.sql").write_text(text)
    with copy.clone("rehearsal") as clone:
        found = discover_migrations(place)
        runs = trace_migrations(clone.url, found, MigrateOptions())
        assert [run.failed for run in runs] == [None] * len(KINDS)
        original = OriginalRehearsal(
            url=clone.url, runs=runs, findings=lint_findings(place, runs), ledger_tables=LEDGER_TABLES
        )
        yield Tried(
            copy=copy,
            url=clone.url,
            runs=runs,
            advice=suggest_rewrites(copy, found, original, RehearsalRequest(), Reporter()),
        )


def test_every_suggestion_runs_and_comes_to_the_same_end(tried: Tried) -> None:
    assert tried.advice.failure == ""
    assert tried.advice.differences == ()
    assert tried.advice.refused == ()
    assert tried.advice.proven
    assert len(tried.advice.trials) == len(KINDS)


@pytest.mark.parametrize("table", KINDS)
def test_no_row_is_read_or_rewritten_under_a_lock_that_shuts_others_out(tried: Tried, table: str) -> None:
    trial = tried.trial(table)
    assert any(works(trial.original_run, one) for one in range(len(trial.original_run.statements)))
    for run in trial.suggested_runs:
        assert not any(works(run, one) for one in range(len(run.statements))), run.filename
    assert len(trial.suggested_runs) == KINDS[table][1]


def works(run: Run, place: int) -> bool:
    """Whether a statement reads or writes rows while itself or one ahead of it shuts others out of a table."""
    statement = run.statements[place]
    if measure_impact(statement).grows_with_rows:
        return True
    return bool(statement.written and locks_held_before(run, statement))


def test_pg_dump_sees_no_difference(tried: Tried, tmp_path: Path) -> None:
    place = written(tried, tmp_path)
    with tried.copy.clone("again") as clone:
        applied(clone.url, place)
        assert dumped(clone.url) == dumped(tried.url)
        for table in TABLES:
            columns = sorted(
                name
                for (name,) in rows(
                    tried.url, f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0"
                )
                if name != "token"
            )
            query = f"SELECT {', '.join(columns)} FROM {table} ORDER BY id"
            assert rows(clone.url, query) == rows(tried.url, query)


def written(tried: Tried, tmp_path: Path) -> Path:
    place = write_suggested_files(tmp_path / "page.html", tried.advice)
    assert place == tmp_path / "page-suggested"
    return place


def applied(url: str, place: Path) -> None:
    with open_session(url) as session:
        migrate(session, discover_migrations(place), MigrateOptions(), lambda _event: None)


def dumped(url: str) -> list[str]:
    """The lines of a schema's dump; where columns stand in another order, so do the lines and their commas."""
    dump = found_programs().bin / "pg_dump"
    text = subprocess.run(
        [dump, "--schema-only", "--exclude-table=schema_migrations*", url], check=True, capture_output=True, text=True
    ).stdout
    return sorted(line.rstrip(",") for line in text.splitlines() if "restrict" not in line)


def test_rows_written_between_the_files_have_their_default(tried: Tried, tmp_path: Path) -> None:
    place = written(tried, tmp_path)
    backfilled = {one.filename for one in tried.trial("token").suggestion.files}
    now = tmp_path / "now"
    now.mkdir()
    with tried.copy.clone("busy") as clone:
        inserted = 0
        for path in sorted(place.iterdir()):
            shutil.copy(path, now / path.name)
            applied(clone.url, now)
            if path.name in backfilled:
                inserted += 1
                rows(clone.url, f"INSERT INTO token (id) VALUES ({ROWS + inserted})")
        assert rows(clone.url, "SELECT count(*), count(DISTINCT token) FROM token") == [(ROWS + 5, ROWS + 5)]


def test_the_folder_holds_the_files_of_the_last_rehearsal_and_nothing_else(tried: Tried, tmp_path: Path) -> None:
    place = written(tried, tmp_path)
    names_before = sorted(path.name for path in place.iterdir())
    (place / "notes.txt").write_text("mine")
    assert written(tried, tmp_path) == place
    assert sorted(path.name for path in place.iterdir()) == sorted([*names_before, "notes.txt"])


def test_the_text_tells_both_timelines(tried: Tried) -> None:
    text = suggestions_text(tried.advice, folder=Path("page-suggested"))
    assert "tried on a clone: the same schema and the same rows" in text
    assert "public.token: blocked: reads" in text
    assert all(len(line) <= TERMINAL_COLUMNS for line in text.splitlines())


def advice_for(copy: ProdCopy, place: Path, **files: str) -> SuggestionResult:
    """What is suggested for these files alone."""
    for name, text in files.items():
        (place / f"{name.removeprefix('f')}.sql").write_text(text)
    found = discover_migrations(place)
    with copy.clone("rehearsal_alone") as clone:
        runs = trace_migrations(clone.url, found, MigrateOptions())
        return suggest_rewrites(
            copy,
            found,
            OriginalRehearsal(
                url=clone.url, runs=runs, findings=lint_findings(place, runs), ledger_tables=LEDGER_TABLES
            ),
            RehearsalRequest(),
            Reporter(),
        )


def test_a_suggestion_that_fails_is_given_up_and_the_others_are_tried_again(copy: ProdCopy, tmp_path: Path) -> None:
    # A rewrite of the table does not check a constraint that is NOT VALID, and the backfill's UPDATE does.
    advice = advice_for(
        copy,
        tmp_path,
        f001_check="ALTER TABLE years ADD CONSTRAINT large CHECK (id > 1000) NOT VALID;",
        f002_uuid="ALTER TABLE years ADD COLUMN token uuid DEFAULT gen_random_uuid();",
        f003_check="ALTER TABLE years ADD CHECK (id > 0);",
    )
    assert [one.suggestion.version for one in advice.trials] == ["003"]
    assert advice.proven
    ((filename, refused),) = advice.refused
    assert (filename, refused.rule, refused.line) == ("002_uuid.sql", "volatile-default", 1)
    assert refused.reason.startswith("the suggestion failed: 003_uuid_backfill.sql: ")


def test_files_behind_a_suggestion_run_under_the_numbers_that_they_move_to(copy: ProdCopy, tmp_path: Path) -> None:
    advice = advice_for(
        copy,
        tmp_path,
        f001_check="ALTER TABLE years ADD CHECK (year > 0);",
        f002_view="CREATE VIEW recent AS SELECT * FROM years;",
        f003_index="CREATE INDEX ON years ((year::text));",
    )
    assert [one.suggestion.version for one in advice.trials] == ["001"]
    assert advice.proven
    ((filename, refused),) = advice.refused
    assert (filename, refused.rule) == ("003_index.sql", "create-index-not-concurrently")
    assert "give it a name" in refused.reason


def test_a_file_whose_original_fails_has_nothing_to_be_compared_with(copy: ProdCopy, tmp_path: Path) -> None:
    advice = advice_for(
        copy,
        tmp_path,
        f001_check="ALTER TABLE years ADD CHECK (year > 0);",
        f002_view="ALTER TABLE viewed ALTER id TYPE bigint;",
        f003_never="ALTER TABLE years ADD CHECK (id > 0);",
    )
    assert [one.suggestion.version for one in advice.trials] == ["001"]
    assert advice.proven


@pytest.mark.slow
def test_a_large_table_is_shut_for_a_moment_and_not_for_a_rewrite(tmp_path: Path) -> None:
    large = LEDGER + TABLES_SQL.replace(str(ROWS), "300000") + OTHERS
    with production(large) as copy:
        advice = advice_for(copy, tmp_path, f001_uuid=KINDS["token"][0])
    assert advice.proven
    (trial,) = advice.trials
    assert (
        max(one.reads_seconds for one in trial.blocked_after)
        < max(one.reads_seconds for one in trial.blocked_before) / 4
    )


def test_without_a_finding_nothing_is_cloned(copy: ProdCopy, tmp_path: Path) -> None:
    advice = advice_for(copy, tmp_path, f001_new="CREATE TABLE IF NOT EXISTS fresh (id bigint PRIMARY KEY);")
    assert advice.trials == ()
    assert advice.seconds == 0


@pytest.fixture(scope="module")
def examples() -> Iterator[ProdCopy]:
    """The database that the examples of the rules are about."""
    with production(LEDGER + EXAMPLE_SCHEMA) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("rule", [one for one in ALL_RULES if one.id in MECHANICAL_RULES], ids=lambda rule: rule.id)
def test_the_bad_example_of_a_mechanical_rule_has_a_proven_suggestion(
    examples: ProdCopy, tmp_path: Path, rule: Rule
) -> None:
    advice = advice_for(examples, tmp_path, f001_bad=rule.bad)
    assert advice.refused == ()
    assert advice.proven


def test_another_end_is_seen(copy: ProdCopy) -> None:
    with copy.clone("one") as one, copy.clone("other") as other:
        rows(other.url, "UPDATE checked SET value = value + 1 WHERE id = 3")
        rows(other.url, "DELETE FROM child WHERE id = 3")
        rows(other.url, "CREATE INDEX more ON years (born)")
        clones = MigratedClones(
            copy=copy,
            migrations=(),
            last_version="",
            original_url=one.url,
            suggested_url=other.url,
            ledger_tables=LEDGER_TABLES,
        )
        differing = clones.compare_rows(one.url, other.url, without=(), jobs=2)
        assert [describe_row_difference(apart, ()) for apart in differing] == [
            "public.checked: 1 row different in value",
            "public.child: 1 row missing",
        ]
        with open_session(one.url) as session:
            aim = read_schema(session)
        with open_session(other.url) as session:
            end = read_schema(session)
        assert diff_schemas(aim, end, oids=False) == ("index public.more: added, USING btree (born)",)


TOUCHED = """
ALTER TABLE years ADD COLUMN touched timestamptz NOT NULL DEFAULT '2020-01-01';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.touched := clock_timestamp(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON years FOR EACH ROW EXECUTE FUNCTION touch();
"""


@pytest.fixture(scope="module")
def touching() -> Iterator[ProdCopy]:
    """A copy whose table `years` notes when a row was changed, by the clock."""
    with production(LEDGER + YEARS + TOUCHED) as found:
        yield found


def test_what_the_clock_says_is_no_difference_of_a_suggestion(touching: ProdCopy, tmp_path: Path) -> None:
    advice = advice_for(
        touching,
        tmp_path,
        f001_write="UPDATE years SET year = year + 1 WHERE id <= 40;",
        f002_check="ALTER TABLE years ADD CHECK (year > 0);",
    )
    assert advice.differences == ()
    assert advice.nondeterministic_values == ("public.years: 40 values of touched",)
    assert advice.proven


def ended(copy: ProdCopy, place: Path, other: str) -> Equivalence:
    """The proof for a suggestion whose files do this instead of what the file in the place does."""
    found = discover_migrations(place)
    with copy.clone("rehearsal_ended") as one, copy.clone("other_end") as another:
        for url in (one.url, another.url):
            with open_session(url) as session:
                migrate(session, found, MigrateOptions(), lambda _event: None)
        rows(another.url, other)
        ends = MigratedClones(
            copy=copy,
            migrations=found,
            last_version=found[-1].version,
            original_url=one.url,
            suggested_url=another.url,
            ledger_tables=LEDGER_TABLES,
        )
        return prove_equivalence(ends, (), RehearsalRequest())


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ("UPDATE years SET year = year", "public.years: 100 rows different in touched"),
        ("ALTER TABLE years DISABLE TRIGGER USER; UPDATE years SET touched = '2020-01-01'", "different in touched"),
        ("UPDATE years SET born = '2021-01-01' WHERE id = 3", "public.years: 1 row different in born"),
        ("DELETE FROM years WHERE id = 3", "public.years: 1 row missing, 39 rows different in touched"),
    ],
    ids=["written everywhere", "not written", "another column", "a row lost"],
)
def test_the_clock_hides_nothing_else(touching: ProdCopy, tmp_path: Path, other: str, difference: str) -> None:
    (tmp_path / "001_write.sql").write_text("UPDATE years SET year = year + 1 WHERE id <= 40;")
    assert any(difference in line for line in ended(touching, tmp_path, other).differences)


def test_rows_with_keys_made_anew_each_time_are_said_to_prove_nothing(touching: ProdCopy, tmp_path: Path) -> None:
    (tmp_path / "001_insert.sql").write_text("INSERT INTO years SELECT 1000 + random() * 1000000, 1 FROM viewed;")
    found = ended(touching, tmp_path, "UPDATE years SET id = id + 1 WHERE id >= 1000")
    (line,) = found.differences
    assert line.startswith("public.years: 1 row too many, 1 row missing; two runs of the originals differ in the same")


def test_the_catalog_has_the_tables_among_the_names_of_a_file(copy: ProdCopy) -> None:
    with copy.clone("facts") as clone, open_session(clone.url) as session:
        found = read_table_catalog(session.connection, ['"viewed"', '"Odd ""table"', '"nowhere"', '"SELECT"'])
    assert set(found.tables) == {'"viewed"', '"Odd ""table"'}
    assert found.tables['"viewed"'].columns == {"id": True}
    assert found.tables['"Odd ""table"'].quoted == 'public."Odd ""table"'


def test_names_are_those_that_postgresql_chooses(database: str) -> None:
    tables = ("t", "ä" * 31, "x" * 63, 'o"d d')
    with psycopg.connect(database, autocommit=True) as connection, open_session(database) as session:
        for table in tables:
            quoted = quote_name(table)
            columns = ("a", "b" * 40, "ü" * 25)
            connection.execute(
                f"CREATE TABLE {quoted} ({', '.join(f'{quote_name(one)} int' for one in columns)})".encode()
            )
            for script, rule in (
                (f"ALTER TABLE {quoted} ADD CHECK ({quote_name(columns[1])} > 0);", "check-validated-under-lock"),
                (f"ALTER TABLE {quoted} ADD CHECK (a > {quote_name(columns[1])});", "check-validated-under-lock"),
                (f"ALTER TABLE {quoted} ADD UNIQUE (a, {quote_name(columns[2])});", "unique-builds-index-under-lock"),
                (f"ALTER TABLE {quoted} ADD UNIQUE (a);", "unique-builds-index-under-lock"),
                (f"ALTER TABLE {quoted} ADD PRIMARY KEY (a);", "unique-builds-index-under-lock"),
                (f"ALTER TABLE {quoted} ADD FOREIGN KEY (a) REFERENCES {quoted};", "foreign-key-validated-under-lock"),
                (
                    f"CREATE INDEX ON {quoted} (a, abs(a), abs({quote_name(columns[1])}), (a + 1));",
                    "create-index-not-concurrently",
                ),
                (
                    f"CREATE INDEX ON {quoted} (a, abs(a), abs({quote_name(columns[1])}), (a + 1));",
                    "create-index-not-concurrently",
                ),
            ):
                one = Migration(version="1", filename="001_x.sql", directory=Path("/"), checksum="")
                source = split_into_units(one, script.encode())
                finding = Finding(rule=rule, severity=Severity.ERROR, message="", remedy="", line=1, offset=0)
                known = read_table_catalog(session.connection, source.names_in([0]))
                found = rewrite_migration(source, [finding], known, first=1)
                taken = named(connection)
                connection.execute(script.encode())
                (chosen,) = named(connection) - taken
                assert any(quote_name(chosen) in file.text for file in found.files), script


def named(connection: psycopg.Connection) -> set[str]:
    """The names of all indexes and constraints, without those of NOT NULL."""
    query = (
        "SELECT relname FROM pg_class WHERE relkind = 'i' AND oid >= 16384 AND relnamespace = 'public'::regnamespace"
        " UNION SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
    )
    return {name for (name,) in connection.execute(query)}
