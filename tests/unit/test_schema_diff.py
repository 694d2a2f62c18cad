"""The difference of schemas as values: empty exactly when they are equal, whatever they hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.schema.diff import FactChange, describe_change, diff_schemas, printable_line, schemas_equal
from kernel.schema.snapshot import Schema, SchemaObject

OIDS = st.integers(min_value=1, max_value=5)
NAMES = st.sampled_from(["a", "b", "B c", 'd"e', "f\ng"])
FACTS = st.one_of(st.none(), st.sampled_from(["x", "public.a"]), st.sampled_from([("p",), ("p", "q"), ("q", "p")]))


def quoted(name: str) -> str:
    return name if name in ("a", "b") else '"' + name.replace('"', '""') + '"'


def table(oid: int, bare: str, fact: object = None, schema: str = "public") -> SchemaObject:
    name = f"{schema}.{quoted(bare)}"
    return SchemaObject(f"pg_class:{oid}", "table", "", "", 0, schema, bare, name, ("options",), (fact,))  # type: ignore[arg-type]  # a fact of any shape


def column(whole: SchemaObject, number: int, bare: str, kind: str = "integer") -> SchemaObject:
    name = f"{whole.name}.{quoted(bare)}"
    key = f"pg_attribute:{whole.key}:{number}"
    return SchemaObject(key, "column", whole.key, "", number, whole.schema, bare, name, ("type",), (kind,))


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    things: list[SchemaObject] = []
    for oid, bare in draw(st.lists(st.tuples(OIDS, NAMES), unique_by=(lambda one: one[0], lambda one: one[1]))):
        things.append(whole := table(oid, bare, draw(FACTS)))
        names = draw(st.lists(NAMES, unique=True, max_size=3))
        things += [
            column(whole, number, name, draw(st.sampled_from(["integer", "text"])))
            for number, name in enumerate(names, start=1)
        ]
    return Schema(objects=tuple(things))


@settings(max_examples=60)
@given(schemas(), schemas())
def test_there_is_a_difference_exactly_when_schemas_are_not_equal(before: Schema, after: Schema) -> None:
    lines = diff_schemas(before, after, oids=False)
    assert (lines == ()) == schemas_equal(before, after)
    assert schemas_equal(before, after) or diff_schemas(before, after)
    assert all("\n" not in line for line in lines)


@settings(max_examples=20)
@given(schemas())
def test_no_schema_differs_from_itself(schema: Schema) -> None:
    assert diff_schemas(schema, schema) == ()
    assert schemas_equal(schema, schema)


def test_a_renamed_tables_columns_are_not_renamed_with_it() -> None:
    old, new = table(1, "a"), table(1, "b")
    before = Schema(objects=(old, column(old, 1, "a")))
    after = Schema(objects=(new, column(new, 1, "a")))
    assert diff_schemas(before, after) == ("table public.a renamed to b",)


def test_a_text_that_only_follows_a_renaming_is_not_changed() -> None:
    before = Schema(objects=(table(1, "a"), table(2, "b", "refers to public.a, not public.ab")))
    after = Schema(objects=(table(1, "f\ng"), table(2, "b", 'refers to public."f\ng", not public.ab')))
    assert diff_schemas(before, after) == ('table public.a renamed to "f\\ng"',)


def test_a_text_that_differs_by_more_than_a_new_name_is_changed() -> None:
    before = Schema(objects=(table(1, "a"), table(2, "b", "refers to public.a")))
    after = Schema(objects=(table(1, "B c"), table(2, "b", 'points to public."B c"')))
    assert len(diff_schemas(before, after)) == 2


def test_two_tables_that_exchange_their_names_are_both_renamed() -> None:
    before = Schema(objects=(table(1, "a"), table(2, "b")))
    after = Schema(objects=(table(1, "b"), table(2, "a")))
    assert diff_schemas(before, after) == ("table public.b renamed to a", "table public.a renamed to b")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (("a=1",), ("a=2", "b=3"), ["setting a changed", "setting b set"]),
        (("a=1",), None, ["setting a taken away"]),
    ],
)
def test_the_values_of_settings_are_not_shown(before: object, after: object, expected: list[str]) -> None:
    thing = table(1, "a")
    change = FactChange(label="settings", before=before, after=after)  # type: ignore[arg-type]  # parametrized
    assert list(describe_change(thing, change)) == expected


def test_a_long_value_is_cut() -> None:
    change = FactChange(label="default", before="1", after="x" * 1000)
    (phrase,) = describe_change(table(1, "a"), change)
    assert len(phrase) < 200
    assert phrase.endswith("…")


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert printable_line("table \x1b[2J\u202e: dropped") == "table \\x1b[2J\\u202e: dropped"
