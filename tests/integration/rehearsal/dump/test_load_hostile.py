from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.errors import DatabaseRefused, DumpUnreadable
from kernel.rehearsal.dump.identify import identify_dump
from kernel.rehearsal.dump.plain.load import load_plain_dump
from kernel.rehearsal.dump.plain.scan import open_plain_dump

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.dump.common.model import RestoreOutcome

pytestmark = pytest.mark.slow

ATTEMPT = """
CREATE TABLE public.evil (a text);
CREATE FUNCTION public.run() RETURNS integer LANGUAGE plpgsql AS $$
BEGIN EXECUTE 'COPY public.evil FROM PROGRAM ''touch {marker}'''; RETURN 1; END $$;
CREATE FUNCTION public.run_immutable(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN EXECUTE 'COPY public.evil FROM PROGRAM ''touch {marker}'''; RETURN 1; END $$;
CREATE FUNCTION public.run_as_owner() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN EXECUTE 'COPY public.evil FROM PROGRAM ''touch {marker}'''; RETURN 1; END $$;
ALTER FUNCTION public.run() OWNER TO postgres;
ALTER FUNCTION public.run_immutable(integer) OWNER TO postgres;
ALTER FUNCTION public.run_as_owner() OWNER TO postgres;
CREATE FUNCTION public.run_on_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM public.run_as_owner(); RETURN NEW; END $$;
CREATE FUNCTION public.run_on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM public.run(); END $$;
"""
WAYS = {
    "a DO block": "DO $$ BEGIN EXECUTE 'COPY public.evil FROM PROGRAM ''touch {marker}'''; END $$;",
    "a query": "SELECT public.run();",
    "a function of its owner": "SELECT public.run_as_owner();",
    "a default": "CREATE TABLE public.t (a int DEFAULT public.run(), b int);\nCOPY public.t (b) FROM stdin;\n1\n\\.\n",
    "a check": "CREATE TABLE public.t (a int CHECK (public.run() = 1));\nCOPY public.t (a) FROM stdin;\n1\n\\.\n",
    "a trigger": (
        "CREATE TABLE public.t (a int);\n"
        "CREATE TRIGGER x BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.run_on_row();\n"
        "COPY public.t (a) FROM stdin;\n1\n\\.\n"
    ),
    "an index": (
        "CREATE TABLE public.t (a int);\nCOPY public.t (a) FROM stdin;\n1\n\\.\n"
        "CREATE INDEX i ON public.t USING btree (public.run_immutable(a));\n"
    ),
    "statistics": (
        "CREATE TABLE public.t (a int);\nALTER TABLE public.t OWNER TO postgres;\n"
        "CREATE INDEX i ON public.t USING btree (public.run_immutable(a));\n"
        "INSERT INTO public.t VALUES (1);\n"
    ),
    "a materialized view": "CREATE MATERIALIZED VIEW public.m AS SELECT public.run() WITH NO DATA;\n"
    "ALTER TABLE public.m OWNER TO postgres;\nREFRESH MATERIALIZED VIEW public.m;\n",
    "a change of role": "SET ROLE postgres;\nSELECT public.run();\n",
    "a change of user": "SET SESSION AUTHORIZATION postgres;\nSELECT public.run();\nRESET SESSION AUTHORIZATION;\n",
    "a return to the user": "RESET SESSION AUTHORIZATION;\nRESET ROLE;\nSELECT public.run();\n",
    "an event trigger": "CREATE EVENT TRIGGER x ON ddl_command_end EXECUTE FUNCTION public.run_on_ddl();\n"
    "CREATE TABLE public.t ();\nALTER TABLE public.t OWNER TO postgres;\nGRANT SELECT ON TABLE public.t TO PUBLIC;\n",
    "a membership": "GRANT pg_execute_server_program TO CURRENT_USER;\nSELECT public.run();\n",
    "a second statement": "ALTER TABLE public.evil ADD COLUMN b int DEFAULT public.run(), OWNER TO postgres;\n",
    "a comment": "COMMENT ON SCHEMA public IS 'x';SELECT public.run();\n",
    "a sequence": "SELECT pg_catalog.setval('x', public.run(), true);\n",
    "a setting": "SELECT pg_catalog.set_config('search_path', public.run()::text, false);\n",
    "a cast": (
        "CREATE FUNCTION public.c(integer) RETURNS text LANGUAGE sql AS 'SELECT public.run()::text';\n"
        "CREATE CAST (integer AS text) WITH FUNCTION public.c(integer) AS IMPLICIT;\n"
    ),
    "a library": "CREATE FUNCTION public.l(text) RETURNS int LANGUAGE c AS 'libc.so.6', 'system';\n"
    "SELECT public.l('touch {marker}');\n",
    "a foreign table": "CREATE EXTENSION file_fdw;\nCREATE SERVER f FOREIGN DATA WRAPPER file_fdw;\n"
    "CREATE FOREIGN TABLE public.p (a text) SERVER f OPTIONS (program 'touch {marker}');\n"
    "CREATE MATERIALIZED VIEW public.m AS SELECT * FROM public.p WITH NO DATA;\n"
    "ALTER TABLE public.m OWNER TO postgres;\nREFRESH MATERIALIZED VIEW public.m;\n",
    "a table of an extension": (
        "CREATE EXTENSION citext CASCADE;\nCREATE TABLE public.t (a int DEFAULT public.run(), b int);\n"
        "ALTER EXTENSION citext ADD TABLE public.t;\nCOPY public.t (b) FROM stdin;\n1\n\\.\n"
    ),
    "an extension's script": (
        "CREATE SCHEMA e;\nCREATE FUNCTION e.int4eq(integer, integer) RETURNS boolean LANGUAGE sql"
        " AS 'SELECT public.run() = 1';\nCREATE EXTENSION citext WITH SCHEMA e;\n"
    ),
}


