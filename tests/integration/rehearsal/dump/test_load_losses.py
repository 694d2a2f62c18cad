from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import RestoreFailed
from kernel.rehearsal.dump.identify import identify_dump
from kernel.rehearsal.dump.plain.load import load_plain_dump
from kernel.rehearsal.dump.plain.scan import open_plain_dump

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.rehearsal.dump.common.model import DumpProgress, RestoreOutcome


def loaded(folder: Path, url: str, script: str, *, jobs: int = 2) -> RestoreOutcome:
    path = folder / "dump.sql"
    path.write_text(script)
    with open_plain_dump(identify_dump(path)) as index:
        return load_plain_dump(index, url, jobs=jobs)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def lost(done: RestoreOutcome) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.message) for problem in done.lost]


TABLES = "CREATE TABLE public.a (n int, t text);\nCREATE TABLE public.b (n int);\n"
A = "COPY public.a (n, t) FROM stdin;\n1\tsecret one\n{bad}\n3\tsecret three\n\\.\n"
B = "COPY public.b (n) FROM stdin;\n1\n2\n\\.\n"


def test_a_row_that_is_refused_names_its_table_and_line_and_shows_no_value(database: str, tmp_path: Path) -> None:
    done = loaded(tmp_path, database, TABLES + A.format(bad="secret\ttwo") + B)
    assert lost(done) == [
        (5, "public.a: its rows could not be loaded: invalid input syntax for type integer (22P02)"),
    ]
    assert rows(database, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)") == [(0, 2)]


def test_an_insert_that_is_refused_costs_its_own_row_only(database: str, tmp_path: Path) -> None:
    inserts = "".join(f"INSERT INTO public.b VALUES ({n});\n" for n in (1, 2, "'secret'", 4))
    done = loaded(tmp_path, database, TABLES + inserts)
    assert lost(done) == [(5, "public.b: a row could not be loaded: invalid input syntax for type integer (22P02)")]
    assert rows(database, "SELECT n FROM b ORDER BY n") == [(1,), (2,), (4,)]


def test_an_index_or_key_that_cannot_be_built_is_a_loss_without_values(database: str, tmp_path: Path) -> None:
    done = loaded(
        tmp_path,
        database,
        TABLES
        + B.replace("2", "1")
        + "ALTER TABLE ONLY public.b\n    ADD CONSTRAINT b_pkey PRIMARY KEY (n);\n"
        + "CREATE INDEX i ON public.a USING btree (nothing);\n"
        + "ALTER TABLE ONLY public.a\n    ADD CONSTRAINT fk FOREIGN KEY (n) REFERENCES public.b(n);\n",
    )
    assert lost(done) == [
        (
            7,
            (
                "ALTER TABLE ONLY public.b ADD CONSTRAINT b_pkey PRIMARY KEY …: "
                'could not create unique index "b_pkey" (23505)'
            ),
        ),
        (9, 'CREATE INDEX i ON public.a USING btree (nothing): column "nothing" does not exist (42703)'),
        (
            10,
            (
                "ALTER TABLE ONLY public.a ADD CONSTRAINT fk FOREIGN KEY (n) …: "
                'there is no unique constraint matching given keys for referenced table "b" (42830)'
            ),
        ),
    ]


def test_what_a_copy_can_do_without_is_harmless(database: str, tmp_path: Path) -> None:
    done = loaded(
        tmp_path,
        database,
        "SET nonsense_timeout = 0;\nSET default_tablespace = fast;\nCREATE SCHEMA public;\n"
        + TABLES
        + "ALTER TABLE public.a OWNER TO nobody_here;\nGRANT SELECT ON TABLE public.a TO nobody_here;\n"
        "COMMENT ON EXTENSION citext IS 'x';\nDROP TABLE public.gone;\n" + B,
    )
    assert done.lost == ()
    assert [sentence.partition(":")[0] for sentence in done.harmless] == [
        "SET nonsense_timeout = 0",
        "SET default_tablespace = fast",
        "CREATE SCHEMA public",
        "COMMENT ON EXTENSION citext IS 'x'",
        "DROP TABLE public.gone",
        "ALTER TABLE public.a OWNER TO nobody_here",
        "GRANT SELECT ON TABLE public.a TO nobody_here",
    ]
    assert rows(database, "SELECT count(*) FROM b") == [(2,)]


def test_rows_of_one_table_in_several_places_are_all_loaded(database: str, tmp_path: Path) -> None:
    done = loaded(tmp_path, database, TABLES + B + B + "SELECT 1;\n" + B)
    assert done.lost == ()
    assert rows(database, "SELECT count(*) FROM b") == [(6,)]


