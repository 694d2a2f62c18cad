"""Which tables are touched, decided by two catalogs."""

from __future__ import annotations

from dataclasses import replace

from kernel.rehearsal.data.tables import CatalogColumn, CatalogTable, TablePair, pair_tables


def column(number: int, name: str, **changes: object) -> CatalogColumn:
    plain = CatalogColumn(
        number=number,
        name=name,
        quoted=name,
        type_oid=23,
        type="integer",
        base="integer",
        kind="int4",
        generated=False,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields by their names


def relation(oid: int, name: str, **changes: object) -> CatalogTable:
    plain = CatalogTable(
        oid=oid,
        schema="public",
        name=name,
        quoted=f"public.{name}",
        kind="r",
        estimated_rows=0,
        root_oid=oid,
        filenode=oid,
        rows_written=0,
        columns=(column(1, "id"), column(2, "v")),
        keys=((1,),),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # likewise


def one(before: list[CatalogTable], after: list[CatalogTable], written: frozenset[int] = frozenset()) -> TablePair:
    (table,) = pair_tables(
        {relation.oid: relation for relation in before}, {relation.oid: relation for relation in after}, written=written
    )
    return table


def test_the_same_file_with_nothing_written_is_untouched() -> None:
    assert not one([relation(1, "t")], [relation(1, "t")]).touched


def test_a_rename_alone_touches_nothing() -> None:
    table = one([relation(1, "t")], [relation(1, "u", columns=(column(1, "key"), column(2, "v")))])
    assert not table.touched
    assert table.shared_columns[0].after.name == "key"


def test_a_new_file_counted_rows_or_traced_writes_touch_a_table() -> None:
    assert one([relation(1, "t")], [relation(1, "t", filenode=9)]).touched
    assert one([relation(1, "t")], [relation(1, "t", rows_written=1)]).touched
    assert one([relation(1, "t")], [relation(1, "t")], frozenset({1})).touched


def test_a_table_of_the_same_name_stands_for_the_dropped_one() -> None:
    table = one([relation(1, "t")], [relation(2, "t", columns=(column(1, "v"), column(2, "id")), keys=((2,),))])
    assert table.touched
    assert [(pair.before.number, pair.after.number) for pair in table.shared_columns] == [(1, 2), (2, 1)]
    assert (table.key[0].name, table.key_kept) == ("id", True)


def test_a_new_table_under_a_renamed_ones_name_is_created() -> None:
    tables = pair_tables({1: relation(1, "t")}, {1: relation(1, "t_old"), 2: relation(2, "t")})
    assert [(table.head.name, table.before is not None, table.after is not None) for table in tables] == [
        ("t", True, True),
        ("t", False, True),
    ]


def test_a_key_that_the_clone_lost_still_identifies_rows() -> None:
    table = one([relation(1, "t")], [relation(1, "t", keys=())])
    assert ([pair.name for pair in table.key], table.key_kept) == (["id"], False)


def test_a_key_whose_column_is_gone_is_none() -> None:
    table = one([relation(1, "t")], [relation(1, "t", columns=(column(2, "v"),), keys=())])
    assert (table.key, [gone.name for gone in table.dropped_columns]) == ((), ["id"])


def test_a_key_of_both_sides_goes_before_one_that_was_lost() -> None:
    table = one([relation(1, "t", keys=((1,), (2,)))], [relation(1, "t", keys=((2,),))])
    assert ([pair.name for pair in table.key], table.key_kept) == (["v"], True)


def test_partitions_of_either_side_are_one_table() -> None:
    before = [relation(1, "root", kind="p", filenode=0), relation(2, "leaf", root_oid=1), relation(3, "other")]
    after = [
        relation(1, "root", kind="p", filenode=0),
        relation(2, "leaf"),
        relation(3, "other", root_oid=1),
    ]
    table = one(before, after)
    assert table.head.name == "root"
    assert {leaf.name for leaf in table.leaves} == {"leaf", "other"}
    assert not table.touched
