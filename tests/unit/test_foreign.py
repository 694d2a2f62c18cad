"""Marks of other tools and plain marks of a down part: refused with what to do; ordinary comments are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.migrations.script import parse_script

if TYPE_CHECKING:
    from pathlib import Path

NO_TRANSACTION = "write -- migrate: no-transaction"
TAKE_OUT = "take it out"
REVERT = "to revert/ under the same name"


def refusals(tmp_path: Path, text: str, name: str = "007_a.sql") -> list[str]:
    """The problems of a file, without its name; [] for a file that can run."""
    path = tmp_path / "007_a.sql"
    path.write_text(text)
    try:
        parse_script(path, name)
    except FilesInvalid as refused:
        return [str(problem).removeprefix(f"{name}:") for problem in refused.problems]
    return []


@pytest.mark.parametrize(
    ("comment", "tool", "remedy"),
    [
        ("-- +goose Up", "goose", REVERT),
        ("-- +goose Down", "goose", REVERT),
        ("--+goose down", "goose", REVERT),
        ("--+goose NO TRANSACTION", "goose", NO_TRANSACTION),
        ("-- +goose no transaction", "goose", NO_TRANSACTION),
        ("-- +goose StatementBegin", "goose", TAKE_OUT),
        ("-- +goose statementend", "goose", TAKE_OUT),
        ("-- +goose ENVSUB ON", "goose", "write the values of the variables into the file"),
        ("-- +migrate Up", "sql-migrate", REVERT),
        ("-- +migrate Down", "sql-migrate", REVERT),
        ("-- +migrate Up notransaction", "sql-migrate", NO_TRANSACTION),
        ("-- +migrate StatementBegin", "sql-migrate", TAKE_OUT),
        ("-- +micrate Down", "micrate", REVERT),
        ("-- migrate:up", "dbmate", REVERT),
        ("-- migrate:down", "dbmate", REVERT),
        ("-- migrate: down", "dbmate", REVERT),
        ("-- migrate:up transaction:false", "dbmate", NO_TRANSACTION),
        ("---- create above / drop below ----", "tern", REVERT),
        ("---- tern: disable-tx ----", "tern", NO_TRANSACTION),
        ("-- no-transaction", "sqlx", NO_TRANSACTION),
        ("-- no-transaction\r", "sqlx", NO_TRANSACTION),
        ("--! no-transaction", "graphile-migrate", NO_TRANSACTION),
        ("--! Message: add users", "graphile-migrate", TAKE_OUT),
        ("-- atlas:txmode none", "Atlas", NO_TRANSACTION),
        ("-- atlas:delimiter \\n\\n", "Atlas", TAKE_OUT),
        ("-- down.sql --", "Atlas", REVERT),
        ("-- transactional: false", "yoyo", NO_TRANSACTION),
        ("-- Up Migration", "node-pg-migrate", REVERT),
        ("-- Down Migration", "node-pg-migrate", REVERT),
        ("---- down migration ----", "node-pg-migrate", REVERT),
        ("-- rambler down", "rambler", REVERT),
        ("-- //@UNDO", "MyBatis Migrations", REVERT),
        ("--//@undo", "MyBatis Migrations", REVERT),
        ("-- !Downs", "Play evolutions", REVERT),
        ("--- !Downs", "Play evolutions", REVERT),
        ("-- postgres-migrations disable-transaction", "postgres-migrations", NO_TRANSACTION),
        ("-- evolve-tx-off", "Evolve", NO_TRANSACTION),
        ("-- flyway:executeInTransaction=false", "Flyway", NO_TRANSACTION),
        ("--liquibase formatted sql", "Liquibase", TAKE_OUT),
        ("--changeset bob:1 runInTransaction:false", "Liquibase", NO_TRANSACTION),
        ("-- +rosetta Down", "another tool", REVERT),
    ],
)
def test_a_directive_of_another_tool_is_answered_with_what_to_write_here(
    tmp_path: Path, comment: str, tool: str, remedy: str
) -> None:
    (problem,) = refusals(tmp_path, f"-- a comment\n  {comment}\nSELECT 1;\n")
    assert problem.startswith(f"2: {comment.strip()}: a directive of {tool}; ")
    assert remedy in problem


def test_the_first_line_of_play_evolutions_is_refused_although_it_is_no_comment(tmp_path: Path) -> None:
    (problem,) = refusals(tmp_path, "# --- !Ups\nCREATE TABLE t ();\n\n# --- !Downs\nDROP TABLE t;\n")
    assert problem.startswith("4: # --- !Downs: a directive of Play evolutions; ")


def test_both_marks_of_a_tool_are_one_problem_at_the_down_part(tmp_path: Path) -> None:
    text = "-- +goose Up\nCREATE TABLE t ();\n\n-- +goose Down\nDROP TABLE t;\n"
    (problem,) = refusals(tmp_path, text)
    assert problem == (
        "4: -- +goose Down: a directive of goose; take it out (and -- +goose Up on line 1), and move the statements "
        "below it, which would run too, to revert/ under the same name: they undo the migration; "
        "or convert the directory: inv db.adopt DIRECTORY --from goose"
    )


def test_each_kind_of_mark_is_one_problem_however_often_it_stands_there(tmp_path: Path) -> None:
    body = "-- +goose StatementBegin\nSELECT 1;\n-- +goose StatementEnd\n" * 20
    problems = refusals(tmp_path, f"-- +goose NO TRANSACTION\n-- +goose Up\n{body}-- +goose Down\n{body}")
    assert len(problems) == 3


PLAIN_DOWN = [
    "-- Down",
    "--down",
    "-- DOWN:",
    "---- Down ----",
    "-- ==== DOWN ====",
    "-- Downs",
    "-- rollback",
    "-- ROLLBACK",
    "-- Rollback script",
    "-- UNDO",
    "-- Undo section",
    "-- revert migration",
    "-- migrate down",
    "-- @down",
    "-- mytool:down",
    "-- 1 down",
    "-- [down]",
    "/* about it */\n-- Down",
    "/* DOWN */",
    "/*\n * Down\n */",
    "/**\n Down\n**/",
    "/*\n * +goose Down\n */",
    "-- Down / Rollback",
    "-- Reverse migration",
    "-- Down\n-- drops the table again",
    "-- Downgrade",
    "-- downgrade --",
    "-- def downgrade():",
    "-- DOWN Migration (Rollback)",
    "-- Roll back",
    "-- Revert this migration",
    "-- sqlx down",
    "-- V1 down",
    "-- Part 2: rollback",
    "-- 001_a.down.sql",
    "-- To undo:",
    "-- How to roll back",
    "-- To rollback this migration, run:",
    "-- ROLLBACK (if needed)",
    "-- Rollback instructions:\n-- =====",
    "-- for rollback",
    "/* To revert: */",
    "-- Down begin",
    "-- down:start",
    "-- Down script below",
    "-- DOWN MIGRATION STARTS HERE",
    "-- Down migration (drops everything)",
    "-- Rollback (manual):",
    "-- region down",
    "--#region Down",
    "-- SqlDown",
    "-- DownMigration",
    "-- +goosedown",
    "-- name: down",
]


@pytest.mark.parametrize("mark", PLAIN_DOWN)
def test_a_plain_mark_between_two_halves_is_refused_with_its_line(tmp_path: Path, mark: str) -> None:
    (problem,) = refusals(tmp_path, f"-- Up\nCREATE TABLE t ();\n\n{mark}\nDROP TABLE t;\n")
    line = 4 + mark.startswith(("/* about", "/*\n", "/**\n"))
    assert problem.startswith(f"{line}: --")
    assert "::" not in problem
    assert ("a directive of goose" if "goose" in mark else "like a section of another tool") in problem
    assert REVERT in problem
    assert problem.endswith("write an ordinary comment in other words") or "goose" in mark


@pytest.mark.parametrize(
    "text",
    [
        "-- down the road this becomes NOT NULL\nSELECT 1;\n-- down the road\nSELECT 2;\n",
        "SELECT 1;\n-- ROLLBACK;\nSELECT 2;\n",
        "BEGIN;\nSELECT 1;\n-- rollback\nCOMMIT;\n",
        "SAVEPOINT a;\nSELECT 1;\n-- rollback\nROLLBACK TO a;\nSELECT 2;\n",
        "SELECT 1;\n/* Down\n   the road */\nSELECT 2;\n",
        "/* */\nSELECT 1;\n/*\n * Down\n * the road\n */\nSELECT 2;\n",
        "/* see the manual: -- migrate: no-transaction */\nSELECT 1;\n",
        "-- rollback\nBEGIN;\nSELECT 1;\nCOMMIT;\n",
        "BEGIN;\n-- rollback\nDROP TABLE t;\nCOMMIT;\n",
        "CREATE TABLE t ();\n-- Down\n-- DROP TABLE t;\n",
        "CREATE INDEX a ON t (a);\n-- Rollback:\n-- DROP INDEX a;\n\nCREATE INDEX b ON t (b);\n",
        "SELECT 1;\n-- rollback is done by hand\nSELECT 2;\n",
        "SELECT 1;\n-- undo log\nSELECT 2;\n",
        "SELECT 1;\n-- Revert\nCREATE OR REPLACE FUNCTION revert_config() RETURNS int LANGUAGE sql AS 'SELECT 1';\n",
        "SELECT 1;\n-- ==========\n-- ROLLBACK\n-- ==========\n-- DROP TABLE t\n\nSELECT 2;\n",
        "SELECT 1;\n-- no transactions\nSELECT 2;\n",
        "SELECT 1;\n-- setup\nSELECT 2;\n-- ups\nSELECT 3;\n",
        "SELECT 1;\n-- slow down\nSELECT 2;\n-- teardown\nSELECT 3;\n",
        "SELECT 1; -- down\nSELECT 2;\n",
        "SELECT 1;\n/*\n-- Down\n*/\nSELECT 2;\n",
        "SELECT '\n-- Down\n';\nSELECT 2;\n",
        "DO $$ BEGIN\n-- rollback\nPERFORM 1;\nEND $$;\nSELECT 2;\n",
        "-- Up\nCREATE TABLE t ();\n",
        "-- Down\nDROP TABLE t;\n",
        "-- Migration: 016 - Revert the rollback\n-- Description: Down\nSELECT 1;\n",
        "-- a file without transaction control\nSELECT 1;\n",
        "-- goose Up\nSELECT 1;\n---- tables ----\nSELECT 2;\n",
        "SELECT 1;\n-- SET lock_timeout = '2s';\nSELECT 2;\n",
        "--> statement-breakpoint\nSELECT 1;\n--;;\nSELECT 2;\n",
        "SELECT 1;\n-- To undo:\n--   inv db.rollback --revert\nSELECT 2;\n",
        "SELECT 1;\n-- Rollback plan:\n-- none is needed\nSELECT 2;\n",
        "SELECT 1;\n-- ROLLBACK (if needed)\n-- =====\n-- DROP TABLE x;\nSELECT 2;\n",
        "SELECT 1;\n-- To rollback this migration:\n/*\nDROP TABLE a;\n*/\nSELECT 2;\n",
        "SELECT 1;\n-- Rollback\n/*\nDROP TABLE a;\n*/\nSELECT 2;\n",
    ],
)
def test_an_ordinary_comment_is_no_section(tmp_path: Path, text: str) -> None:
    assert refusals(tmp_path, text) == []


PROSE = """\
to undo this, run 017
To revert, restore from backup
To undo: ask the owner of the table
to revert: inv db.rollback --revert
undo the mistake of 004
Undo log for the editor
Undoing is not possible: the column is dropped.
Reverts 012_add_flag.sql
revert to the old default
Revert status for orders
Revert this migration once the mail server works
This reverts the change of last week
roll back the price of unpaid orders
Roll back with scripts/083_rollback.sql
Rollback segments are counted here
the rollback of this file is in revert/
cannot be rolled back
no rollback
no down migration
downgrade free accounts
Downgrade users whose plan has expired
Downgrade / Expired
down payments
drill down view
cascade down to the children
Top-down order
markdown
break down by month
slow down the poller
shut down flag
Reverse lookup of host names
reverse the sign of refunds
for backwards compatibility
Backward compatible view
rolling back is safe until 018
Tear down the old tables first
Upgrade accounts of the pilot
see revert/016_a.sql for the way back
""".splitlines()


@pytest.mark.parametrize("comment", PROSE)
def test_prose_about_going_back_is_no_section(tmp_path: Path, comment: str) -> None:
    assert refusals(tmp_path, f"CREATE TABLE t ();\n\n-- {comment}\nDROP TABLE u;\n") == []


def test_sections_in_reverse_order_are_refused_too(tmp_path: Path) -> None:
    (problem,) = refusals(tmp_path, "-- Down\nDROP TABLE t;\n-- Up\nCREATE TABLE t ();\n")
    assert problem.startswith("1: -- Down: ")


def test_in_a_revert_file_the_heading_down_passes_and_two_halves_do_not(tmp_path: Path) -> None:
    name = "revert/007_a.sql"
    assert refusals(tmp_path, "-- Down\nDROP TABLE t;\nDROP TABLE u;\n", name) == []
    (problem,) = refusals(tmp_path, "CREATE TABLE t ();\n-- Down\nDROP TABLE t;\n", name)
    assert "keep only what undoes the migration" in problem


@pytest.mark.parametrize(
    "comment",
    [
        "-- migrate no-transaction",
        "-- Migrate: no-transaction",
        "--migrate-no-transaction",
        "-- migration: no-transaction",
        "-- mirgate: no-transaction",
        "-- no transaction",
        "/* migrate: no-transaction */",
        "-- disable ddl transaction",
        "-- Migrate: lock_timeout=2s",
        "-- migrate lock_timeout=2s",
        "-- mirgate: allow=drop-column nobody reads it",
    ],
)
def test_a_near_miss_of_a_directive_is_refused(tmp_path: Path, comment: str) -> None:
    (problem,) = refusals(tmp_path, f"{comment}\nSELECT 1;\n")
    shown = comment.replace("/*", "--").removesuffix(" */")
    assert problem.startswith(f"1: {shown}: not read as a directive; ")
    assert "-- migrate: " in problem
