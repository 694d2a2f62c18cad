"""What holds for every script, however nasty, and however the stream is cut."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from hypothesis import assume, example, given
from hypothesis import strategies as st

from kernel.sql import lexer
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import LexerError, Part, PartKind, split_script
from kernel.sql.tokens import first_tokens, scan_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

FRAGMENTS: list[str] = json.loads((Path(__file__).parents[1] / "corpus" / "fragments.json").read_text(encoding="utf-8"))
# What changes how the rest is read, and what is refused.
TURNING = [
    "COPY t FROM stdin;\n1\t2\n\\.\n",
    "COPY t FROM stdin;\n\\.\r\n",
    "COPY t (a) FROM STDIN; -- why\n;'\n\\.x\n \\.\n\\\\.\n\\.\n",
    "COPY t FROM stdin;",
    "\n\\.\n",
    "\\.",
    "SET standard_conforming_strings = off;",
    "SET standard_conforming_strings TO 'on';",
    "RESET ALL;",
    "\n\\restrict abc\n",
    "\n\\unrestrict abc",
    "\\restrict abc\n",
    "\\i file\n",
    "\ufeff",
    "\n<<<<<<< HEAD\n",
    "\n>>>>>>> other\n",
    "<<<<<<< ",
    "\v",
    "\0",
]
plain = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)
nasty = st.lists(st.sampled_from(FRAGMENTS + TURNING), max_size=25).map("".join).map(str.encode)
broken = st.lists(st.one_of(nasty, st.binary(max_size=4)), max_size=5).map(b"".join)


def in_pieces(script: bytes, size: int) -> Callable[[int], bytes]:
    """A stream that gives at most `size` bytes at a time."""
    stream = io.BytesIO(script)
    return lambda wanted: stream.read(min(size, wanted))


def outcome(read: Callable[[int], bytes]) -> tuple[list[Part], tuple[str, int, int] | None]:
    """The parts, COPY data in one piece, and the refusal that ends them."""
    found: list[Part] = []
    try:
        for part in split_script(read):
            if found and part.kind is found[-1].kind is PartKind.COPY_DATA:
                found[-1] = found[-1]._replace(text=found[-1].text + part.text)
            else:
                found.append(part)
    except LexerError as refused:
        # Data that the refusal cuts short may have been given out in part.
        if found and found[-1].kind is PartKind.COPY_DATA:
            found.pop()
        return found, (refused.message, refused.line, refused.column)
    return found, None


@given(nasty)
@example(b"")
@example(b"\xef\xbb\xbf")
def test_the_parts_joined_are_the_script(script: bytes) -> None:
    found, refused = outcome(io.BytesIO(script).read)
    joined = b"".join(part.text for part in found)
    unmarked = script.removeprefix(b"\xef\xbb\xbf")
    assert unmarked.startswith(joined)
    assert refused or joined == unmarked


@given(nasty)
def test_each_part_carries_the_line_of_its_first_significant_byte(script: bytes) -> None:
    """Lines never decrease, and a refusal stands behind all that was read before it."""
    found, refused = outcome(io.BytesIO(script).read)
    before = b""
    for part in found:
        assert part.line == 1 + (before + part.text[: part.start]).count(b"\n")
        before += part.text
    assert not refused or refused[1] >= max((part.line for part in found if part.kind is PartKind.STATEMENT), default=1)


@given(nasty)
def test_only_the_last_statement_may_lack_its_semicolon(script: bytes) -> None:
    found, _ = outcome(io.BytesIO(script).read)
    for part in found[:-1]:
        assert part.kind is not PartKind.STATEMENT or part.sql.endswith(b";")


@given(nasty)
def test_a_statement_begins_with_a_token_and_blanks_hold_none(script: bytes) -> None:
    found, refused = outcome(io.BytesIO(script).read)
    assume(not refused and b"restrict" not in script)
    for part in found:
        words = first_tokens(part.text)
        if part.kind is PartKind.STATEMENT:
            assert part.sql[:1].strip()
            assert not part.sql.startswith((b"--", b"/*", b";"))
            assert words
        elif part.kind is PartKind.BLANK:
            assert words in ((), (";",))


@given(broken, st.sampled_from([1, 2, 3, 7]), st.sampled_from([1, 2, 3, 7, 1 << 20]))
@example(b"\xef\xbb\xbfSELECT 1", 1, 1)
@example(b"CREATE TABLE t (a text DEFAULT E'\\';');", 1, 1)
@example(b"SELECT 1;\\restrict abc\n", 1, 1)
@example("é; SELECT '日\N{GRINNING FACE}".encode(), 1, 1)
@example(b"a;\xc3", 1, 1)
@example(b"a;\xc3\xa9\xff;\\x\0", 2, 1)
def test_how_the_stream_is_cut_changes_nothing(script: bytes, piece: int, chunk: int) -> None:
    whole = outcome(io.BytesIO(script).read)
    with mock.patch.object(lexer, "_CHUNK_BYTES", chunk):
        assert outcome(in_pieces(script, piece)) == whole


def test_the_window_may_end_at_any_byte() -> None:
    script = (
        "\ufeffSELECT 'é'; COPY t FROM stdin; -- a\r\n1\n\\.x\n\\.\r\nSELECT E'\\';', $a$;$a$ /* /* */ */;\\x".encode()
    )
    whole = outcome(io.BytesIO(script).read)
    assert whole[1] is not None
    for chunk in range(1, len(script)):
        with mock.patch.object(lexer, "_CHUNK_BYTES", chunk):
            assert outcome(io.BytesIO(script).read) == whole


@given(st.binary(max_size=60) | broken)
def test_any_bytes_are_read_or_refused(script: bytes) -> None:
    with contextlib.suppress(LexerError):
        for part in split_script(io.BytesIO(script).read):
            if part.kind is PartKind.STATEMENT:
                assert isinstance(statement_effect(part.sql), StatementEffect)


@given(plain)
@example("SELECT $$a b$$$$c;d$$;")
@example("SELECT $$a$$E'b\\';';")
@example("SELECT 1.e$$;$$")
@example("SELECT $E'\\';';")
def test_the_fast_way_and_the_tokens_agree_where_statements_end(text: str) -> None:
    script = ("SELECT " + text.replace("CREATE", "").replace("create", "")).encode()
    found, refused = outcome(io.BytesIO(script).read)
    assume(not refused)
    joined, ends = 0, []
    for part in found:
        joined += len(part.text)
        ends.append(joined)
    seen = [end for _, begin, end in scan_tokens(script, 0) if script[begin:end] == b";"]
    assert seen == [end for end, part in zip(ends, found, strict=True) if part.text.endswith(b";") and end in seen]
    assert set(ends[:-1]) <= set(seen)