@pytest.fixture
def marker() -> Iterator[Path]:
    """A file that the server could make, in a folder that everybody may write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)  # the server may run under another account
        yield Path(folder) / "marker"


def loaded(folder: Path, url: str, script: str) -> RestoreOutcome:
    path = folder / "dump.sql"
    path.write_text(script)
    with open_plain_dump(identify_dump(path)) as index:
        return load_plain_dump(index, url)


def test_a_superuser_of_the_server_could_have_made_the_marker(database: str, marker: Path) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(ATTEMPT.format(marker=marker).encode())
        connection.execute("SELECT public.run()")
    assert marker.exists()


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_a_dump_to_run_a_program_succeeds(database: str, tmp_path: Path, marker: Path, way: str) -> None:
    done = loaded(tmp_path, database, (ATTEMPT + WAYS[way]).replace("{marker}", str(marker)))
    assert not marker.exists()
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'aibos\\_loading%'").fetchone()
        assert row == (0,), done


@pytest.mark.parametrize(
    "attack",
    ["\\! touch {marker}", "COPY t FROM PROGRAM 'touch {marker}';", "\\copy t from program 'touch {marker}'"],
)
def test_what_text_alone_betrays_is_refused_before_anything_runs(
    database: str, tmp_path: Path, marker: Path, attack: str
) -> None:
    with pytest.raises(DumpUnreadable, match=r"^dump\.sql:2 \(byte 28\): "):
        loaded(tmp_path, database, f"CREATE TABLE public.t ();;;\n{attack.format(marker=marker)}\n")
    assert not marker.exists()
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('public.t')").fetchone() == (None,)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_read_file('/etc/hostname');",
        "SELECT pg_ls_dir('/');",
        "SELECT lo_import('/etc/hostname');",
        "SELECT lo_export(1, '/tmp/x');",
    ],
)
def test_files_of_the_server_are_out_of_reach(database: str, tmp_path: Path, statement: str) -> None:
    done = loaded(tmp_path, database, statement)
    assert [problem.line for problem in done.lost] == [1]
    assert "permission denied" in done.lost[0].message


def test_a_user_who_may_run_programs_without_being_superuser_is_refused(
    database: str, administrator: psycopg.Connection, tmp_path: Path
) -> None:
    administrator.execute("CREATE ROLE dangerous LOGIN IN ROLE pg_execute_server_program")
    try:
        with pytest.raises(DatabaseRefused, match="dangerous is a member of pg_execute_server_program"):
            loaded(tmp_path, psycopg.conninfo.make_conninfo(database, user="dangerous"), "SELECT 1;")
    finally:
        administrator.execute("DROP ROLE dangerous")


def test_remote_servers_are_not_reached_and_no_secret_is_shown(database: str, tmp_path: Path) -> None:
    done = loaded(
        tmp_path,
        database,
        "CREATE SUBSCRIPTION s CONNECTION 'host=far password=hush' PUBLICATION p;\n"
        "CREATE USER MAPPING FOR x SERVER far OPTIONS (password 'hush');\n",
    )
    assert done.lost == ()
    assert done.harmless == (
        "CREATE SUBSCRIPTION s: left out, a copy does not reach other servers",
        "CREATE USER MAPPING FOR x SERVER far: left out, a copy does not reach other servers",
    )
