"""Find statements that change the ledger: a file must not change the records by which the runner knows what is applied.

Nor may it put there what may keep the next record out, such as a rule.

Only text is read: a DO block with the strings of its EXECUTE counts, the body of a function does not. SELECT is
allowed, and so is a table of the ledger's name in another schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernel.config.ledger_name import PROGRESS_SUFFIX, TABLE_SUFFIXES
from kernel.errors import Problem
from kernel.migrations.transactions import also_on_lines
from kernel.sql.plpgsql import do_block_body, executed_text, read_body
from kernel.sql.reader import WordReader, contains_words, read_words, split_at_commas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.config.ledger_name import LedgerName
    from kernel.sql.reader import Word


_USUAL_SCHEMA = "public"
_COLUMNS = frozenset({"version", "filename", "applied_at", "checksum"})
_MAX_STATEMENT_BYTES = 1 << 18  # a longer statement is data, and its beginning is enough


class LedgerChange(NamedTuple):
    """A change of the ledger: the command with the name it is about, and where it begins in the statement.

    `creates` means that it would create a table of that name, `qualified` that it names the schema.
    """

    command: str
    begin: int
    creates: bool = False
    qualified: bool = True


def is_found_first(ledger: LedgerName, search_path: Sequence[str]) -> bool:
    """Whether the ledger's schema is the first of a search path, after that of the user."""
    return _is_schema(ledger, [name for name in search_path if name != "$user"][:1])


def _is_table(ledger: LedgerName, name: Sequence[str]) -> bool:
    """Whether a name, given as its parts, is that of a table of the runner; one without a schema is."""
    if not name or name[-1] not in [ledger.table + suffix for suffix in TABLE_SUFFIXES]:
        return False
    return len(name) == 1 or _is_schema(ledger, name[-2:-1])


def _is_schema(ledger: LedgerName, name: Sequence[str]) -> bool:
    return tuple(name) == (ledger.schema or _USUAL_SCHEMA,)


def read_search_path(sql: bytes) -> tuple[str, ...] | None:
    """Return the schemas of a statement that sets search_path; None for another statement, and for RESET."""
    reader = WordReader(read_words(sql))
    if reader.take("SET"):
        reader.take_any("SESSION", "LOCAL")
        if reader.take("SCHEMA"):
            return (reader.take_word().text,)
        if reader.take("SEARCH_PATH") and reader.take_any("=", "TO"):
            return tuple(word.text for word in reader.take_rest() if word.key != ",")
    elif reader.take("SELECT"):
        reader.take("PG_CATALOG", ".")
        if reader.take("SET_CONFIG", "(") and reader.take_word().text == "search_path" and reader.take(","):
            names = WordReader(read_words(reader.take_word().text.encode())).take_rest()
            return tuple(word.text for word in names if word.key != ",")
    return None


class LocatedChange(NamedTuple):
    """A change of the ledger in a file, in the statement with this number, from 0."""

    change: LedgerChange
    statement: int
    line: int
    column: int | None


def ledger_change_problem(changes: Sequence[LocatedChange], ledger: LedgerName, file: str) -> Problem:
    """Return the problem of all changes of the ledger in a file; that of a CREATE TABLE explains the others."""
    shown = next((one for one in changes if one.change.creates), changes[0])
    if shown.change.creates:
        table = f"{ledger.schema}.{ledger.table}" if ledger.schema else ledger.table
        remedy = (
            "that table is the ledger here, in which the runner records what is applied; take out what makes and fills "
            f"it (a dump without it: pg_dump -T {table} -T {table}{PROGRESS_SUFFIX}), "
            "or name another ledger with KERNEL_MIGRATIONS_TABLE"
        )
    else:
        remedy = (
            "it changes the ledger, in which the runner records what is applied; take it out: "
            "records are changed by inv db.rollback, db.baseline and db.repair"
        )
    if not shown.change.qualified:
        remedy += "; write another table of that name with its schema"
    also = also_on_lines([one.line for one in changes if one is not shown])
    return Problem(message=f"{shown.change.command}{also}: {remedy}", file=file, line=shown.line, column=shown.column)


def find_ledger_changes(sql: bytes, ledger: LedgerName) -> Iterator[LedgerChange]:
    """Yield the changes of the ledger in the text of a statement."""
    yield from _find_in_words(read_words(sql[:_MAX_STATEMENT_BYTES]), ledger)


def _find_in_words(words: Sequence[Word], ledger: LedgerName) -> Iterator[LedgerChange]:
    if (body := do_block_body(words)) is not None:
        yield from _find_in_body(read_body(body), ledger)
        return
    reader = WordReader(words)
    if reader.key == "CREATE":  # the statements in a rule or a routine do not run now
        yield from _read_create(reader, ledger)
        return
    while reader.key:
        yield from _read_command(reader, ledger)


