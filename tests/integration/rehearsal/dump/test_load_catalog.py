"""The catalog of a loaded plain dump is the one that psql leaves."""

from __future__ import annotations

import itertools
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.postgres.process import program_environment
from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.dump.identify import identify_dump
from kernel.rehearsal.dump.plain.load import load_plain_dump
from kernel.rehearsal.dump.plain.scan import open_plain_dump
from kernel.rehearsal.prod_copy.server_settings import GB, loading_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernel.postgres.cluster import Server
    from kernel.rehearsal.dump.common.model import RestoreOutcome

# Keys of every kind, with rows that only their own rules let pass: NULLs, other types, blanks, other collations.
KEYS = r"""
CREATE SCHEMA "a ""b";
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE mood AS ENUM ('calm', 'cross');
CREATE TABLE "a ""b"."Key %I" ("n ""o" int PRIMARY KEY);
CREATE TABLE pair (x int, y text, PRIMARY KEY (x, y));
CREATE TABLE words (v varchar(9) PRIMARY KEY, c char(5) UNIQUE, t text COLLATE "C" UNIQUE, m mood UNIQUE);
CREATE TABLE self (id bigint PRIMARY KEY, parent int);
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE part_2 PARTITION OF part DEFAULT;
CREATE TABLE big (
  k int, d positive, s smallint, x int, y text, v text, c char(9), t text, m mood, p int, e int, a int[]);
CREATE TABLE parted (n int, p int) PARTITION BY LIST (p);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE heir () INHERITS (big);
INSERT INTO "a ""b"."Key %I" SELECT generate_series(1, 9);
INSERT INTO pair SELECT n, 'y' || n FROM generate_series(1, 9) n;
INSERT INTO words VALUES ('one', 'one', 'one', 'calm'), ('two', 'two  ', 'two', 'cross');
INSERT INTO self SELECT n, nullif(n - 1, 0) FROM generate_series(1, 9) n;
INSERT INTO part SELECT generate_series(1, 9);
INSERT INTO part VALUES (900);
INSERT INTO big SELECT n % 9 + 1, n % 9 + 1, n % 9 + 1, n % 9 + 1, 'y' || n % 9 + 1, 'one', 'two', 'two', 'cross',
  n % 9 + 1, 77, '{1}' FROM generate_series(0, 999) n;
INSERT INTO big (x, y) VALUES (1, NULL), (77, NULL), (NULL, 'nowhere');
INSERT INTO heir (k) VALUES (77);
INSERT INTO parted VALUES (1, 1), (2, 1);
ALTER TABLE big
  ADD CONSTRAINT "to %I ""q" FOREIGN KEY (k) REFERENCES "a ""b"."Key %I" ON DELETE CASCADE ON UPDATE RESTRICT,
  ADD FOREIGN KEY (d) REFERENCES "a ""b"."Key %I" DEFERRABLE INITIALLY DEFERRED,
  ADD FOREIGN KEY (s) REFERENCES "a ""b"."Key %I" ON DELETE SET NULL DEFERRABLE,
  ADD FOREIGN KEY (x, y) REFERENCES pair ON UPDATE SET DEFAULT,
  ADD FOREIGN KEY (s, t) REFERENCES pair NOT VALID,
  ADD FOREIGN KEY (v) REFERENCES words,
  ADD FOREIGN KEY (c) REFERENCES words (c),
  ADD FOREIGN KEY (t) REFERENCES words (t),
  ADD FOREIGN KEY (m) REFERENCES words (m),
  ADD FOREIGN KEY (p) REFERENCES part,
  ADD CONSTRAINT unproven FOREIGN KEY (e) REFERENCES self NOT VALID;
ALTER TABLE self ADD FOREIGN KEY (parent) REFERENCES self MATCH FULL;
ALTER TABLE parted ADD FOREIGN KEY (n) REFERENCES self;
ALTER TABLE parted_1 ADD FOREIGN KEY (p) REFERENCES "a ""b"."Key %I";
ALTER TABLE big DISABLE TRIGGER ALL;
COMMENT ON CONSTRAINT "to %I ""q" ON big IS 'told';
"""

