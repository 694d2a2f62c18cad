"""Batches: bounded messages whose statements are known by index and by position."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.apply.batches import Batch, BatchQueue, split_into_batches
from kernel.sql.lexer import Part, PartKind, split_script


def batches(script: str) -> list[Batch | Part]:
    return list(split_into_batches(split_script(io.BytesIO(script.encode()).read)))


def messages(script: str) -> list[str]:
    return [item.message.decode() for item in batches(script) if isinstance(item, Batch)]


def test_statements_travel_together_without_the_comments_between_them() -> None:
    assert messages("-- one\nSELECT 1;\n\n-- two\nSELECT 2;\n-- the end\n") == ["SELECT 1;\nSELECT 2;"]


def test_a_file_without_statements_sends_nothing() -> None:
    assert batches("-- nothing\n;\n") == []


def test_the_pair_around_the_file_is_dropped() -> None:
    assert messages("BEGIN; SELECT 1; COMMIT;") == ["SELECT 1;"]


def test_a_last_statement_without_a_semicolon_is_sent_whole() -> None:
    assert messages("SELECT 1;\nSELECT 2 -- no semicolon") == ["SELECT 1;\nSELECT 2 -- no semicolon"]


def test_a_message_holds_at_most_five_hundred_statements() -> None:
    sizes = [len(item.statements) for item in batches("SELECT 1;\n" * 1201) if isinstance(item, Batch)]
    assert sizes == [500, 500, 201]


def test_a_message_stays_below_a_quarter_of_a_megabyte_unless_one_statement_is_longer() -> None:
    script = ("SELECT '" + "x" * 100_000 + "';\n") * 5 + "SELECT '" + "y" * 400_000 + "';\nSELECT 1;"
    assert [len(message) for message in messages(script)] == [200_021, 200_021, 100_010, 400_010, 9]


def test_every_statement_is_sent_once_and_in_order() -> None:
    script = "".join(f"SELECT {number}, '{'x' * (number * 400)}';\n" for number in range(40))
    assert "\n".join(messages(script)) == script.rstrip("\n")


def test_copy_stands_alone_and_its_data_follow() -> None:
    script = "SELECT 1;\nCOPY t FROM stdin;\n1\tä\n2\tb\n\\.\nSELECT 2;\n"
    first, copy, data, end, last = batches(script)
    assert isinstance(first, Batch)
    assert isinstance(copy, Batch)
    assert isinstance(last, Batch)
    assert (copy.message, copy.is_copy) == (b"COPY t FROM stdin;", True)
    assert (first.is_copy, last.message) == (False, b"SELECT 2;")
    assert isinstance(data, Part)
    assert isinstance(end, Part)
    assert (data.kind, data.text) == (PartKind.COPY_DATA, "1\tä\n2\tb\n".encode())
    assert (end.kind, end.text) == (PartKind.COPY_END, b"\\.\n")


def test_what_changes_how_text_is_read_ends_its_message() -> None:
    assert messages("SELECT 1; SET standard_conforming_strings = off; SELECT 'a\\'b';") == [
        "SELECT 1;\nSET standard_conforming_strings = off;",
        "SELECT 'a\\'b';",
    ]


@pytest.mark.parametrize(
    ("position", "place"),
    [
        (1, (0, 0)),
        (9, (0, 9)),  # one byte further than characters: the ä
        (11, (1, 0)),
        (18, (1, 7)),
        (19, (1, 11)),  # behind a character of four bytes
        (21, (2, 0)),
        (30, (2, 9)),
        (99, (2, 11)),  # beyond the end: the end
    ],
)
def test_a_position_counts_characters_and_leads_to_a_byte_of_a_statement(position: int, place: tuple[int, int]) -> None:
    (item,) = batches("SELECT ä;\nSELECT 𝄞;\nSELECT abc;")
    assert isinstance(item, Batch)
    assert item.message.decode() == "SELECT ä;\nSELECT 𝄞;\nSELECT abc;"
    assert item.locate(position) == place


STATEMENTS = st.lists(st.text(alphabet="abä𝄞 \n", max_size=8).map(lambda text: f"SELECT '{text}';"), min_size=1)


@given(STATEMENTS, st.data())
def test_every_position_leads_to_the_character_that_stands_there(statements: list[str], data: st.DataObject) -> None:
    (item,) = batches("\n".join(statements))
    assert isinstance(item, Batch)
    message = item.message.decode()
    position = data.draw(st.integers(min_value=1, max_value=len(message)))
    index, offset = item.locate(position)
    rest = item.statements[index].sql[offset:].decode()
    assert (rest + "\n")[0] == message[position - 1]
    assert sum(len(part.sql.decode()) + 1 for part in item.statements[:index]) <= position - 1


def queue(script: str) -> BatchQueue:
    return BatchQueue(split_into_batches(split_script(io.BytesIO(script.encode()).read)))


def test_a_queue_tells_the_last_batch_and_prepares_ahead() -> None:
    its_queue = queue("SELECT 1;\n" * 1201)
    seen = []
    while item := its_queue.next_batch():
        seen.append((len(item.statements), its_queue.ended))
        its_queue.prepare_following()
    assert seen == [(500, False), (500, False), (201, True)]


def test_a_queue_never_looks_past_the_data_of_copy() -> None:
    its_queue = queue("SELECT 1;\nCOPY t FROM stdin;\n1\n2\n\\.\nSELECT 2;\n")
    seen: list[bytes | tuple[bytes, bool, bool]] = []
    while item := its_queue.next_batch():
        its_queue.prepare_following()
        seen.append((item.message, its_queue.ended, item.open_ended))
        if item.is_copy:
            seen += its_queue.copy_data()
    assert seen == [
        (b"SELECT 1;", False, True),
        (b"COPY t FROM stdin;", True, False),
        b"1\n2\n",
        (b"SELECT 2;", True, True),
    ]


def test_nothing_follows_a_statement_without_a_semicolon_in_its_message() -> None:
    item = queue("SELECT 1 -- and a comment").next_batch()
    assert item
    assert not item.open_ended


def test_a_plain_file_has_the_same_batches_unlooked_at() -> None:
    parts = list(split_script(io.BytesIO(b"CREATE TABLE t ();\nINSERT INTO t DEFAULT VALUES;\n").read))
    assert list(split_into_batches(parts, plain=True)) == list(split_into_batches(parts))
