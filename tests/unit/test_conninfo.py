from __future__ import annotations

from urllib.parse import quote

import hypothesis
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from kernel.config.conninfo import check_conninfo

repeatable = hypothesis.settings(derandomize=True, deadline=None)  # the same on a busy machine

READABLE = [
    "postgresql://",
    "postgresql://postgres:password@localhost:5432/aibos_dev",
    "postgres://db.xyz.supabase.co/postgres?sslmode=verify-full&sslrootcert=/etc/ca%20bundle.pem",
    "postgresql:///aibos_dev?host=/tmp/sockets",
    "postgresql://%2Ftmp%2Fsockets/aibos_dev",
    "postgresql://u@[::1]:5432/db",
    "postgresql://u:p@one:5432,two:5433/db?target_session_attrs=read-write",
    "postgresql://u:p@host:/db",
    "postgresql://u:p#p:p?p@host/db",  # libpq ends the password at the first @ only
    "postgresql://u:p%40%2F%3F%23%25@host/db",
    "postgresql://host/db?application_name=a@b",
    "postgresql://u@host?dbname=db",
    "postgresql://host/db?ssl=true",
    "postgresql://host/db?sslmode=require&",
    "host=localhost dbname=aibos_dev",
    "host = localhost\n port= 5432",
    "password='a b\\' = @/?#' host=h",
    "password=a\\ b host=h",
    "service=production",
]
REFUSED = {
    "postgresql://u:pa@ss@host/db": "an @ too many",
    "postgresql://u:pa/ss@host/db": "a / too early",
    "postgresql://u:pa@s/s@host/db": "write @ as %40, / as %2F",
    "postgresql://u:pa@s?s@host/db": "not name=value",
    "postgresql://u:p/s?s@host/db": "host:port",
    "postgresql://u:100%@host/db": "write a plain % as %25",
    "postgresql://u:p%00@host/db": "write a plain % as %25",
    "postgresql://u:a b@host/db": "write a blank as %20",
    "postgresql://u:p@host\n.example/db": "blank or control character",
    "postgresql://u:p@host:port/db": "no readable host:port",
    "postgresql://u:p@::1:5432/db": r"IPv6 as \[::1\]:5432",
    "postgresql://u:p@host/db?sslmode": "not name=value",
    "postgresql://host/db?options=-c%20a=b": "an = in a value is %3D",
    "postgresql://postgres:[YOUR-PASSWORD]@host/db": "put the password in its place",
    "'postgresql://host/db'": "remove the quotes",
    '"postgresql://host/db"': "remove the quotes",
    " postgresql://host/db": "remove them",
    "postgresql://host/db\n": "line break",
    "POSTGRESQL://host/db": "write postgresql://",
    "postgresql+psycopg2://host/db": "write postgresql://",
    "jdbc:postgresql://host/db": "write postgresql://",
    "mysql://host/db": "expected postgresql://",
    "http://host/db": "expected postgresql://",
    "postgresql:host": "expected postgresql://",
    "psql postgresql://host/db?a=b": "expected postgresql://",
    "/var/lib/db": "expected postgresql://",
    "localhost": "expected postgresql://",
    "host=h dbname": "single quotes",
    "host='h": "expected postgresql://",
    "=": "expected postgresql://",
    "host=h\0": "UTF-8",
    "host=\udcff": "UTF-8",
    "postgresql://host/db?ssl=false": "write sslmode=",
    "postgresql://host/db?sslmode=no-verify": "write sslmode=",
}


@pytest.mark.parametrize("text", READABLE)
def test_what_libpq_reads_is_accepted_unchanged(text: str) -> None:
    conninfo_to_dict(text)  # the oracle: raises when libpq cannot read it
    assert check_conninfo(text, shared=False) == text


@pytest.mark.parametrize(("text", "remedy"), REFUSED.items())
def test_a_frequent_fault_is_refused_with_its_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        check_conninfo(text, shared=False)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://host/db?pgbouncer=true&connection_limit=1&schema=public",
        "host=h pgbouncer=1 connection_limit=1 schema=s",
    ],
)
def test_parameters_of_other_programs_are_all_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"pgbouncer \(for Prisma\), connection_limit .*, schema .*; remove them$"):
        check_conninfo(text, shared=False)


def test_a_shared_url_may_keep_its_parameters_when_migrations_have_a_url_of_their_own() -> None:
    with pytest.raises(ValueError, match="or set MIGRATION_DATABASE_URL"):
        check_conninfo("postgresql://host/db?pgbouncer=true", shared=True)


def test_a_parameter_that_only_a_newer_libpq_may_know_is_left_to_libpq() -> None:
    text = "postgresql://host/db?sslsomething=1"
    assert check_conninfo(text, shared=False) == text


@repeatable
@given(st.text(), st.text(min_size=1))
def test_an_escaped_password_reaches_libpq_as_it_is(password: str, database: str) -> None:
    password, database = (part.encode(errors="ignore").decode().replace("\0", "") for part in (password, database))
    url = f"postgresql://u:{quote(password, safe='')}@host:5432/{quote(database, safe='')}"
    parts = conninfo_to_dict(check_conninfo(url, shared=False))
    assert (parts.get("password", ""), parts["host"], parts.get("dbname", "")) == (password, "host", database)


@repeatable
@given(st.text(alphabet="ab1@/?#:[]'\"\\", max_size=8))
def test_an_unescaped_password_is_read_right_or_refused_but_never_taken_for_a_host(password: str) -> None:
    url = f"postgresql://u:{password}@host/db"
    try:
        check_conninfo(url, shared=False)
    except ValueError:
        return
    parts = conninfo_to_dict(url)
    assert (parts.get("password", ""), parts["host"], parts["dbname"]) == (password, "host", "db")


@repeatable
@given(st.text(alphabet="ho=st' \\ab\n", max_size=14))
def test_a_keyword_string_that_libpq_can_divide_is_not_refused(text: str) -> None:
    text = f"host={text.strip()}"
    try:
        conninfo_to_dict(text)
    except psycopg.Error:
        return
    assert check_conninfo(text.strip(), shared=False)
