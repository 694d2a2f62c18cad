"""Guess the encoding of a script that is not UTF-8, to say how to convert it. A wrong guess would change its text."""

from __future__ import annotations

import codecs
import re

SAMPLE_BYTES = 1 << 14
_BYTE_ORDER_MARKS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_UTF16_PAIRS = 4  # characters in a row with a zero byte each: no accident
_UTF16_LITTLE_ENDIAN = re.compile(rb"(?:[^\0]\0){%d}" % _UTF16_PAIRS)
_UTF16_BIG_ENDIAN = re.compile(rb"(?:\0[^\0]){%d}" % _UTF16_PAIRS)
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")
_WORD_BEFORE = re.compile(rb"[\w\x80-\xff]*\Z")
_WORD_AFTER = re.compile(rb"[\w\x80-\xff]*")
_WORD_BYTES = 40
_CONVERT = "convert the file (iconv -f {} -t UTF-8)"


def explain_not_utf8(before: bytes, rest: bytes, *, mixed: bool) -> str:
    """Say how to convert a script; `before` is the text or its end, and `rest` begins at the byte that is not UTF-8.

    `mixed` means that the script has letters in UTF-8 before that byte.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if not before and rest.startswith(mark):
            return f"{_CONVERT.format(encoding)}, whose byte order mark it begins with"
    if encoding := _utf16_without_mark(before[-1:] + rest):
        return f"{_CONVERT.format(encoding)}, in which every second byte is zero"
    sample = rest[:SAMPLE_BYTES]
    if mixed or any(_is_utf8(match[0]) for match in _NOT_ASCII.finditer(sample)):
        return "other letters of the file are UTF-8; correct this one, and do not convert the file"
    try:
        word = _word_at(before, sample).decode("cp1252")
    except UnicodeDecodeError:
        return "find out the encoding that the file was written in, and convert it (iconv -f ENCODING -t UTF-8)"
    return f"{_CONVERT.format('WINDOWS-1252')} if it should read {word} here, else from the encoding it was written in"


def is_utf16(text: bytes) -> bool:
    """Whether a text with a zero byte is UTF-16 rather than damaged."""
    return bool(_utf16_without_mark(text))


def _utf16_without_mark(text: bytes) -> str:
    begin = text[: 2 * _UTF16_PAIRS + 1]
    if _UTF16_LITTLE_ENDIAN.match(begin):
        return "UTF-16LE"
    return "UTF-16BE" if _UTF16_BIG_ENDIAN.match(begin) else ""


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _word_at(before: bytes, rest: bytes) -> bytes:
    begin, end = _WORD_BEFORE.search(before[-_WORD_BYTES:]), _WORD_AFTER.match(rest[:_WORD_BYTES])
    return (begin[0] if begin else b"") + (end[0] if end else b"")
