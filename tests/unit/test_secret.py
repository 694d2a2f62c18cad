"""Passwords in SQL: wherever a statement may hold one, its text is masked, and only that."""

from __future__ import annotations

import io

import pytest

from kernel.apply.failures import statement_excerpt
from kernel.sql.lexer import split_script
from kernel.sql.passwords import find_passwords, mask_passwords

STATEMENTS = [
    "ALTER ROLE r PASSWORD 'hunter2' LOGIN;",
    "create user r with encrypted password E'hunter2';",
    "ALTER ROLE r PASSWORD U&'hunter2';",
    "ALTER ROLE r PASSWORD $$hunter2$$;",
    "ALTER ROLE r PASSWORD $tag$hunter2$tag$;",
    "ALTER ROLE r PASSWORD /* new */ 'hunter2';",
    "ALTER ROLE r PASSWORD -- new\n  'hunter2';",
    "ALTER ROLE r PASSWORD 'x'\n  'hunter2';",
    "ALTER ROLE r PASSWORD 'it''s hunter2';",
    "ALTER ROLE r PASSWORD E'it\\'s hunter2';",
    "ALTER ROLE r PASSWORD 'hunter2",
    "CREATE USER MAPPING FOR r SERVER s OPTIONS (user 'u', password 'hunter2');",
    "CREATE SUBSCRIPTION s CONNECTION 'host=h password=hunter2 dbname=d' PUBLICATION p;",
    "CREATE SUBSCRIPTION s CONNECTION 'host=h password = hunter2' PUBLICATION p;",
    "SELECT dblink_connect('host=h password=''hunter2'' dbname=d');",
    "SELECT dblink_connect(E'password=\\'hunter2\\'');",
    "SELECT dblink_connect('postgresql://u:hunter2@h/d');",
    "DO $$ BEGIN EXECUTE 'ALTER ROLE r PASSWORD ''hunter2'''; END $$;",
    "DO $$ BEGIN EXECUTE format('ALTER ROLE r PASSWORD %L', 'hunter2'); END $$;",
    "DO $$ BEGIN EXECUTE 'ALTER ROLE r PASSWORD ' || quote_literal('hunter2'); END $$;",
    "DO $$ BEGIN EXECUTE concat('ALTER ROLE r PASSWORD ''', 'hunter2', ''''); END $$;",
    "UPDATE users SET password = 'hunter2' WHERE id = 1;",
    "SELECT make_user(password => 'hunter2');",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_password_is_masked_and_lines_keep_their_numbers(statement: str) -> None:
    masked = mask_passwords(statement)
    assert "hunter2" not in masked
    assert "…" in masked
    assert masked.count("\n") == statement.count("\n")
    assert mask_passwords(masked) == masked


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_quotes_a_statement_can_be_masked_with_what_it_told(statement: str) -> None:
    found = find_passwords(statement)
    quoted = next(one for one in found if "hunter2" in one)
    assert "hunter2" not in mask_passwords(f'syntax error at or near "{quoted}"', also=found)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE users (password text NOT NULL DEFAULT 'none');",
        "SET password_encryption = 'scram-sha-256';",
        "ALTER ROLE r PASSWORD NULL;",
        "SELECT password FROM users WHERE name = 'a';",
        "SELECT '10:30@noon', 'https://example.org/a@b';",
    ],
)
def test_what_is_no_password_is_shown(statement: str) -> None:
    assert mask_passwords(statement) == statement


def test_a_diff_is_masked_across_its_signs() -> None:
    diff = "@@ -1,2 +1,2 @@\n ALTER ROLE r PASSWORD\n-  'hunter2';\n+  'hunter3';"
    assert "hunter2" not in mask_passwords(diff)


def test_short_passwords_do_not_mask_every_word() -> None:
    assert find_passwords("ALTER ROLE r PASSWORD 'a';") == ()


def test_masking_a_megabyte_takes_no_time_to_speak_of() -> None:
    statement = "INSERT INTO t VALUES ('" + "password x '' = $ " * 60_000 + "');"
    assert mask_passwords(statement)


def test_the_caret_stands_under_its_word_behind_a_masked_password() -> None:
    script = "ALTER ROLE r\n  PASSWORD 'hunter2hunter2' NOLOGON;"
    (part,) = split_script(io.BytesIO(script.encode()).read)
    assert (
        statement_excerpt(part, 2, 29, first_column=1)
        == "1 | ALTER ROLE r\n2 |   PASSWORD '…' NOLOGON;\n  |                ^"
    )
