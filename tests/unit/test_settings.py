from __future__ import annotations

import dataclasses
import re
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from kernel.config.ledger_name import DEFAULT_LEDGER, LedgerName, parse_ledger_name
from kernel.config.settings import SETTING_NAMES, URL_NAMES, Settings, load_settings
from kernel.config.variables import SETTINGS
from kernel.errors import SettingsError

repeatable = hypothesis.settings(derandomize=True, deadline=None)  # the same on a busy machine

URL = "postgresql://postgres:password@localhost:5432/aibos_dev"
OTHER = "postgresql://postgres:password@localhost:5432/other"
SECRET = "hunter2"  # noqa: S105 - the mark that must not be seen
PATHS = ("KERNEL_MIGRATIONS_DIR", "KERNEL_PG_BINDIR", "KERNEL_DATA_DIR", "KERNEL_MIGRATIONS_TABLE")  # shown on purpose
EXAMPLE = Path(__file__).parents[2] / ".env.example"


def refused(root: Path, environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(root, environ)
    return [str(problem) for problem in caught.value.problems]


def test_without_any_setting_every_default_is_the_documented_one(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {}) == Settings(
        root=tmp_path,
        database_url=None,
        database_variable=None,
        production=False,
        prod_db=None,
        test_db=None,
        test_database_url=None,
        migrations_dir=tmp_path / "migrations",
        migrations_table=DEFAULT_LEDGER,
        role="",
        ignored_drift=(),
        pg_bindir=None,
        data_dir=None,
        lock_timeout_ms=5_000,
        lock_retries=5,
        statement_timeout_ms=0,
        warnings=(),
    )


def test_every_setting_arrives_where_it_belongs(tmp_path: Path) -> None:
    environ = {
        "DATABASE_URL": URL,
        "KERNEL_STORAGE_MODE": "SUPABASE",
        "PROD_DB": "host=prod",
        "TEST_DB": "host=test",
        "TEST_DATABASE_URL": "postgresql+asyncpg://of-the-application",
        "KERNEL_MIGRATIONS_DIR": "db/migrations",
        "KERNEL_MIGRATIONS_TABLE": 'Billing."Applied Files"',
        "KERNEL_ROLE": "app_owner",
        "KERNEL_IGNORE_DRIFT": "public.scratch_*, reporting,",
        "KERNEL_PG_BINDIR": "/opt/pg/bin",
        "KERNEL_DATA_DIR": "data",
        "KERNEL_LOCK_TIMEOUT": "1.5s",
        "KERNEL_LOCK_RETRIES": "0",
        "KERNEL_STATEMENT_TIMEOUT": "2min",
    }
    assert dataclasses.asdict(load_settings(tmp_path, environ)) == {
        "root": tmp_path,
        "database_url": URL,
        "database_variable": "DATABASE_URL",
        "production": True,
        "prod_db": "host=prod",
        "test_db": "host=test",
        "test_database_url": "postgresql+asyncpg://of-the-application",
        "role": "app_owner",
        "migrations_dir": tmp_path / "db/migrations",
        "migrations_table": {"schema": "billing", "table": "Applied Files"},
        "ignored_drift": ("public.scratch_*", "reporting"),
        "pg_bindir": Path("/opt/pg/bin"),
        "data_dir": tmp_path / "data",
        "lock_timeout_ms": 1_500,
        "lock_retries": 0,
        "statement_timeout_ms": 120_000,
        "warnings": (),
    }


@pytest.mark.parametrize("first", range(3))
def test_the_first_of_the_three_urls_is_the_database(tmp_path: Path, first: int) -> None:
    loaded = load_settings(tmp_path, dict.fromkeys(URL_NAMES[first:], URL))
    assert (loaded.database_url, loaded.database_variable) == (URL, URL_NAMES[first])


def test_a_url_that_is_passed_over_is_not_checked(tmp_path: Path) -> None:
    environ = {"MIGRATION_DATABASE_URL": URL, "DATABASE_URL": f"{URL}?pgbouncer=true", "SUPABASE_DB_URL": "garbage"}
    loaded = load_settings(tmp_path, environ)
    assert (loaded.database_variable, loaded.warnings) == ("MIGRATION_DATABASE_URL", ())


def test_an_exported_url_is_never_passed_over_for_another_database_in_a_file(tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text(f"MIGRATION_DATABASE_URL={URL}\n")
    with pytest.raises(SettingsError) as refused:
        load_settings(tmp_path, {"DATABASE_URL": OTHER})
    assert str(refused.value) == (
        "environment: DATABASE_URL: MIGRATION_DATABASE_URL in .env.local would be used instead; "
        "set MIGRATION_DATABASE_URL here too, or remove it there"
    )


def test_the_same_url_under_two_names_is_no_reason_to_refuse(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL={URL}\n")
    assert load_settings(tmp_path, {"SUPABASE_DB_URL": URL}).warnings == ()


def test_paths_are_absolute_even_when_the_root_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(Path(), {"KERNEL_DATA_DIR": "data"})
    assert (loaded.root, loaded.migrations_dir) == (tmp_path, tmp_path / "migrations")
    assert loaded.data_dir == tmp_path / "data"


def test_the_url_reaches_libpq_with_its_tls_parameters_unchanged(tmp_path: Path) -> None:
    url = f"{URL}?sslmode=verify-full&sslrootcert=/etc/ca.pem"
    assert load_settings(tmp_path, {"DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize("name", [*URL_NAMES, "PROD_DB", "TEST_DB"])
def test_a_url_of_another_database_is_refused_wherever_a_url_is_read(tmp_path: Path, name: str) -> None:
    [problem] = refused(tmp_path, {name: "mysql://root:hunter2@localhost/db"})
    assert problem.startswith(f"environment: {name}: expected postgresql://")


@pytest.mark.parametrize(
    ("name", "told"),
    [("DATABASE_URL", True), ("SUPABASE_DB_URL", True), ("PROD_DB", False), (URL_NAMES[0], False)],
)
def test_only_a_url_shared_with_the_application_is_offered_a_second_one(tmp_path: Path, name: str, told: bool) -> None:
    [problem] = refused(tmp_path, {name: f"{URL}?pgbouncer=true"})
    assert ("set MIGRATION_DATABASE_URL" in problem) == told


@pytest.mark.parametrize(
    ("mode", "production"),
    [("SUPABASE", True), ("supabase", True), ("IN_MEMORY", False), ("in_memory", False), ("", False)],
)
def test_the_storage_mode_decides_about_production(tmp_path: Path, mode: str, production: bool) -> None:
    assert load_settings(tmp_path, {"DATABASE_URL": URL, "KERNEL_STORAGE_MODE": mode}).production == production


def test_production_without_a_url_is_refused_where_the_mode_stands(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KERNEL_STORAGE_MODE=SUPABASE\n")
    assert refused(tmp_path, {"DATABASE_URL": ""}) == [
        ".env:1: KERNEL_STORAGE_MODE: production needs a database; set DATABASE_URL or SUPABASE_DB_URL"
    ]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("KERNEL_STORAGE_MODE", "Postgres", "SUPABASE (production) or IN_MEMORY"),
        ("KERNEL_STORAGE_MODE", " SUPABASE", "SUPABASE (production) or IN_MEMORY"),
        ("KERNEL_LOCK_TIMEOUT", "5 seconds", "duration such as 5s"),
        ("KERNEL_STATEMENT_TIMEOUT", "-1", "duration such as 5s"),
        ("KERNEL_LOCK_RETRIES", "five", "whole number from 0 to 999"),
        ("KERNEL_LOCK_RETRIES", "-1", "whole number from 0 to 999"),
        ("KERNEL_LOCK_RETRIES", "1000", "whole number from 0 to 999"),
        ("KERNEL_LOCK_RETRIES", "٣", "whole number from 0 to 999"),
        ("KERNEL_PG_BINDIR", "~/pg/bin", "write the whole path"),
        ("KERNEL_DATA_DIR", "a\0b", "write a path"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_with_what_is_expected(
    tmp_path: Path, name: str, value: str, expected: str
) -> None:
    [problem] = refused(tmp_path, {name: value})
    assert problem.startswith(f"environment: {name}: ")
    assert expected in problem


def test_every_problem_of_every_layer_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text("KERNEL_LOCK_RETRIES=x\nTEST_DB='open\n")
    (tmp_path / ".env").write_text("\nPROD_DB=/a/path\n")
    told = refused(tmp_path, {"DATABASE_URL": "garbage", "KERNEL_LOCK_TIMOUT": "5s"})
    places = sorted(re.match(r"(\S+): (\w+)", problem).group() for problem in told)  # type: ignore[union-attr]
    assert places == [
        ".env.local:1: KERNEL_LOCK_RETRIES",
        ".env.local:2: is",
        ".env:2: PROD_DB",
        "environment: DATABASE_URL",
        "environment: KERNEL_LOCK_TIMOUT",
    ]


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("KERNEL_LOCK_TIMOUT", "KERNEL_LOCK_TIMEOUT"),
        ("KERNEL_LOCK_RETRY", "KERNEL_LOCK_RETRIES"),
        ("KERNEL_MIGRATION_DIR", "KERNEL_MIGRATIONS_DIR"),
        ("KERNEL_PG_BIN_DIR", "KERNEL_PG_BINDIR"),
        ("KERNEL_STORAGEMODE", "KERNEL_STORAGE_MODE"),
    ],
)
def test_a_misspelt_name_is_a_problem_that_names_the_right_one(tmp_path: Path, misspelt: str, meant: str) -> None:
    (tmp_path / ".env").write_text(f"{misspelt}=1\n")
    assert refused(tmp_path, {}) == [f".env:1: {misspelt}: unknown; write {meant}, or remove it"]


def test_settings_of_the_kernel_itself_are_mentioned_once_and_ignored(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KERNEL_PORT=3001\nOTHER=1\n")
    environ = {"KERNEL_DATABASE_DIR": "x", "KERNEL_STORAGE_PATH": "y", "KERNEL_EMPTY": ""}
    assert load_settings(tmp_path, environ).warnings == (
        "ignored, not settings of the migrations: KERNEL_DATABASE_DIR, KERNEL_PORT, KERNEL_STORAGE_PATH",
    )


# The mark inside what goes wrong in practice, inside connection strings, and inside anything.
marked = st.one_of(
    st.sampled_from(
        [
            f"postgresql://u:{SECRET}@host/db",
            f"postgresql://u:@{SECRET}@host/db",
            f"postgresql://u:/{SECRET}@host/db",
            f"postgresql://u:?{SECRET}@host/{SECRET}",
            f"postgresql://u:p@host/db?{SECRET}=1&pgbouncer={SECRET}",
            f"postgresql://u:%{SECRET}@host/db",
            f"mysql://u:{SECRET}@host/db",
            f"password={SECRET} host=h pgbouncer={SECRET}",
            f"password='{SECRET}",
        ]
    ),
    st.builds(lambda before, after: f"{before}{SECRET}{after}", st.text(max_size=5), st.text(max_size=5)),
)


@repeatable
@given(st.dictionaries(st.sampled_from([name for name in SETTING_NAMES if name not in PATHS]), marked, min_size=1))
def test_no_value_of_the_environment_is_ever_shown(environ: dict[str, str]) -> None:
    try:
        shown = repr(load_settings(Path("/nowhere"), environ))
    except SettingsError as error:
        shown = f"{error} {error!r} {error.problems!r} {error.__cause__!r} {error.__context__!r}"
    assert SECRET not in shown


@repeatable
@given(
    st.lists(
        st.builds(
            str.format,
            st.sampled_from(["{}={}", "{}='{}'", "{}: {}", "{}:{}", '{}="{}', "export {}={}", "{} {}"]),
            st.sampled_from(URL_NAMES),
            marked,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_no_value_of_a_file_is_ever_shown(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        Path(root, ".env").write_text("\n".join(lines), encoding="utf-8", errors="replace")
        try:
            shown = repr(load_settings(Path(root), {}))
        except SettingsError as error:
            shown = f"{error} {error!r} {error.problems!r} {error.__cause__!r} {error.__context__!r}"
    assert SECRET not in shown


def test_the_example_describes_every_setting_with_its_default_and_no_other() -> None:
    entries = re.findall(r"^((?:# .*\n)+)#([A-Z_]+)=", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    described = {name: comment.replace("\n# ", " ").removeprefix("# ").strip() for comment, name in entries}
    assert described == {
        setting.name: f"{setting.description} "
        + (f"Default: {setting.default}." if setting.default is not None else "No default.")
        for setting in SETTINGS
    }


def test_the_example_loads_without_problems_as_it_is_and_uncommented(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    (tmp_path / ".env.local").write_text(text)
    assert load_settings(tmp_path, {}).database_url is None
    (tmp_path / ".env.local").write_text(re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.MULTILINE))
    loaded = load_settings(tmp_path, {})
    assert (loaded.database_variable, loaded.production, loaded.warnings) == ("MIGRATION_DATABASE_URL", True, ())
    assert (loaded.lock_timeout_ms, loaded.lock_retries, loaded.statement_timeout_ms) == (5_000, 5, 0)


@pytest.mark.parametrize(
    ("text", "schema", "table"),
    [
        ("ledger", None, "ledger"),
        ("Billing.Ledger", "billing", "ledger"),
        ('"Billing"."a.b"', "Billing", "a.b"),
        ('"a""b".t', 'a"b', "t"),
        ("straße.größe$1", "straße", "größe$1"),
    ],
)
def test_a_table_name_is_read_as_in_sql(text: str, schema: str | None, table: str) -> None:
    assert parse_ledger_name(text) == LedgerName(schema=schema, table=table)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.b.c", "expected a table or schema.table"),
        ("my-app.t", "in double quotes, as in SQL"),
        ("1t", "expected a table"),
        ("a.", "expected a table"),
        (".t", "expected a table"),
        ("a..t", "expected a table"),
        ('"a', "expected a table"),
        ('"".t', "expected a table"),
        ("a b", "expected a table"),
        ("a;b", "expected a table"),
        ("pg_temp.t", "one of the server's own"),
        ("t" * 55, "longer than 54 bytes"),
        ("s" * 64 + ".t", "longer than 63 bytes"),
        ("schema_migrations_progress", "belongs to another ledger"),
    ],
)
def test_what_names_no_table_is_refused_with_what_is_expected(tmp_path: Path, text: str, reason: str) -> None:
    (problem,) = refused(tmp_path, {"KERNEL_MIGRATIONS_TABLE": text})
    assert problem.startswith("environment: KERNEL_MIGRATIONS_TABLE: ")
    assert reason in problem


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATABSE_URL", "DATABASE_URL"),
        ("DATABASE_ULR", "DATABASE_URL"),
        ("DTABASE_URL", "DATABASE_URL"),
        ("DATABASE_URLS", "DATABASE_URL"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("database_url", "DATABASE_URL"),
        ("DatabaseUrl", "DATABASE_URL"),
        ("DATABASEURL", "DATABASE_URL"),
        ("SUPABASE_DBURL", "SUPABASE_DB_URL"),
        ("MIGRATIONS_DATABASE_URL", "MIGRATION_DATABASE_URL"),
        ("prod_db", "PROD_DB"),
        ("kernel_storage_mode", "KERNEL_STORAGE_MODE"),
        ("KERNEL_MIGRATION_TABLE", "KERNEL_MIGRATIONS_TABLE"),
    ],
)
def test_a_misspelled_setting_is_refused_in_the_environment_and_in_files(tmp_path: Path, name: str, meant: str) -> None:
    assert refused(tmp_path, {name: URL}) == [f"environment: {name}: unknown; write {meant}, or remove it"]
    (tmp_path / ".env").write_text(f"# ours\n{name}={URL}\n")
    assert refused(tmp_path, {}) == [f".env:2: {name}: unknown; write {meant}, or remove it"]


@pytest.mark.parametrize("name", ["DB_URL", "db_url", "DB_URI", "DATABASE_DSN", "KERNEL_DATABASE_URL", "KERNEL_DB_URL"])
def test_another_name_for_a_url_is_refused_where_no_url_is_set(tmp_path: Path, name: str) -> None:
    (problem,) = refused(tmp_path, {name: URL})
    assert problem == f"environment: {name}: not read, and no database URL is set; write DATABASE_URL, or remove it"
    assert load_settings(tmp_path, {name: URL, "DATABASE_URL": OTHER}).database_url == OTHER
    assert load_settings(tmp_path, {name: URL, "PGHOST": "db"}).database_url == ""


@pytest.mark.parametrize(
    "name",
    [
        *(
            "POSTGRES_URL",
            "POSTGRES_DB",
            "POSTGRES_USER",
            "REDIS_URL",
            "SUPABASE_URL",
            "DATABASE_SSL",
            "DATABASE_URL_2",
        ),
        *("TEST_DATABASE_URL", "DATABASE_URL_UNPOOLED", "DATABASE_PUBLIC_URL", "NEXT_PUBLIC_SUPABASE_URL", "BEST_DB"),
        *("DATABASE_USER", "DATABASE_HOST", "DATABASE", "URL", "_", "PGDATA", "PGPORT", "PGUSER", "PGPASSWORD", "PGTZ"),
    ],
)
def test_variables_of_other_programs_are_no_matter(tmp_path: Path, name: str) -> None:
    (tmp_path / ".env").write_text(f"{name}=x\n")
    for root in (tmp_path, Path("/nowhere")):
        loaded = load_settings(root, {name: "x"})
        assert (loaded.database_url, loaded.database_variable, loaded.warnings) == (None, None, ())


def test_a_name_like_that_of_a_setting_is_no_matter_next_to_the_setting_itself(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URI={OTHER}\nDATABASE_URL={URL}\n")
    assert load_settings(tmp_path, {}).database_url == URL
    assert refused(tmp_path, {"DATABASE_URI": OTHER}) == [
        "environment: DATABASE_URI: unknown; write DATABASE_URL, or remove it"
    ]


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE"])
def test_the_variables_of_libpq_are_a_url_unless_one_is_set(tmp_path: Path, name: str) -> None:
    by_libpq = load_settings(tmp_path, {name: "x", "PGUSER": "u", "KERNEL_STORAGE_MODE": "SUPABASE"})
    assert (by_libpq.database_url, by_libpq.database_variable) == ("", name)  # libpq reads the environment itself
    by_url = load_settings(tmp_path, {name: "x", "DATABASE_URL": URL})
    assert (by_url.database_url, by_url.database_variable) == (URL, "DATABASE_URL")


def test_the_variables_of_libpq_in_files_are_passed_on_where_the_environment_has_none(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PGHOST=db\nPGPASSWORD=it's a \\ secret\nPGDATABASE=shop\nPGUSER=me\n")
    loaded = load_settings(tmp_path, {"PGUSER": "you"})
    assert conninfo_to_dict(loaded.database_url or "") == {
        "host": "db",
        "password": "it's a \\ secret",
        "dbname": "shop",
    }
    assert loaded.database_variable == "PGHOST and PGDATABASE"
    assert "secret" not in repr(loaded)