def test_the_rows_of_a_table_that_an_extension_made_are_loaded(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION citext; CREATE TABLE public.a (n int, t text); CREATE SEQUENCE public.s")
        connection.execute("ALTER EXTENSION citext ADD TABLE public.a; ALTER EXTENSION citext ADD SEQUENCE public.s")
    script = A.format(bad="2\ttwo") + "SELECT pg_catalog.setval('public.s', 7, true);\n"
    done = loaded(tmp_path, database, script)
    assert (done.lost, done.harmless) == ((), ())
    assert rows(database, "SELECT count(*), (SELECT last_value FROM s) FROM a") == [(3, 7)]


def test_a_table_with_triggers_or_keys_is_loaded_in_its_place_and_fires_them(database: str, tmp_path: Path) -> None:
    done = loaded(
        tmp_path,
        database,
        "CREATE TABLE public.p (n int PRIMARY KEY);\nCREATE TABLE public.c (n int REFERENCES public.p, t text);\n"
        "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.t := 'seen'; RETURN NEW; END$$;\n"
        "CREATE TRIGGER t BEFORE INSERT ON public.c FOR EACH ROW EXECUTE FUNCTION public.f();\n"
        "COPY public.p (n) FROM stdin;\n1\n\\.\nCOPY public.c (n) FROM stdin;\n1\n\\.\n",
    )
    assert done.lost == ()
    assert rows(database, "SELECT n, t FROM c") == [(1, "seen")]


def test_a_transaction_of_the_dump_is_its_own(database: str, tmp_path: Path) -> None:
    index = "CREATE INDEX i ON public.b USING btree (n);\n"
    done = loaded(tmp_path, database, "BEGIN;\n" + TABLES + B + index + "COMMIT;\n")
    assert done.lost == ()
    assert rows(database, "SELECT count(*) FROM b") == [(2,)]
    (tmp_path / "other").mkdir()
    done = loaded(tmp_path / "other", database, "BEGIN;\nCREATE TABLE public.unfinished ();\n")
    assert [message for _line, message in lost(done)] == ["the dump ends inside of a transaction"]


def test_settings_hold_on_every_connection_for_what_stands_behind_them(database: str, tmp_path: Path) -> None:
    done = loaded(
        tmp_path,
        database,
        "SET search_path = one;\nSET standard_conforming_strings = off;\nSET DateStyle = 'German';\n"
        "CREATE SCHEMA one;\nCREATE TABLE t (d date, s text DEFAULT 'a\\tb');\n"
        "COPY t (d) FROM stdin;\n02.01.2003\n\\.\nINSERT INTO t VALUES ('02.01.2003', 'it\\'s;');\n"
        "CREATE INDEX i ON t USING btree (d);\nALTER TABLE t OWNER TO postgres;\n"
        "SET DateStyle = 'ISO, MDY';\nCREATE TABLE u (d date);\nCOPY u (d) FROM stdin;\n02/01/2003\n\\.\n",
        jobs=3,
    )
    assert (done.lost, done.harmless) == ((), ())
    assert rows(database, "SELECT d::text, s FROM one.t ORDER BY s") == [
        ("2003-01-02", "a\tb"),
        ("2003-01-02", "it's;"),
    ]
    assert rows(database, "SELECT d::text FROM one.u") == [("2003-02-01",)]


def test_an_owner_without_superuser_loads_what_it_may(
    database: str, administrator: psycopg.Connection, tmp_path: Path
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    administrator.execute("CREATE ROLE loads_alone LOGIN")
    try:
        administrator.execute(f"ALTER DATABASE {name} OWNER TO loads_alone".encode())
        script = "ALTER TABLE public.b OWNER TO postgres;\n" + B
        done = loaded(
            tmp_path,
            make_conninfo(database, user="loads_alone"),
            "CREATE SCHEMA s;\nSET search_path = s;\n" + TABLES.replace("public", "s") + script.replace("public", "s"),
        )
        assert done.lost == ()
        assert [sentence.partition(":")[0] for sentence in done.harmless] == ["ALTER TABLE s.b OWNER TO postgres"]
        assert rows(database, "SELECT count(*) FROM s.b") == [(2,)]
    finally:
        administrator.execute(f"ALTER DATABASE {name} OWNER TO postgres".encode())
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("DROP OWNED BY loads_alone CASCADE")
        administrator.execute("DROP ROLE loads_alone")


def test_a_lost_server_stops_everything(database: str, tmp_path: Path, administrator: psycopg.Connection) -> None:
    path = tmp_path / "dump.sql"
    path.write_text(TABLES + "COPY public.b (n) FROM stdin;\n" + "1\n" * 400_000 + "\\.\n")
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]

    def end(progress: DumpProgress) -> None:
        if progress.done_bytes:
            administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename LIKE 'aibos%%'",
                (name,),
            )

    with open_plain_dump(identify_dump(path)) as index, pytest.raises(RestoreFailed, match="server"):
        load_plain_dump(index, database, progress=end)
    assert rows(database, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'aibos%'") == [(0,)]


@pytest.mark.timeout(30)
def test_an_interrupt_cancels_every_connection_and_leaves_no_role(database: str, tmp_path: Path) -> None:
    path = tmp_path / "dump.sql"
    copies = "".join(f"COPY public.t{n} (n) FROM stdin;\n" + "1\n" * 10 + "\\.\n" for n in range(4))
    tables = "".join(f"CREATE TABLE public.t{n} (n int CHECK ((pg_sleep(20)::text = '')));\n" for n in range(4))
    path.write_text(tables + copies)
    main = threading.get_ident()
    begun = time.monotonic()
    timer = threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    with open_plain_dump(identify_dump(path)) as index, pytest.raises(KeyboardInterrupt):
        load_plain_dump(index, database, jobs=2)
    timer.join()
    assert time.monotonic() - begun < 5
    assert rows(database, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'aibos%'") == [(0,)]
    assert rows(database, "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'aibos%'") == [(0,)]
