from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from kernel.config.ledger_name import parse_ledger_name
from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump.common.model import Collation, Dump, DumpContents
from kernel.rehearsal.dump.identify import identify_dump
from kernel.rehearsal.dump.plain.classify import StatementKind
from kernel.rehearsal.dump.plain.contents import DumpStatement, RowBlock
from kernel.rehearsal.dump.plain.scan import open_plain_dump
from kernel.units import format_count

if TYPE_CHECKING:
    from pathlib import Path

HEADER = b"--\n-- PostgreSQL database dump\n--\n\n"
TRAILER = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"
ROWS = b"COPY public.t (a) FROM stdin;\n1\n\\N\n\\\\.\n\\.\n\n"


def write(folder: Path, body: bytes, *, whole: bool = True) -> Dump:
    path = folder / "prod.sql"
    path.write_bytes(HEADER + body + TRAILER if whole else body)
    return identify_dump(path)


def refusal(folder: Path, body: bytes, *, whole: bool = True) -> str:
    made = write(folder, body, whole=whole)
    with pytest.raises(DumpUnreadable) as caught, open_plain_dump(made):
        pass
    return str(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        b"\\! touch /tmp/marker",
        b"\\i /etc/passwd",
        b"\\copy t from program 'id'",
        b"\\o |id",
        b"\\unrestrict `id`",
        b"\\set x `id`",
        b"SELECT 1 \\gexec",
        b"SELECT 1 \\; SELECT 2;",
        b"SELECT 1; \\! id",
    ],
)
@pytest.mark.parametrize("ahead", [b"", ROWS * 2, b"SELECT 'a\nCOPY t FROM stdin;\n1\n\\.\n';\n"])
def test_a_command_of_psql_is_refused_with_line_and_byte(tmp_path: Path, command: bytes, ahead: bytes) -> None:
    body = b"SELECT 'x';\n" + ahead + command + b"\n"
    backslash = len(HEADER) + body.index(command) + command.index(b"\\")
    line = (HEADER + body)[:backslash].count(b"\n") + 1
    message = refusal(tmp_path, body)
    assert message.startswith(f"prod.sql:{line} (byte {format_count(backslash)}): \\")
    assert "a command of psql" in message


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (b"COPY t FROM PROGRAM 'id';", "COPY with a program"),
        (b"copy t to program 'id';", "COPY with a program"),
        (b"COPY t FROM '/etc/passwd';", "COPY that does not read the rows after it"),
        (b"/* */ COPY (SELECT 1) TO '/tmp/x';", "COPY that does not read the rows after it"),
        (b"COPY t TO stdout;", "COPY that does not read the rows after it"),
        (b"LOAD '/tmp/evil.so';", "LOAD loads a library"),
        (b"ALTER SYSTEM SET archive_command = 'id';", "ALTER SYSTEM changes the whole server"),
        (b"IMPORT FOREIGN SCHEMA a FROM SERVER s INTO b;", "reaches another server"),
    ],
)
def test_a_statement_that_reaches_beyond_the_database_is_refused_with_its_line(
    tmp_path: Path, statement: bytes, sentence: str
) -> None:
    message = refusal(tmp_path, b"SELECT 1;\n" + statement + b"\n")
    assert message.startswith("prod.sql:6 (byte ")
    assert sentence in message


def test_rows_are_found_without_being_read(tmp_path: Path) -> None:
    with open_plain_dump(write(tmp_path, b"SET a = 1;\n" + ROWS + b"SELECT 1;\n")) as index:
        setting, rows, statement = index.items
        assert isinstance(rows, RowBlock)
        assert isinstance(statement, DumpStatement)
        assert isinstance(setting, DumpStatement)
        assert (rows.table, index.text.read(rows.offset, rows.length)) == (b"public.t", b"1\n\\N\n\\\\.\n")
        assert index.sql(statement) == b"SELECT 1;"
        assert setting.kind is StatementKind.SETTING
        assert index.settings[statement.settings_state] == (b"SET a = 1;",)


