"""One history of migrations in the format of each tool that db.adopt reads, written after the tools' documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Step(NamedTuple):
    """A migration of the history: what it does, and what undoes it."""

    name: str
    up: str
    down: str
    has_body: bool = False  # with semicolons in a function
    outside: bool = False  # cannot run in a transaction


STEPS = (
    Step(
        "create_books",
        "CREATE TABLE books (\n  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n  title text NOT NULL\n);\n"
        "COMMENT ON TABLE books IS 'lent out; -- and returned';\n",
        "DROP TABLE books;\n",
    ),
    Step(
        "add_isbn",
        "ALTER TABLE books ADD COLUMN isbn text;\nINSERT INTO books (title, isbn) VALUES ('It''s; here', '1');\n",
        "DELETE FROM books;\nALTER TABLE books DROP COLUMN isbn;\n",
    ),
    Step(
        "count_books",
        "CREATE FUNCTION count_books() RETURNS bigint LANGUAGE plpgsql AS $$\nDECLARE\n  n bigint;\nBEGIN\n"
        "  SELECT count(*) INTO n FROM books;\n  RETURN n;\nEND;\n$$;\n"
        "COMMENT ON FUNCTION count_books() IS 'all of them';\n",
        "DROP FUNCTION count_books();\n",
        has_body=True,
    ),
    Step(
        "index_titles",
        "CREATE INDEX CONCURRENTLY books_title ON books (title);\n",
        "DROP INDEX CONCURRENTLY books_title;\n",
        outside=True,
    ),
    Step(
        "index_isbns",
        "CREATE UNIQUE INDEX CONCURRENTLY books_isbn ON books (isbn);\n",
        "DROP INDEX CONCURRENTLY books_isbn;\n",
        outside=True,
    ),
)
FINAL_ROWS = [("It's; here", "1")]

# Dates as the tools write them, in the order of STEPS.
TIMES = ("20200102030405", "20200102030406", "20210203040506", "20230304050607", "20230304050608")


def _marked(step: Step, mark: str) -> str:
    """The up part, with the tool's marks around a function; its semicolon can then be left out, and often is."""
    if not step.has_body:
        return step.up
    function, end, rest = step.up.partition("$$;\n")
    assert end
    return f"{mark} StatementBegin\n{function}$$\n{mark} StatementEnd\n{rest}"


def _goose(step: Step) -> str:
    outside = "-- +goose NO TRANSACTION\n" if step.outside else ""
    return f"{outside}-- +goose Up\n{_marked(step, '-- +goose')}\n-- +goose Down\n{step.down}"


def _sql_migrate(step: Step) -> str:
    outside = " notransaction" if step.outside else ""
    up = _marked(step, "-- +migrate")
    return f"-- +migrate Up{outside}\n{up}\n-- +migrate Down{outside}\n{step.down}"


def _dbmate(step: Step) -> str:
    outside = " transaction:false" if step.outside else ""
    return f"-- migrate:up{outside}\n{step.up}\n-- migrate:down{outside}\n{step.down}"


def _tern(step: Step) -> str:
    outside = "---- tern: disable-tx ----\n" if step.outside else ""
    return f"{outside}{step.up}\n---- create above / drop below ----\n\n{outside}{step.down}"


def _history(tool: str, steps: tuple[Step, ...]) -> dict[str, str]:  # noqa: PLR0911 - one for each tool
    numbered = list(enumerate(steps))
    match tool:
        case "goose":  # sequential numbers first, then dates; 2 before 10 by value
            names = ("1", "2", "10", *TIMES[3:])
            return {f"{names[i]}_{step.name}.sql": _goose(step) for i, step in numbered}
        case "sql-migrate":
            return {f"{(1, 2, 10, 11, 12)[i]}-{step.name}.sql": _sql_migrate(step) for i, step in numbered}
        case "dbmate":
            return {f"{TIMES[i]}_{step.name}.sql": _dbmate(step) for i, step in numbered}
        case "golang-migrate":
            ups = {f"{i + 8}_{step.name}.up.sql": step.up for i, step in numbered}
            return ups | {f"{i + 8}_{step.name}.down.sql": step.down for i, step in numbered}
        case "flyway":
            versions = ("1", "1.2", "1.10", "2_0", "2_0_1")
            ups = {f"V{versions[i]}__{step.name}.sql": step.up for i, step in numbered}
            return ups | {f"U{versions[i]}__{step.name}.sql": step.down for i, step in numbered}
        case "node-pg-migrate-sql":
            prefixes = ("1577934245000", "20200102030406000", "1612325106000", "1677906367000", "1677906368000")
            return {
                f"{prefixes[i]}_{step.name.replace('_', '-')}.sql": (
                    f"-- Up Migration\n{step.up}\n-- Down Migration\n{step.down}"
                )
                for i, step in numbered
            }
        case "supabase":
            return {f"{TIMES[i]}_{step.name}.sql": step.up for i, step in numbered}
        case "tern":
            return {f"{i + 1:03}_{step.name}.sql": _tern(step) for i, step in numbered}
    raise AssertionError(tool)


def write_history(folder: Path, tool: str, *, outside: bool = True) -> None:
    """Write the history as the files of a tool; without `outside`, the steps that need no other session mode."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in _history(tool, tuple(step for step in STEPS if outside or not step.outside)).items():
        (folder / name).write_text(text)
