"""Keys of other tools' files, and comparisons with what their ledgers keep of the content."""

from __future__ import annotations

import hashlib

import pytest

from kernel.migrations.tool_records import LEDGER_FORMATS, ToolRecord


@pytest.mark.parametrize(
    ("tool", "source", "key"),
    [
        ("goose", "00012_add_isbn.sql", 12),
        ("goose", "a_name.sql", None),
        ("dbmate", "0012_add_isbn.sql", "0012"),
        ("golang-migrate", "12_add_isbn.up.sql", 12),
        ("flyway", "sub/folder/V1_02.0__add_isbn.sql", (1, 2)),
        ("sqitch", "deploy/books/add_isbn.sql", "books/add_isbn"),
        ("node-pg-migrate", "1577934245000_add-isbn.js", "1577934245000_add-isbn"),
        ("node-pg-migrate", "1577934245000_add-isbn.up.sql", "1577934245000_add-isbn"),
        ("alembic", "1975ea83b712_add_isbn.py", "1975ea83b712"),
        ("alembic", "1975ea83b712", "1975ea83b712"),
        ("sql-migrate", "12-add_isbn.sql", "12-add_isbn.sql"),
    ],
)
def test_a_source_in_a_header_has_the_key_of_its_record(tool: str, source: str, key: object) -> None:
    assert LEDGER_FORMATS[tool].key(source) == key


SOURCE = b"-- the isbn\nALTER TABLE books ADD isbn text;\n"
HEADER = b"-- Migration: 002 - Add isbn\n-- Description: adopted from flyway: V2__add_isbn.sql\n"
# The CRC32 of "-- the isbnALTER TABLE books ADD isbn text;", computed with gzip.
CRC32 = 876372091


@pytest.mark.parametrize(
    "content", [SOURCE, HEADER + b"\n" + SOURCE, SOURCE.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + SOURCE]
)
def test_flyways_checksum_does_not_depend_on_line_ends_and_our_header(content: bytes) -> None:
    record = ToolRecord(version="2", key=(2,), crc32=CRC32)
    assert record.is_of(content)
    assert not record.is_of(content.replace(b"isbn text", b"isbn  text"))


@pytest.mark.parametrize(
    "content", [SOURCE, HEADER + SOURCE, HEADER + b"-- migrate: no-transaction\n\n" + SOURCE, HEADER + b"\n" + SOURCE]
)
def test_a_script_hash_is_of_the_file_without_our_header(content: bytes) -> None:
    record = ToolRecord(version="isbn", key="isbn", sha1=hashlib.sha1(SOURCE, usedforsecurity=False).hexdigest())
    assert record.is_of(content)
    assert not record.is_of(content + b" ")


def test_statements_are_compared_without_comments_and_transactions() -> None:
    record = ToolRecord(version="2", key="2", statements=("-- the isbn\nALTER TABLE books ADD isbn text", "SELECT ';'"))
    assert record.is_of(b"BEGIN;\n/* more */ ALTER TABLE books ADD isbn text;\nSELECT ';' ;\nCOMMIT;\n")
    assert not record.is_of(b"ALTER TABLE books ADD isbn text;")


def test_without_anything_kept_nothing_is_proven() -> None:
    assert ToolRecord(version="2", key=2).is_of(SOURCE) is None