def test_what_looks_like_rows_inside_of_a_string_belongs_to_the_string(tmp_path: Path) -> None:
    text = b"SELECT 'a\nCOPY public.t (a) FROM stdin;\n1\n\\.\n';"
    with open_plain_dump(write(tmp_path, text + b"\n" + ROWS)) as index:
        statement, rows = index.items
        assert isinstance(statement, DumpStatement)
        assert index.sql(statement) == text
        assert isinstance(rows, RowBlock)
        assert index.text.read(rows.offset, rows.length) == b"1\n\\N\n\\\\.\n"


def test_a_string_that_opens_in_front_of_rows_hides_no_statement(tmp_path: Path) -> None:
    message = refusal(tmp_path, b"SELECT '\nCOPY t FROM stdin;\n';\n\\! id\n\\.\n")
    assert "\\!: a command of psql" in message


def test_rows_of_windows_lines_end_where_they_end(tmp_path: Path) -> None:
    with open_plain_dump(write(tmp_path, ROWS.replace(b"\n", b"\r\n") + b"SELECT 1;\r\n")) as index:
        rows, statement = index.items
        assert isinstance(rows, RowBlock)
        assert index.text.read(rows.offset, rows.length) == b"1\r\n\\N\r\n\\\\.\r\n"
        assert isinstance(statement, DumpStatement)


@pytest.mark.parametrize("size", [1 << 16, 3 << 16, (1 << 22) + (1 << 16)])
@pytest.mark.parametrize("row", [b"x", b"\\\\.\\N\n"], ids=["few backslashes", "many"])
def test_the_end_of_rows_is_found_on_every_side_of_a_window(tmp_path: Path, size: int, row: bytes) -> None:
    for shift in range(-3, 4):
        data = (row * size)[: size + shift] + b"\n"
        with open_plain_dump(write(tmp_path, b"COPY t FROM stdin;\n" + data + b"\\.\nSELECT 1;\n")) as index:
            rows, _statement = index.items
            assert isinstance(rows, RowBlock)
            assert rows.length == len(data)


@pytest.mark.parametrize("at", range(1, 9))
def test_a_statement_of_copy_is_seen_on_every_side_of_a_piece(tmp_path: Path, at: int) -> None:
    fill = b"--" + b"x" * ((1 << 16) - len(HEADER) - 20 * at) + b"\n"
    with open_plain_dump(write(tmp_path, fill + ROWS * 4)) as index:
        assert [item.length for item in index.items] == [9] * 4


def test_inserts_are_gathered_into_messages_of_one_table(tmp_path: Path) -> None:
    one, two = b"INSERT INTO public.a VALUES (1, 'x;');\n", b"INSERT INTO public.b VALUES (E'\\'');\n"
    with open_plain_dump(write(tmp_path, one * 9000 + two * 2)) as index:
        assert {item.table for item in index.items if isinstance(item, RowBlock)} == {b"public.a", b"public.b"}
        texts = [index.text.read(item.offset, item.length) for item in index.items]
        assert max(map(len, texts)) <= 1 << 18
        assert b"\n".join(texts) + b"\n" == one * 9000 + two * 2


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (b"\\restrict abc\nSELECT 1;\n", "its \\unrestrict line is not whole"),
        (b"\\restrict abc\n\\restrict abc\nSELECT 1;\n\\unrestrict abc\n", "\\restrict inside of another"),
        (b"\\restrict abc\nSELECT 1;\n\\unrestrict abd\n", "\\unrestrict without its \\restrict"),
        (b"\\unrestrict abc\nSELECT 1;\n", "\\unrestrict without its \\restrict"),
    ],
)
def test_a_pair_of_restrict_that_does_not_match_was_tampered_with(tmp_path: Path, lines: bytes, sentence: str) -> None:
    assert sentence in refusal(tmp_path, lines)


