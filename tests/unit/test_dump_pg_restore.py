from __future__ import annotations

import pytest

from kernel.postgres.process import FinishedProgram
from kernel.rehearsal.dump.archive.contents import ArchiveListing, with_database_locale
from kernel.rehearsal.dump.archive.pg_restore import ReportedError, parse_reported_errors, ran_to_completion
from kernel.rehearsal.dump.common.model import DumpContents
from kernel.rehearsal.dump.preflight import debian_package

SAID = """\
pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter "transaction_timeout"
Command was: SET transaction_timeout = 0;


pg_restore: error: could not execute query: ERROR:  relation "u" already exists
LINE 1: CREATE TABLE public.u (
DETAIL:  hush
Command was: CREATE TABLE public.u (
    i text
);


pg_restore: error: COPY failed for table "u": ERROR:  invalid input syntax for type integer: "hush"
CONTEXT:  COPY u, line 17, column i: "hush"
pg_restore: error: COPY failed for table "v": ERROR:  duplicate key value violates unique constraint "v_pkey"
DETAIL:  Key (i)=(hush) already exists.
CONTEXT:  COPY v, line 3
pg_restore: warning: errors ignored on restore: 4
"""
LIST = """\
;
; Archive created at 2026-01-31 10:00:00 UTC
;
9; 2615 16569 SCHEMA - shop alice
3; 3079 16516 EXTENSION - dblink 
2758; 0 0 COMMENT - EXTENSION dblink 
220; 1259 16581 TABLE shop u alice
2743; 0 16581 TABLE DATA shop u alice
2744; 0 16582 TABLE DATA other u bob
2745; 0 16583 TABLE DATA shop EXTENSION alice
"""  # noqa: W291 - pg_restore ends a line so where there is no owner


def test_each_complaint_has_its_command_or_its_row_and_no_value_of_a_row() -> None:
    found = list(parse_reported_errors(SAID))
    assert [str(one) for one in found] == [
        'SET transaction_timeout = 0: unrecognized configuration parameter "transaction_timeout"',
        'CREATE TABLE public.u ( i text ): relation "u" already exists',
        "u: its rows could not be loaded: invalid input syntax for type integer (row 17)",
        'v: its rows could not be loaded: duplicate key value violates unique constraint "v_pkey" (row 3)',
    ]
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("command", "harmless"),
    [
        ("SET transaction_timeout = 0;", True),
        ("COMMENT ON EXTENSION citext IS 'x';", True),
        ("COMMENT ON INDEX public.i IS 'x';", True),
        ("ALTER TABLE public.t OWNER TO alice;", True),
        ("GRANT SELECT ON TABLE public.t TO alice;", True),
        ("CREATE INDEX i ON public.t USING btree (a);", False),
        ("ALTER TABLE ONLY public.t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES public.u(a);", False),
        ("CREATE TABLE public.t (a integer);", False),
        ("", False),
    ],
)
def test_what_a_copy_can_do_without_is_harmless_and_nothing_else(command: str, harmless: bool) -> None:
    assert ReportedError(message="permission denied", command=command).harmless is harmless


def test_what_every_database_has_is_there_and_a_table_that_is_there_is_not_harmless() -> None:
    schema = ReportedError(message='schema "public" already exists', command="CREATE SCHEMA public;")
    table = ReportedError(message='relation "t" already exists', command="CREATE TABLE public.t ();")
    assert (schema.already_exists, schema.harmless, table.already_exists, table.harmless) == (True, True, False, False)


def test_errors_that_were_only_counted_are_told_from_an_end() -> None:
    assert ran_to_completion(SAID)
    assert not ran_to_completion("pg_restore: error: could not read from input file: end of file\n")


def test_last_words_are_the_reason_and_not_its_consequences() -> None:
    said = (
        "pg_restore: error: could not find block ID 7 in archive -- possibly corrupt archive\n"
        "pg_restore: error: a worker process died unexpectedly\npg_restore: terminated by user\n"
    )
    words = FinishedProgram(exit_status=1, stderr=said).last_error
    assert words == "could not find block ID 7 in archive -- possibly corrupt archive"
    assert FinishedProgram(exit_status=9, stderr="").last_error == "it ended with status 9"


def test_entries_are_left_out_by_what_they_are_and_not_by_their_names() -> None:
    kept = ArchiveListing(LIST).select_entries(("EXTENSION ", "COMMENT - EXTENSION "))
    assert "dblink" not in kept
    assert "TABLE DATA shop EXTENSION alice" in kept
    assert kept.count("\n") == LIST.count("\n") - 2


def test_a_table_gets_its_schema_and_one_of_several_all_of_them() -> None:
    listing = ArchiveListing(LIST)
    assert listing.qualified_names("u") == "shop.u or other.u"
    assert listing.qualified_names("EXTENSION") == "shop.EXTENSION"
    assert listing.qualified_names("unknown") == "unknown"


@pytest.mark.parametrize(
    ("extension", "name"),
    [
        ("citext", "postgresql-15"),
        ("vector", "postgresql-15-pgvector"),
        ("postgis_topology", "postgresql-15-postgis-3"),
        ("plpython3u", "postgresql-plpython3-15"),
        ("pg_qualstats", "postgresql-15-pg-qualstats"),
    ],
)
def test_an_extension_is_found_in_its_package(extension: str, name: str) -> None:
    assert debian_package(extension, 15) == name


@pytest.mark.parametrize(
    ("clauses", "provider", "collate", "ctype"),
    [
        ("LOCALE = 'de_DE.UTF-8'", "", "de_DE.UTF-8", "de_DE.UTF-8"),
        ("LOCALE_PROVIDER = libc LC_COLLATE = 'C' LC_CTYPE = 'C.UTF-8'", "libc", "C", "C.UTF-8"),
        (
            "LOCALE_PROVIDER = icu LOCALE = 'en_US.UTF-8' ICU_LOCALE = 'en-US'",
            "icu",
            "en_US.UTF-8",
            "en_US.UTF-8",
        ),
        ("LOCALE_PROVIDER = builtin LOCALE = 'C' BUILTIN_LOCALE = 'C.UTF-8'", "builtin", "C", "C"),
    ],
)
def test_the_locale_of_the_database_is_read_as_every_version_writes_it(
    clauses: str, provider: str, collate: str, ctype: str
) -> None:
    statement = f"CREATE DATABASE d WITH TEMPLATE = template0 ENCODING = 'UTF8' {clauses};"
    contents = with_database_locale(DumpContents(), statement.encode())
    assert (contents.locale_provider, contents.lc_collate, contents.lc_ctype) == (provider, collate, ctype)
