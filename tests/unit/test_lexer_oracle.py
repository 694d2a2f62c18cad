"""The lexer against PostgreSQL's own parser and scanner."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pglast import parser

from kernel.sql.lexer import PartKind, split_script
from kernel.sql.tokens import BackslashOutsideQuotes, UnclosedToken, scan_tokens

CORPUS = Path(__file__).parents[1] / "corpus"
FRAGMENTS: list[str] = json.loads((CORPUS / "fragments.json").read_text(encoding="utf-8"))
STATEMENTS = {
    path.stem: path.read_text(encoding="utf-8").removesuffix("\n").split("\n-- ===\n")
    for path in sorted(CORPUS.glob("*.sql"))
}
ALL = list(itertools.chain.from_iterable(STATEMENTS.values()))
JOINERS = ["", " ", "\n", "\r\n", ";", "\n-- isn't; a statement\n", "/* nor; /* is */ this' */", "\n\n;\n", "\t--\n"]
QUOTED = frozenset({"SCONST", "USCONST", "BCONST", "XCONST"})


def statements(script: str) -> list[str]:
    """What the lexer finds, without the semicolons, as pglast shows it."""
    found = (part for part in split_script(io.BytesIO(script.encode()).read) if part.kind is PartKind.STATEMENT)
    return [part.sql.decode().removesuffix(";").strip() for part in found]


@pytest.mark.parametrize("sql", ALL)
def test_a_statement_is_one_for_lexer_and_parser(sql: str) -> None:
    assert statements(sql) == list(parser.split(sql))
    assert len(statements(sql)) == 1


@pytest.mark.parametrize("topic", STATEMENTS)
def test_a_script_is_split_as_the_parser_splits_it(topic: str) -> None:
    script = "\n-- ===\n".join(STATEMENTS[topic])
    assert statements(script) == list(parser.split(script))
    assert len(statements(script)) == len(STATEMENTS[topic])


@given(st.lists(st.tuples(st.sampled_from(ALL), st.sampled_from(JOINERS)), min_size=1, max_size=12))
def test_any_statements_in_a_row_are_split_as_the_parser_splits_them(pairs: list[tuple[str, str]]) -> None:
    script = "".join(sql + joiner for sql, joiner in pairs)
    assert statements(script) == list(parser.split(script))
    assert len(statements(script)) == len(pairs)


@settings(max_examples=600)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
def test_semicolons_and_quotes_are_where_the_scanner_sees_them(text: str) -> None:
    try:
        theirs = parser.scan(text)
    except parser.ParseError as refused:
        assume("unterminated" in str(refused))
        with pytest.raises((UnclosedToken, BackslashOutsideQuotes)):
            list(scan_tokens(text.encode(), 0))
        return
    if any(token.name == "ASCII_92" for token in theirs):
        with pytest.raises(BackslashOutsideQuotes):
            list(scan_tokens(text.encode(), 0))
        return
    script = text.encode()
    ours = [
        (kind, len(script[:begin].decode()), len(script[:end].decode())) for kind, begin, end in scan_tokens(script, 0)
    ]
    semicolons = [begin for _, begin, end in ours if text[begin:end] == ";"]
    assert semicolons == [token.start for token in theirs if token.name == "ASCII_59"]
    # Pieces of a string that goes on in the next line are one token there and several here.
    closed = {end for kind, _, end in ours if kind in ("string", "quoted")}
    assert closed >= {token.end + 1 for token in theirs if token.name in QUOTED or text[token.start] == '"'}