def test_the_connect_of_a_dump_with_its_database_is_passed_over(tmp_path: Path) -> None:
    created = b"CREATE DATABASE prod WITH ENCODING = 'UTF8' LOCALE_PROVIDER = icu ICU_LOCALE = 'de';\n\n\n"
    connect = b"\\connect -reuse-previous=on \"dbname='prod'\"\n\n"
    settings = b"ALTER DATABASE prod SET \"TimeZone\" TO 'Europe/Zurich';\n\n"
    with open_plain_dump(write(tmp_path, created + connect + settings + connect + ROWS)) as index:
        assert index.contents.database == "prod"
        assert index.contents.settings == (("TimeZone", "Europe/Zurich"),)
        assert [type(item) for item in index.items] == [DumpStatement, DumpStatement, RowBlock]


def test_privileges_on_the_database_are_left_out_and_their_roles_are_needed(tmp_path: Path) -> None:
    body = (
        b'REVOKE CONNECT ON DATABASE prod FROM PUBLIC;\n\n\nGRANT CONNECT ON DATABASE prod TO app, "The owner";\n\n\n'
    )
    with open_plain_dump(write(tmp_path, body)) as index:
        kinds = {item.kind for item in index.items if isinstance(item, DumpStatement)}
        assert index.contents.roles == ("app", "The owner")
    assert kinds <= {StatementKind.DATABASE, StatementKind.SETTING}


@pytest.mark.parametrize("body", [b"SELECT 1;\n\\connect other\n", b"CREATE DATABASE a;\n\\connect a\n\\connect b\n"])
def test_any_other_connect_is_refused_with_its_remedy(tmp_path: Path, body: bytes) -> None:
    assert "dump it alone: pg_dump without --create" in refusal(tmp_path, body)


def test_a_nul_is_refused_with_its_place_in_statements_and_in_rows(tmp_path: Path) -> None:
    filler = b"SELECT 1;\n" * 10_000  # beyond what shows what a file is
    assert "NUL" in refusal(tmp_path, filler + b"SELECT 'a\0b';\n")
    message = refusal(tmp_path, filler + ROWS.replace(b"\\N", b"a\0"))
    assert "a NUL byte" in message
    assert message.startswith("prod.sql:10007 (byte ")


def test_no_beginning_of_a_dump_passes_for_the_whole(tmp_path: Path) -> None:
    body = (
        b"\\restrict abc\n\nSET a = 1;\nSELECT 'it''s', $$x;\n$$, \"y\";\n"
        + ROWS
        + b"CREATE FUNCTION f() RETURNS int\n"
        b"    LANGUAGE sql\n    BEGIN ATOMIC SELECT 1; END;\n\n"
    )
    whole = HEADER + body + TRAILER + b"\\unrestrict abc\n\n"
    for length in range(len(HEADER), len(whole) - 2):
        message = refusal(tmp_path, whole[:length], whole=False)
        assert "cut short" in message, length
    with open_plain_dump(write(tmp_path, whole, whole=False)):
        pass


def test_a_script_of_another_program_needs_no_last_line(tmp_path: Path) -> None:
    with open_plain_dump(write(tmp_path, b"CREATE TABLE t (a int);\nSELECT 1", whole=False)) as index:
        assert len(index.items) == 2


@pytest.mark.parametrize("cut", [5, 20, 100, 1000, -1])
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_dump_that_is_cut_short_is_refused_at_its_byte(tmp_path: Path, cut: int, compression: str) -> None:
    zstandard = pytest.importorskip("zstandard", reason="optional: zstandard unpacks zstd before Python 3.14")
    pack = gzip.compress if compression == "gzip" else zstandard.compress
    plain = HEADER + b"".join(b"SELECT %d;\n" % (number * number) for number in range(2000)) + TRAILER
    packed: bytes = pack(plain)[:cut]
    path = tmp_path / "prod.sql"
    path.write_bytes(packed)
    with (
        pytest.raises(DumpUnreadable, match=f"cut short at byte {format_count(len(packed))}"),
        open_plain_dump(identify_dump(path)),
    ):
        pass