# Without the numbers that another order of statements gives.
CATALOG = """
SELECT c.conname, contype, condeferrable, condeferred, convalidated, conrelid::regclass::text,
  confrelid::regclass::text, conindid::regclass::text, confupdtype, confdeltype, confmatchtype, conislocal, coninhcount,
  connoinherit, conkey, confkey, conpfeqop, conppeqop, conffeqop, conbin::text,
  (SELECT p.conname FROM pg_constraint p WHERE p.oid = c.conparentid),
  (SELECT array_agg(format('%s %s %s %s %s %s %s %s %s %s', tgrelid::regclass, tgfoid::regproc, tgtype, tgenabled,
      tgisinternal, tgdeferrable, tginitdeferred, tgnargs, tgconstrindid::regclass, tgparentid <> 0)
      ORDER BY tgrelid::regclass::text, tgfoid)
    FROM pg_trigger WHERE tgconstraint = c.oid),
  (SELECT array_agg(format('%s %s', refclassid::regclass, deptype) ORDER BY refclassid, deptype)
    FROM pg_depend WHERE classid = 'pg_constraint'::regclass AND objid = c.oid)
FROM pg_constraint c WHERE contype = 'f'
ORDER BY conrelid::regclass::text, c.conname, confrelid::regclass::text
"""
RELATIONS = (
    "SELECT relname, relpersistence, relhastriggers, reltuples FROM pg_class WHERE relnamespace = 2200 ORDER BY 1"
)


@pytest.fixture(scope="module")
def own(server: Server) -> Iterator[Server]:
    """A server like the one that a rehearsal loads into."""
    with throwaway_server(server.programs, settings=loading_settings(GB)) as started:
        yield started


@pytest.fixture
def fresh(own: Server) -> Iterator[Callable[[], str]]:
    """Makes empty databases on it; the conninfo."""
    made: list[str] = []
    names = (f"copy_{number}" for number in itertools.count(1))
    with psycopg.connect(own.conninfo, autocommit=True) as administrator:

        def make() -> str:
            made.append(next(names))
            administrator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(made[-1])))
            return make_conninfo(own.conninfo, dbname=made[-1])

        yield make
        for name in made:
            administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def loaded(folder: Path, url: str, script: str, *, jobs: int = 2) -> RestoreOutcome:
    path = folder / "dump.sql"
    path.write_text(script)
    with open_plain_dump(identify_dump(path)) as index:
        return load_plain_dump(index, url, jobs=jobs)


def fetch_rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def lost(done: RestoreOutcome) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.message) for problem in done.lost]


