"""What a file asks of the runner, and every way in which a file cannot be run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.migrations.migration import file_checksum
from kernel.migrations.script import Script, open_script, parse_script
from kernel.migrations.transactions import RunMode

if TYPE_CHECKING:
    from pathlib import Path

STEPS = "-- migrate: no-transaction\n"
ASK = "begin the file with -- migrate: no-transaction"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "007_a.sql"


def survey(path: Path, text: str | bytes, *, keep_bytes: int = 0) -> Script:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return parse_script(path, path.name, keep_bytes=keep_bytes)


def refusal(path: Path, text: str | bytes) -> list[str]:
    """Every problem as it is printed, without the file's name."""
    with pytest.raises(FilesInvalid) as refused:
        survey(path, text)
    lines = [str(problem) for problem in refused.value.problems]
    assert all(line.startswith("007_a.sql:") for line in lines)
    return [line.removeprefix("007_a.sql:") for line in lines]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "-- nothing yet\n", "/* nothing */", ";", "\ufeff", "\ufeff-- marked\r\n"]
)
def test_a_file_without_statements_runs_in_a_transaction(path: Path, text: str) -> None:
    found = survey(path, text)
    assert (found.mode, found.statement_count, found.size_bytes) == (
        RunMode.TRANSACTION,
        0,
        len(text.lstrip("\ufeff").encode()),
    )


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("CREATE TABLE t (a int); INSERT INTO t VALUES (1);", 2),
        ("SELECT 1", 1),
        ("SAVEPOINT a; SELECT 1; ROLLBACK TO a; RELEASE a;", 4),
        ("SET lock_timeout = '2s'; SELECT 1;", 2),
        ("COPY t FROM stdin;\n1\n\\.\nSELECT 1;", 2),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END;", 1),
        ("DO $$ BEGIN PERFORM 'COMMIT;'; -- COMMIT;\nEND $$;", 1),
        ("DEALLOCATE PREPARE a; PREPARE b AS SELECT 1;", 2),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY m; SELECT 1;", 2),
    ],
)
def test_ordinary_statements_run_in_one_transaction(path: Path, text: str, statements: int) -> None:
    found = survey(path, text)
    assert (found.mode, found.statement_count, found.begin) == (RunMode.TRANSACTION, statements, (b"BEGIN",))


@pytest.mark.parametrize(
    ("text", "begin", "statements"),
    [
        ("BEGIN; SELECT 1; COMMIT;", b"BEGIN", 1),
        ("-- about it\nbegin transaction;\nSELECT 1;\nSELECT 2;\nend", b"begin transaction", 2),
        ("START TRANSACTION; SELECT 1; END WORK;", b"START TRANSACTION", 1),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; COMMIT;", b"BEGIN ISOLATION LEVEL SERIALIZABLE", 1),
        ("SET lock_timeout = '1s'; BEGIN; SELECT 1; COMMIT;", b"BEGIN", 2),
        ("BEGIN; COMMIT;", b"BEGIN", 0),
        ("BEGIN; SAVEPOINT a; ROLLBACK TO a; COMMIT; -- done\n", b"BEGIN", 2),
    ],
)
def test_one_transaction_around_the_file_becomes_ours(path: Path, text: str, begin: bytes, statements: int) -> None:
    found = survey(path, text)
    assert (found.mode, b"; ".join(found.begin), found.statement_count) == (RunMode.TRANSACTION, begin, statements)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("SELECT 1;\nCOMMIT;\nSELECT 2;", [2]),
        ("SELECT 1;\nROLLBACK;", [2]),
        ("BEGIN;\nSELECT 1;", [1]),
        ("SELECT 1;\nBEGIN;\nSELECT 2;\nCOMMIT;", [2, 4]),
        ("BEGIN;\nSELECT 1;\nCOMMIT;\nSELECT 2;", [1, 3]),
        ("BEGIN;\nSELECT 1;\nCOMMIT;\nBEGIN;\nSELECT 2;\nCOMMIT;", [1, 3]),
        ("BEGIN;\nSELECT 1;\nROLLBACK;", [1, 3]),
        ("BEGIN;\nSELECT 1;\nCOMMIT AND CHAIN;", [1, 3]),
        ("BEGIN;\nSELECT 1;\nPREPARE TRANSACTION 'a';", [1, 3]),
        ("ABORT;", [1]),
    ],
)
def test_any_other_transaction_control_is_refused_with_its_line(path: Path, text: str, lines: list[int]) -> None:
    problems = refusal(path, text)
    assert [int(problem.partition(":")[0]) for problem in problems] == lines
    assert all(problem.endswith(f"but the file runs in one of ours; take it out, or {ASK}") for problem in problems)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX CONCURRENTLY i ON t (a);",
        "-- why\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)",
        "DROP INDEX CONCURRENTLY i;",
        "REINDEX INDEX CONCURRENTLY i;",
        "VACUUM t;",
        "ALTER SYSTEM SET work_mem = '8MB';",
        "ALTER TABLE t DETACH PARTITION p CONCURRENTLY;",
    ],
)
def test_a_lone_statement_that_cannot_run_in_a_transaction_needs_no_directive(path: Path, text: str) -> None:
    assert survey(path, text).mode is RunMode.SINGLE_STATEMENT