def test_a_damaged_compressed_dump_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(HEADER + b"SELECT 1;\n" * 50_000 + TRAILER))
    packed[-6] ^= 1  # of the checksum
    path = tmp_path / "prod.sql"
    path.write_bytes(packed)
    with pytest.raises(DumpUnreadable, match="gzip is damaged near byte"), open_plain_dump(identify_dump(path)):
        pass


def test_compressed_files_behind_one_another_are_one_dump(tmp_path: Path) -> None:
    path = tmp_path / "prod.sql"
    path.write_bytes(gzip.compress(HEADER + ROWS) + gzip.compress(TRAILER) + b"\0" * 512)
    with open_plain_dump(identify_dump(path)) as index:
        assert [item.length for item in index.items] == [9]


@pytest.mark.parametrize(("encoding", "name"), [("latin-1", b"LATIN1"), ("euc-jp", b"EUC_JP")])
def test_a_dump_in_another_encoding_is_read_as_it_is(tmp_path: Path, encoding: str, name: bytes) -> None:
    word = "é" if encoding == "latin-1" else "語"
    body = b"SET client_encoding = '%b';\n" % name + f"SELECT '{word}';\n".encode(encoding)
    with open_plain_dump(write(tmp_path, body)) as index:
        statement = index.items[1]
        assert isinstance(statement, DumpStatement)
        assert index.sql(statement).decode(encoding) == f"SELECT '{word}';"


def test_an_encoding_that_hides_backslashes_is_refused(tmp_path: Path) -> None:
    assert "pg_dump --encoding=UTF8" in refusal(tmp_path, b"SET client_encoding = 'SJIS';\n")


def test_the_contents_say_what_a_dump_needs(tmp_path: Path) -> None:
    body = (
        rb"""
-- Dumped from database version 16.4 (Debian 16.4-1)
-- Dumped by pg_dump version 17.2

SET client_encoding = 'UTF8';
SET default_tablespace = fast;
CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;
CREATE OR REPLACE PROCEDURAL LANGUAGE plpgsql;
CREATE COLLATION public.de (provider = icu, locale = 'de-DE');
CREATE TABLE public.t (a text COLLATE pg_catalog."sv_SE.utf8", b text COLLATE pg_catalog."C");
ALTER TABLE public.t OWNER TO "Ann ""A"" B";
ALTER DEFAULT PRIVILEGES FOR ROLE carl IN SCHEMA public GRANT SELECT ON TABLES TO dora;
CREATE POLICY p ON public.t TO emil, PUBLIC USING (true);
CREATE SERVER far FOREIGN DATA WRAPPER w;
CREATE SUBSCRIPTION s CONNECTION 'host=x password=y' PUBLICATION p;
CREATE PUBLICATION pub FOR ALL TABLES;
CREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION public.f();
SELECT pg_catalog.lo_create('1');
GRANT SELECT ON TABLE public.t TO fred, PUBLIC WITH GRANT OPTION;
"""
        + ROWS
    )
    with open_plain_dump(write(tmp_path, body)) as index:
        assert index.contents == DumpContents(
            server_version="16.4",
            client_version="17.2",
            encoding="UTF8",
            extensions=("uuid-ossp",),
            roles=('Ann "A" B', "carl", "dora", "emil", "fred"),
            collations=(Collation(locale="de-DE", provider="icu"), Collation(locale="sv_SE.utf8")),
            tablespaces=("fast",),
            data_bytes=9,
            table_names=frozenset({"t"}),
        )
        assert index.contents.server_major == 16