def _find_in_body(words: Sequence[Word], ledger: LedgerName) -> Iterator[LedgerChange]:
    reader = WordReader(words)
    while reader.key:
        begin = reader.begin
        if reader.take("EXECUTE"):
            text = executed_text(reader.take_until(";"))
            for change in _find_in_words(read_words((text or "").encode()), ledger):
                yield change._replace(begin=begin)
        elif reader.key == "DO":
            yield from _find_in_words(reader.take_until(";"), ledger)
        elif reader.key == "CREATE":
            yield from _read_create(WordReader(reader.take_until(";")), ledger)
        else:
            yield from _read_command(reader, ledger)


def _read_create(reader: WordReader, ledger: LedgerName) -> Iterator[LedgerChange]:
    begin = reader.begin
    reader.take("CREATE")
    reader.take("OR", "REPLACE")
    reader.take_any("UNLOGGED", "FOREIGN", "CONSTRAINT")
    if kind := reader.take_any("RULE", "TRIGGER", "POLICY"):
        name = _take_guarded_table(reader, kind)
        if _is_table(ledger, name):
            yield _ledger_change(f"CREATE {kind} on", name, begin)
        return
    if not reader.take("TABLE"):
        return
    if_absent = reader.take("IF", "NOT", "EXISTS")
    name = _take_name(reader)
    # The ledger exists when a file runs: this does nothing then, unless the file counts on another shape.
    does_nothing = if_absent and {word.text for word in reader.words} >= _COLUMNS
    if _is_table(ledger, name) and not does_nothing:
        yield _ledger_change("CREATE TABLE", name, begin)._replace(creates=True)


def _take_guarded_table(reader: WordReader, kind: str) -> tuple[str, ...]:
    """Take the table of a new rule, policy or trigger; () for a trigger that fires after a row is written."""
    reader.take_word()  # its name
    if kind == "TRIGGER" and not reader.take_any("BEFORE", "INSTEAD"):
        return ()
    reader.take_until("TO" if kind == "RULE" else "ON")
    reader.take_any("TO", "ON")
    return _take_name(reader)


def _read_command(reader: WordReader, ledger: LedgerName) -> Iterator[LedgerChange]:
    """Read the command that begins at the next word, be it within another one; skip the word if none does."""
    begin, first = reader.begin, reader.take_word().key
    second = ""
    if first not in _SECOND_WORDS or (_SECOND_WORDS[first] and not (second := reader.take_any(*_SECOND_WORDS[first]))):
        return
    command = f"{first} {second}" if second else first
    reader.take("TABLE")  # of TRUNCATE
    reader.take("IF", "EXISTS")
    is_ours = _is_schema if second == "SCHEMA" else _is_table
    names = [_take_name(reader)]
    while first in ("TRUNCATE", "DROP") and reader.take(","):
        names.append(_take_name(reader))
    if (name := next((name for name in names if is_ours(ledger, name)), ())) and _is_change(command, reader):
        yield _ledger_change(command, name, begin)


# The commands that change a table, with the words of which one follows.
_SECOND_WORDS: dict[str, tuple[str, ...]] = {
    "INSERT": ("INTO",),
    "MERGE": ("INTO",),
    "DELETE": ("FROM",),
    "UPDATE": (),
    "TRUNCATE": (),
    "COPY": (),
    "DROP": ("TABLE", "SCHEMA"),
    "ALTER": ("TABLE", "SCHEMA"),
}


_CONSTRAINTS = frozenset({"CONSTRAINT", "CHECK", "UNIQUE", "EXCLUDE", "FOREIGN"})


def _is_change(command: str, reader: WordReader) -> bool:
    """Whether a command changes the ledger that it names, judged by the words after the name."""
    if command == "COPY":
        reader.take_group()
        return reader.take("FROM")
    if command == "ALTER TABLE":
        return any(_moves_or_narrows([word.key for word in action]) for action in split_at_commas(reader.take_rest()))
    if command == "ALTER SCHEMA":
        return reader.take("RENAME")
    return command != "DROP SCHEMA" or contains_words(reader.take_rest(), "CASCADE")


def _moves_or_narrows(keys: Sequence[str]) -> bool:
    """Whether an action of ALTER TABLE renames, moves or drops something, changes a type, or refuses rows."""
    return (
        keys[:1] in (["RENAME"], ["DROP"])
        or keys[:2] == ["SET", "SCHEMA"]
        or (keys[:1] == ["ALTER"] and "TYPE" in keys)
        or (keys[:1] == ["ADD"] and keys[1:2] and keys[1] in _CONSTRAINTS)
        or (keys[:1] in (["ENABLE"], ["FORCE"]) and keys[1:2] == ["ROW"])
    )


def _take_name(reader: WordReader) -> tuple[str, ...]:
    """Take the name of a table or schema, as its parts; () if there is none."""
    reader.take("ONLY")
    in_parentheses = reader.take("(")
    parts: list[str] = []
    while reader.index < len(reader.words) and reader.words[reader.index].is_name:
        parts.append(reader.take_word().text)
        if not reader.take("."):
            break
    reader.take(")" if in_parentheses else "*")
    return tuple(parts)


def _ledger_change(command: str, name: Sequence[str], begin: int) -> LedgerChange:
    return LedgerChange(f"{command} {'.'.join(name)}", begin, qualified=len(name) > 1)