def test_mixed_with_others_it_is_refused_with_its_line_once_for_all_of_the_file(path: Path) -> None:
    text = "ALTER TABLE t ADD b int;\n\n\nCREATE INDEX CONCURRENTLY\n i ON t (b);\nVACUUM t;"
    (problem,) = refusal(path, text)
    assert problem == (
        "4: CREATE INDEX CONCURRENTLY i ON t (b) cannot run inside a transaction (and 1 more, line 6); "
        f"{ASK}, or give it a file of its own"
    )


def test_a_long_statement_is_cut_between_two_words(path: Path) -> None:
    index = "CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_orders_customer ON orders (customer_id, created_at DESC)"
    text = f"SELECT 1;\n{index};"
    (problem,) = refusal(path, text)
    assert problem.startswith(
        "2: CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_orders_customer ON orders … cannot run inside a transaction; "
    )


IN_OURS = f"in a DO block, but the file runs in one transaction; {ASK}"
CAUGHT = "in a block with EXCEPTION, where the server allows none; move it out of that block"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("DO $$\nBEGIN\n  COMMIT;\nEND $$;", [f"3: COMMIT {IN_OURS}"]),
        ("SELECT 1;\nDO LANGUAGE plpgsql $x$ BEGIN\nIF a THEN ROLLBACK AND CHAIN; END IF; END $x$;",
            [f"3: ROLLBACK {IN_OURS}"]),
        ("DO 'BEGIN LOOP COMMIT; END LOOP; END'", [f"1: COMMIT {IN_OURS}"]),
        ("DO E'BEGIN\\n  PERFORM \\'a\\\\\\';\\tCOMMIT\\x3b END'", [f"1: COMMIT {IN_OURS}"]),
        ("BEGIN;\nDO $$ BEGIN COMMIT; END $$;\nCOMMIT;", [f"2: COMMIT {IN_OURS}"]),
        (f"{STEPS}BEGIN;\nDO $$ BEGIN\nCOMMIT; END $$;\nCOMMIT;", [
            "4: COMMIT in a DO block, but line 2 begins a transaction; take that BEGIN and its COMMIT out"
        ]),
        (f"{STEPS}DO $$ BEGIN BEGIN\nCOMMIT; EXCEPTION WHEN others THEN NULL; END; END $$;", [f"3: COMMIT {CAUGHT}"]),
        ("DO $$ BEGIN IF a THEN BEGIN COMMIT; END; END IF;\nEXCEPTION WHEN others THEN NULL; END $$;",
            [f"1: COMMIT {CAUGHT}"]),
    ],
)  # fmt: skip
def test_a_do_block_that_commits_is_refused_where_it_cannot(path: Path, text: str, problems: list[str]) -> None:
    assert refusal(path, text) == problems


@pytest.mark.parametrize(
    "text",
    [
        f"{STEPS}DO $$ BEGIN COMMIT; END $$;",
        f"{STEPS}DO $$ BEGIN BEGIN PERFORM 1; EXCEPTION WHEN others THEN NULL; END; COMMIT; END $$;",
        f"{STEPS}BEGIN; SELECT 1; COMMIT; DO $$ BEGIN COMMIT; END $$;",
        "DO $$ DECLARE commit int; BEGIN commit := 1; /* COMMIT; */ RAISE NOTICE 'x; COMMIT;'; END $$;",
        "DO LANGUAGE plpython3u $$ COMMIT; $$;",
        "DO $$ BEGIN EXECUTE 'SELECT 1'; END $$;",
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;",
    ],
)
def test_a_do_block_that_may_commit_or_does_not_passes(path: Path, text: str) -> None:
    assert survey(path, text)


LOAD = """\
SELECT pg_catalog.lo_open('16853', 131072);
SELECT pg_catalog.lowrite(0, '\\x78');
SELECT pg_catalog.lo_close(0);
"""