LEDGER_ROWS = "COPY public.schema_migrations (version, filename) FROM stdin;\n001\t001_a.sql\n016\t016_b.sql\n\\.\n"


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        (LEDGER_ROWS, {1, 16}),
        (
            LEDGER_ROWS.replace("(version, filename)", "(filename, version)").replace(
                "001\t001_a.sql\n016\t016_b.sql", "x\t7"
            ),
            {7},
        ),
        ("COPY public.schema_migrations (version) FROM stdin;\n\\.\n", set()),
        ("SELECT 1;\n", None),
        (LEDGER_ROWS + LEDGER_ROWS.replace("public.", "other."), None),
        (LEDGER_ROWS.replace("016\t", "2026-x\t"), None),
        ("INSERT INTO public.schema_migrations VALUES ('001', '001_a.sql');\n", None),
        ("COPY public.schema_migrations FROM stdin;\n001\t001_a.sql\n\\.\n", None),
    ],
)
def test_the_applied_versions_are_read_where_they_are_plain_to_see(
    tmp_path: Path, text: str, versions: set[int] | None
) -> None:
    path = tmp_path / "dump.sql"
    path.write_text(text)
    with open_plain_dump(identify_dump(path)) as index:
        assert index.contents.applied_versions == versions


def test_the_names_of_tables_are_those_of_every_kind_of_table(tmp_path: Path) -> None:
    path = tmp_path / "dump.sql"
    path.write_text(
        'CREATE TABLE public.a (\n    i integer\n);\nCREATE UNLOGGED TABLE "S ""x".b ();\n'
        "CREATE TABLE c () PARTITION BY LIST (i);\n"
        "CREATE FOREIGN TABLE public.d () SERVER s;\n"
        'CREATE MATERIALIZED VIEW public."E e" AS\n SELECT 1\n  WITH NO DATA;\n'
        "CREATE VIEW public.v AS SELECT 1;\nCREATE SEQUENCE public.s;\n"
    )
    with open_plain_dump(identify_dump(path)) as index:
        assert index.contents.table_names == {"a", "b", "c", "d", "E e"}


@pytest.mark.parametrize(
    "text",
    [
        "id,name\n1,ann\n",
        "comment,created\n1,2026-01-01\n",
        '{"tables": []}\n',
        "<!DOCTYPE html><p>It's not found</p>\n",
        "# Read me\n\nSELECT 1; \\set x\n",
        "2026-01-01 ERROR failed; retry\n",
        "pg_dump: error: connection to server failed\n",
        "\n  \n",
        "-- a comment /* and */ nothing else\n/* ; */\n",
        "USE db;\nINSERT INTO t VALUES (1);\n",
    ],
)
def test_a_text_that_is_none_is_told_as_not_a_pg_dump_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "given"
    path.write_text(text)
    with pytest.raises(DumpUnreadable, match=r"^given: not a pg_dump file: .*; dump the database with pg_dump$"):
        open_plain_dump(identify_dump(path)).__enter__()


@pytest.mark.parametrize(
    "text",
    [
        "select 1;\n",
        "\ufeff-- by hand\n/* twice */ /* over */ ;\nCREATE TABLE t ();\n",
        "/* nested /* comment */ */ CREATE TABLE t ();\n",
        "(SELECT 1);\n",
        f"{'-- long' * 2000}\nCREATE TABLE t ();\n",
    ],
)
def test_a_script_in_sql_is_a_dump_too(tmp_path: Path, text: str) -> None:
    path = tmp_path / "given.sql"
    path.write_text(text)
    with open_plain_dump(identify_dump(path)) as index:
        assert len(index.items) == 1


def test_the_ledger_is_the_one_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dump.sql"
    odd = LEDGER_ROWS.replace("public.schema_migrations", '"a ""b".schema_migrations').replace("016", "017")
    path.write_text(LEDGER_ROWS + odd + LEDGER_ROWS.replace("schema_migrations", "mine").replace("016", "018"))
    found = []
    for name in ("public.schema_migrations", '"a ""b".schema_migrations', "mine", "other.mine", "schema_migrations"):
        with open_plain_dump(identify_dump(path), parse_ledger_name(name)) as index:
            found.append(index.contents.applied_versions)
    assert found == [{1, 16}, {1, 17}, {1, 18}, None, None]