def test_the_catalog_is_what_psql_leaves(
    fresh: Callable[[], str], pg_dump: Callable[..., bytes], psql: Path, tmp_path: Path
) -> None:
    origin, theirs, copy = fresh(), fresh(), fresh()
    with psycopg.connect(origin, autocommit=True) as connection:
        connection.execute(KEYS.encode())
    script = pg_dump(origin)
    (tmp_path / "dump.sql").write_bytes(script)
    command = [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", theirs, "-f", str(tmp_path / "dump.sql")]
    subprocess.run(command, check=True, capture_output=True, env=program_environment())
    done = loaded(tmp_path, copy, script.decode())
    assert (done.lost, done.harmless) == ((), ())
    assert fetch_rows(copy, CATALOG) == fetch_rows(theirs, CATALOG)
    assert len(fetch_rows(copy, "SELECT FROM pg_constraint WHERE contype = 'f' AND NOT convalidated")) == 2
    with psycopg.connect(theirs, autocommit=True) as connection:
        connection.execute("ANALYZE")
    assert fetch_rows(copy, RELATIONS) == fetch_rows(theirs, RELATIONS)

    assert common(pg_dump(copy)) == common(pg_dump(theirs))


def common(output: bytes) -> list[bytes]:
    r"""A dump without the lines of \restrict, whose key is another one each time."""
    return [line for line in output.splitlines() if not line.startswith((b"\\restrict", b"\\unrestrict"))]


@pytest.mark.parametrize(
    ("keys", "table", "key", "columns"),
    [
        ("(n int PRIMARY KEY)", "(n int)", "FOREIGN KEY (n) REFERENCES public.p(n)", "1\n2\n77"),
        (
            "(n int, t text, PRIMARY KEY (n, t))",
            "(n int, t text)",
            "FOREIGN KEY (n, t) REFERENCES public.p(n, t) MATCH FULL",
            "1\ta\n1\t\\N",
        ),
    ],
    ids=["a row without its key", "a row with half of a key, of MATCH FULL"],
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_foreign_key_that_rows_violate_is_reported_with_the_servers_error(  # noqa: PLR0917 - parameters
    fresh: Callable[[], str],
    tmp_path: Path,
    keys: str,
    table: str,
    key: str,
    columns: str,
    jobs: int,
) -> None:
    url = fresh()
    whole = "1\n2" if "\t" not in columns else "1\ta"
    done = loaded(
        tmp_path,
        url,
        f"CREATE TABLE public.p {keys};\nCREATE TABLE public.c {table};\nCREATE TABLE public.d {table};\n"
        f"COPY public.p FROM stdin;\n{whole}\n\\.\n"
        f"COPY public.c FROM stdin;\n{columns}\n\\.\nCOPY public.d FROM stdin;\n{whole}\n\\.\n"
        f"ALTER TABLE ONLY public.c\n    ADD CONSTRAINT broken {key};\n"
        f"ALTER TABLE ONLY public.d\n    ADD CONSTRAINT whole {key};\n",
        jobs=jobs,
    )
    ((_line, message),) = lost(done)
    assert message.startswith("ALTER TABLE ONLY public.c ADD CONSTRAINT broken FOREIGN KEY")
    assert message.endswith('"c" violates foreign key constraint "broken" (23503)')
    assert fetch_rows(url, "SELECT conname::text, convalidated FROM pg_constraint WHERE contype = 'f'") == [
        ("whole", True)
    ]
    assert fetch_rows(url, "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'c'::regclass") == [(0,)]


def test_operators_of_a_dump_never_run_as_the_superuser(fresh: Callable[[], str], tmp_path: Path) -> None:
    url = fresh()
    traps = "".join(
        f"CREATE FUNCTION public.trap({left}, {right}) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN\n"
        "INSERT INTO public.sprung VALUES (session_user); RETURN false; END $$;\n"
        f"CREATE OPERATOR public.= (LEFTARG = {left}, RIGHTARG = {right}, PROCEDURE = public.trap);\n"
        for left, right in (("oid", "oid"), ("name", "name"), ('"char"', '"char"'), ("smallint", "smallint"))
    )
    done = loaded(
        tmp_path,
        url,
        "CREATE TABLE public.sprung (who text);\nSET search_path = public, pg_catalog;\n"
        f"{traps}CREATE FUNCTION public.to_regclass(text) RETURNS regclass LANGUAGE sql AS"
        " $$ INSERT INTO public.sprung VALUES (session_user) RETURNING NULL::regclass $$;\n"
        "CREATE TABLE public.p (n int PRIMARY KEY);\nCREATE TABLE public.c (n int);\n"
        "COPY public.p FROM stdin;\n1\n\\.\nCOPY public.c FROM stdin;\n1\n\\.\n"
        "CREATE EXTENSION IF NOT EXISTS plpgsql;\n"  # which brings the search path to the superuser
        "ALTER TABLE ONLY public.c\n    ADD CONSTRAINT fk FOREIGN KEY (n) REFERENCES public.p(n);\n",
    )
    assert done.lost == ()
    assert fetch_rows(url, "SELECT DISTINCT who FROM sprung WHERE who NOT LIKE 'aibos\\_loading\\_%'") == []