def test_the_large_objects_of_a_dump_are_loaded_in_the_transaction_of_the_file(path: Path) -> None:
    text = f"SELECT pg_catalog.lo_create('16853');\nBEGIN;\n{LOAD}COMMIT;\nBEGIN;\n{LOAD}{LOAD}COMMIT;\nSELECT 1;\n"
    found = survey(path, text)
    assert (found.mode, found.begin, found.statement_count) == (RunMode.TRANSACTION, (b"BEGIN",), 11)


def test_other_statements_in_that_transaction_are_refused(path: Path) -> None:
    assert len(refusal(path, f"SELECT 0;\nBEGIN;\n{LOAD}SELECT 1;\nCOMMIT;\n")) == 2
    assert len(refusal(path, f"SELECT 0;\nBEGIN;\n{LOAD}COMMIT AND CHAIN;\n")) == 2


@pytest.mark.parametrize(
    "text",
    [
        f"{{}}BEGIN;\n{LOAD}COMMIT;\n{{}}",
        f"{{}}BEGIN;\n{LOAD}COMMIT;\nSELECT 1;\nBEGIN;\n{LOAD}COMMIT;\n{{}}",
    ],
)
def test_a_transaction_that_is_added_to_a_dump_is_the_one_that_is_named(path: Path, text: str) -> None:
    own = "BEGIN;\nCREATE TABLE u ();\nCOMMIT;\n"
    first = text.format("", "").count("\n") + 1
    assert [problem.partition(" ")[0] for problem in refusal(path, text.format("", own))] == [
        f"{first}:",
        f"{first + 2}:",
    ]
    (begin, commit) = refusal(path, text.format(own, own))
    assert begin.startswith(f"1: BEGIN begins a transaction (and 1 more, line {first + 3})")
    assert commit.startswith(f"3: COMMIT ends the transaction (and 1 more, line {first + 5})")
    (unended,) = refusal(path, text.format("BEGIN;\n", ""))
    assert unended.startswith("1: BEGIN begins a transaction, but the file runs in one of ours; ")


def test_a_transaction_around_a_dump_that_loads_large_objects_is_the_one_of_the_runner(path: Path) -> None:
    found = survey(path, f"BEGIN;\nSELECT 1;\nBEGIN;\n{LOAD}COMMIT;\nSELECT 2;\nCOMMIT;\n")
    assert (found.mode, found.begin, found.statement_count) == (RunMode.TRANSACTION, (b"BEGIN",), 5)


def test_each_set_transaction_at_the_top_comes_before_the_claim(path: Path) -> None:
    settings = (b"SET TRANSACTION READ WRITE", b"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    text = ";\n".join(one.decode() for one in settings)
    assert survey(path, f"{text};\nSELECT 1;\nSET TRANSACTION READ ONLY;\n").begin == (b"BEGIN", *settings)


@pytest.mark.parametrize(
    "setting",
    [
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "set local transaction_isolation to serializable",
        "SET transaction_isolation = 'serializable'",
    ],
)
@pytest.mark.parametrize("before", ["", "SET lock_timeout = '2s';\n", "BEGIN;\nSET LOCAL lock_timeout = 1;\n"])
def test_settings_may_stand_before_set_transaction(path: Path, before: str, setting: str) -> None:
    end = "COMMIT;\n" if before.startswith("BEGIN") else ""
    assert survey(path, f"{before}{setting};\nSELECT 1;\n{end}").begin == (b"BEGIN", setting.encode())
    assert survey(path, f"{before}SELECT 1;\n{setting};\n{end}").begin == (b"BEGIN",)


def test_a_command_of_psql_hides_no_other_problem(path: Path) -> None:
    text = "\\set a 1\nSELECT 1;\n\\set b 2\nCOMMIT;\n-- +goose Down\nSELECT 2 \\gset\nSELECT 'open\n"
    assert [problem.partition(":")[0] for problem in refusal(path, text)] == ["1", "5", "6", "7"]
    (first, *_rest) = refusal(path, text)
    assert first.endswith("(and 1 more, line 3)")


def test_inside_a_transaction_of_the_files_own_it_is_refused(path: Path) -> None:
    (problem,) = refusal(path, "BEGIN;\nVACUUM t;\nCOMMIT;")
    assert problem.startswith("2: VACUUM t cannot run inside a transaction; ")


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a); CREATE INDEX CONCURRENTLY j ON t (b);", 2),
        ("BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; ROLLBACK; VACUUM t;", 7),
        ("SELECT 1;", 1),
        ("", 0),
        ("COMMIT; SELECT 1;", 2),
    ],
)
def test_with_the_directive_the_file_runs_statement_by_statement(path: Path, text: str, statements: int) -> None:
    found = survey(path, STEPS + text)
    assert (found.mode, found.statement_count) == (RunMode.NO_TRANSACTION, statements)


