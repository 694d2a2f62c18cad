"""How to write a statement so that it can run a second time: the remedies, as data.

Source: the specification, "Idempotent Migrations"; PostgreSQL documentation, the pages of the commands, and "PostgreSQL
Error Codes".
"""

from __future__ import annotations

from dataclasses import dataclass

from kernel.sql import tokens

_LOOKED_AT_WORDS = 24
_LOOK_FIRST = "put it in a DO block that looks first whether it is done"
_INSIDE = "look first, inside of the block, whether it is done"
_IN_BLOCKS = ("DO", "CALL", "SELECT", "WITH")
_EXISTS = ("42P07", "42710", "42723", "42P06", "42P04", "42P16", "42701")
_GONE = ("42P01", "42703", "42704", "42883", "3F000", "42P17")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """For errors of `codes` in a statement that begins with `head` and has each of `words` near its beginning."""

    codes: tuple[str, ...]
    head: str
    words: tuple[str, ...] = ()
    remedy: str


RULES = (
    Rule(codes=_EXISTS, head="CREATE", words=("TABLE",), remedy="write CREATE TABLE IF NOT EXISTS"),
    Rule(codes=_EXISTS, head="CREATE", words=("INDEX",), remedy="write CREATE INDEX IF NOT EXISTS, with a name"),
    Rule(
        codes=_EXISTS,
        head="CREATE",
        words=("MATERIALIZED", "VIEW"),
        remedy="write CREATE MATERIALIZED VIEW IF NOT EXISTS",
    ),
    Rule(codes=_EXISTS, head="CREATE", words=("VIEW",), remedy="write CREATE OR REPLACE VIEW"),
    Rule(codes=_EXISTS, head="CREATE", words=("SEQUENCE",), remedy="write CREATE SEQUENCE IF NOT EXISTS"),
    Rule(codes=_EXISTS, head="CREATE", words=("SCHEMA",), remedy="write CREATE SCHEMA IF NOT EXISTS"),
    Rule(codes=_EXISTS, head="CREATE", words=("EXTENSION",), remedy="write CREATE EXTENSION IF NOT EXISTS"),
    Rule(codes=_EXISTS, head="CREATE", words=("STATISTICS",), remedy="write CREATE STATISTICS IF NOT EXISTS"),
    Rule(codes=_EXISTS, head="CREATE", words=("TRIGGER",), remedy="write CREATE OR REPLACE TRIGGER"),
    Rule(codes=_EXISTS, head="CREATE", words=("FUNCTION",), remedy="write CREATE OR REPLACE FUNCTION"),
    Rule(codes=_EXISTS, head="CREATE", words=("PROCEDURE",), remedy="write CREATE OR REPLACE PROCEDURE"),
    Rule(codes=_EXISTS, head="CREATE", words=("AGGREGATE",), remedy="write CREATE OR REPLACE AGGREGATE"),
    Rule(codes=_EXISTS, head="CREATE", words=("RULE",), remedy="write CREATE OR REPLACE RULE"),
    Rule(codes=_EXISTS, head="CREATE", words=("POLICY",), remedy="write DROP POLICY IF EXISTS ahead of it"),
    Rule(codes=_EXISTS, head="CREATE", words=("PUBLICATION",), remedy="write DROP PUBLICATION IF EXISTS ahead of it"),
    Rule(
        codes=_EXISTS,
        head="CREATE",
        words=("TYPE",),
        remedy="put it in a DO block with EXCEPTION WHEN duplicate_object THEN NULL",
    ),
    Rule(
        codes=_EXISTS,
        head="CREATE",
        words=("DOMAIN",),
        remedy="put it in a DO block with EXCEPTION WHEN duplicate_object THEN NULL",
    ),
    Rule(codes=("42710",), head="ALTER", words=("TYPE", "VALUE"), remedy="write ADD VALUE IF NOT EXISTS"),
    Rule(codes=("42701",), head="ALTER", words=("ADD",), remedy="write ADD COLUMN IF NOT EXISTS"),
    Rule(
        codes=("42710", "42P07", "42P16"),
        head="ALTER",
        words=("TABLE", "ADD"),
        remedy="write DROP CONSTRAINT IF EXISTS ahead of it, or put it in a DO block that looks into pg_constraint",
    ),
    Rule(
        codes=_EXISTS,
        head="ALTER",
        words=("DOMAIN", "ADD"),
        remedy="write DROP CONSTRAINT IF EXISTS ahead of it",
    ),
    Rule(codes=_GONE, head="ALTER", words=("DROP", "COLUMN"), remedy="write DROP COLUMN IF EXISTS"),
    Rule(codes=_GONE, head="ALTER", words=("DROP", "CONSTRAINT"), remedy="write DROP CONSTRAINT IF EXISTS"),
    Rule(codes=_GONE, head="DROP", remedy="write DROP … IF EXISTS"),
    Rule(codes=("23505",), head="INSERT", remedy="write ON CONFLICT DO NOTHING"),
    Rule(
        codes=("23505",),
        head="COPY",
        remedy="copy into a temporary table, and from there INSERT … ON CONFLICT DO NOTHING",
    ),
)


def remedy(sqlstate: str | None, statement: str) -> str:
    """How to write `statement` so that it can run where it has run before; `sqlstate` is what stopped it."""
    head, *others = tokens.words(statement.encode(), limit=_LOOKED_AT_WORDS) or ("",)
    if head in _IN_BLOCKS:
        return _INSIDE
    fitting = [
        (max((others.index(word) for word in rule.words), default=0), rule)
        for rule in RULES
        if sqlstate in rule.codes and head == rule.head and set(rule.words) <= set(others)
    ]
    # CREATE PUBLICATION … FOR TABLE makes a publication: what is made stands first.
    return min(fitting, key=lambda one: one[0])[1].remedy if fitting else _LOOK_FIRST