def test_with_the_directive_a_transaction_has_to_end(path: Path) -> None:
    assert refusal(path, STEPS + "BEGIN;\nSELECT 1;\nCOMMIT;\nSTART TRANSACTION;\nSELECT 2;\nBEGIN;") == [
        "5: START TRANSACTION begins a transaction that the file does not end; add COMMIT"
    ]


def test_with_the_directive_a_statement_that_cannot_run_in_the_files_own_transaction_is_refused(path: Path) -> None:
    assert refusal(path, STEPS + "BEGIN;\nVACUUM t;\nCOMMIT;\nVACUUM t;\n") == [
        "3: VACUUM t cannot run in the transaction that begins in line 2; put it after its COMMIT"
    ]


def test_with_the_directive_a_prepared_transaction_is_refused(path: Path) -> None:
    assert refusal(path, STEPS + "BEGIN;\nSELECT 1;\nPREPARE TRANSACTION 'a';") == [
        "4: PREPARE TRANSACTION 'a' prepares the transaction, which a migration cannot do"
    ]


def test_a_directive_behind_a_lone_semicolon_still_counts(path: Path) -> None:
    assert survey(path, ";\n" + STEPS + "VACUUM t; VACUUM u;").mode is RunMode.NO_TRANSACTION


def test_the_lock_timeout_of_the_file_is_kept(path: Path) -> None:
    assert survey(path, "-- migrate: lock_timeout=1500ms\nSELECT 1;").lock_timeout_ms == 1500
    assert survey(path, "SELECT 1;").lock_timeout_ms is None


def test_directives_and_their_problems_carry_the_lines_of_the_file(path: Path) -> None:
    text = (
        "-- migrate: nothing\nSELECT 1;\n-- +goose Down\nSELECT 2; -- +goose StatementEnd\n"
        "SELECT 3;\n-- migrate: no-transaction\n"
    )
    assert [problem.partition(":")[0] for problem in refusal(path, text)] == ["1", "3", "4", "6"]


def test_a_directive_in_a_string_is_text(path: Path) -> None:
    assert survey(path, "SELECT '\n-- migrate: no-transaction\n-- +goose Up\n';").mode is RunMode.TRANSACTION


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SELECT 1;\nSELECT 'open;\n", "2:8: unterminated quote: "),
        ("SELECT $a$ open;\n", "1:8: unterminated dollar quote $a$: "),
        ("/* open\n", "1:1: unterminated comment: "),
        ("\\set a 1\n", "1:1: "),
        ("SELECT 1;\n\\i other.sql\n", "2:1: "),
        (b"SELECT '\xe4';", "1:9: not UTF-8: "),
        (b"SELECT 1;\n\0", "2:1: a NUL character: "),
        ("<<<<<<< ours\nSELECT 1;\n=======\nSELECT 2;\n>>>>>>> theirs\n", "1:1: "),
        ("COPY t FROM stdin;\n1\n", "1:"),
    ],
)
def test_a_file_that_cannot_be_read_as_sql_is_refused_with_its_place(
    path: Path, text: str | bytes, problem: str
) -> None:
    (found,) = refusal(path, text)
    assert found.startswith(problem)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FilesInvalid, match=r"^008_b\.sql: cannot be read: No such file or directory$"):
        parse_script(tmp_path / "008_b.sql", "008_b.sql")


def test_a_small_file_is_kept_and_a_larger_one_read_again(path: Path) -> None:
    kept = survey(path, "SELECT 1;\nSELECT 2;\n", keep_bytes=20)
    large = survey(path, "SELECT 1;\nSELECT 2;\n", keep_bytes=19)
    assert kept.parts is not None
    assert large.parts is None
    for found in (kept, large):
        with open_script(found, path) as reading:
            assert b"".join(part.text for part in reading.parts) == b"SELECT 1;\nSELECT 2;\n"
        assert reading.checksum() == found.checksum == file_checksum(path)


def test_a_large_file_that_changed_meanwhile_shows_in_the_checksum_of_the_reading(path: Path) -> None:
    found = survey(path, "SELECT 1;\n")
    path.write_text("SELECT 2;\n")
    with open_script(found, path) as reading:
        list(reading.parts)
    assert reading.checksum() != found.checksum
