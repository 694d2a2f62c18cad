"""Repeatable files: when they run and in which order, what is made again, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

TABLE = (
    "CREATE TABLE orders (id int PRIMARY KEY, customer text, total int);\nINSERT INTO orders VALUES (1, 'Ada', 5);\n"
)
# Six views, each of the one before it, and two functions, of which one is used by a view. Names are in the wrong order.
CHAIN = {
    "z_first": "CREATE OR REPLACE VIEW z_first AS SELECT id, total FROM orders;\n",
    "y_second": "CREATE OR REPLACE VIEW y_second AS SELECT id, total FROM z_first;\n"
    "COMMENT ON VIEW y_second IS 'second';\n",
    "x_third": "CREATE OR REPLACE VIEW x_third AS SELECT id, doubled(total) AS total FROM y_second;\n",
    "w_fourth": "CREATE OR REPLACE VIEW w_fourth AS SELECT id, total FROM x_third;\n",
    "v_fifth": "CREATE OR REPLACE VIEW v_fifth AS SELECT id, total FROM w_fourth;\n",
    "u_sixth": "CREATE OR REPLACE VIEW u_sixth AS SELECT sum(total) AS total FROM v_fifth;\n",
    "t_doubled": "CREATE OR REPLACE FUNCTION doubled(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n';\n",
    "a_rows": "CREATE OR REPLACE FUNCTION all_rows() RETURNS SETOF w_fourth LANGUAGE sql "
    "AS 'SELECT * FROM w_fourth';\n",
}
# Privileges and comments of all objects but the runner's tables.
_STATE = """
SELECT c.oid::regclass::text, relacl::text, obj_description(c.oid, 'pg_class'), pg_get_userbyid(relowner),
  ARRAY(SELECT attname || coalesce(attacl::text, '-') || coalesce(col_description(attrelid, attnum), '-')
    FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attname IN ('id', 'total'))
FROM pg_class c WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace
UNION ALL SELECT oid::regprocedure::text, proacl::text, obj_description(oid, 'pg_proc'), pg_get_userbyid(proowner), '{}'
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
ORDER BY 1
"""
# The identities of all views, triggers and functions but those of the system.
_NAMES = """
SELECT pg_describe_object(classid, objid, 0) FROM (
  SELECT 'pg_class'::regclass AS classid, oid AS objid, relnamespace AS schema FROM pg_class WHERE relkind = 'v'
  UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace FROM pg_proc
  UNION ALL SELECT 'pg_trigger'::regclass, t.oid, c.relnamespace FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
) found JOIN pg_namespace n ON n.oid = schema WHERE nspname IN ('public', 'archive') ORDER BY 1
"""
_RUNS = "SELECT name, applied_at FROM schema_migrations_repeatable ORDER BY name"


@pytest.fixture
def chain(project: Project) -> Project:
    """A project with a table and the chain of views, all applied, with grants and comments that no file has."""
    project.write("001_orders.sql", TABLE)
    for name, text in CHAIN.items():
        project.write(f"repeatable/{name}.sql", text)
    assert project.call("db.migrate").code == 0
    return project


@pytest.fixture
def granted(chain: Project, role: str) -> Project:
    for name in ("z_first", "y_second", "x_third", "w_fourth", "v_fifth", "u_sixth"):
        chain.rows(f"GRANT SELECT ON {name} TO {role}; COMMENT ON COLUMN {name}.total IS 'the {name}'")
    chain.rows(
        f"GRANT UPDATE (id) ON w_fourth TO {role} WITH GRANT OPTION; COMMENT ON VIEW w_fourth IS 'it''s $kernel$'"
    )
    chain.rows(
        f"REVOKE ALL ON FUNCTION all_rows(), doubled(int) FROM PUBLIC; GRANT EXECUTE ON FUNCTION all_rows() TO {role}"
    )
    chain.rows("COMMENT ON FUNCTION all_rows() IS 'all rows'")
    # What a new object would get is not what these have.
    chain.rows(f"ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO {role}")
    chain.rows("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    return chain


def runs(project: Project) -> dict[str, Any]:
    """When each file ran last."""
    return dict(project.rows(_RUNS))


def test_files_run_after_those_they_name_and_only_when_they_change(chain: Project) -> None:
    assert chain.rows("SELECT total FROM u_sixth") == [(10,)]
    first = runs(chain)
    assert set(first) == set(CHAIN)
    assert chain.value("SELECT count(DISTINCT xmin::text) FROM schema_migrations_repeatable") == 1  # one transaction
    columns = chain.rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'schema_migrations'::regclass AND attnum > 0"
    )
    assert {name for (name,) in columns} == {"version", "filename", "applied_at", "checksum"}

    again = chain.call("db.migrate")
    assert (again.code, again.out.startswith("nothing to apply")) == (0, True)
    chain.write("repeatable/z_first.sql", CHAIN["z_first"].replace("\n", "\r\n").encode())  # a checkout on Windows
    chain.call("db.migrate")
    assert runs(chain) == first

    chain.write(
        "repeatable/u_sixth.sql", "CREATE OR REPLACE VIEW u_sixth AS SELECT max(id)::bigint AS total FROM v_fifth;\n"
    )
    assert "1 repeatable file applied" in chain.call("db.migrate").out
    assert {name for name, at in runs(chain).items() if at != first[name]} == {"u_sixth"}


def test_a_changed_column_at_the_beginning_of_a_chain_keeps_grants_and_comments(granted: Project) -> None:
    before, first = granted.rows(_STATE), runs(granted)
    granted.write(
        "repeatable/z_first.sql", "CREATE OR REPLACE VIEW z_first AS SELECT customer, id, total::bigint FROM orders;\n"
    )
    granted.write("repeatable/t_doubled.sql", CHAIN["t_doubled"].replace("int", "bigint"))
    granted.write("repeatable/y_second.sql", CHAIN["y_second"].replace("'second'", "'the second'"))
    granted.rows("DROP FUNCTION IF EXISTS doubled(bigint)")
    applied = granted.inv("db.migrate")
    assert applied.code == 0, applied.err
    changed = [(row if row[0] != "y_second" else (*row[:2], "the second", *row[3:])) for row in before]
    assert [row for row in granted.rows(_STATE) if row[0] != "doubled(bigint)"] == changed
    assert granted.rows("SELECT total FROM u_sixth") == [(10,)]
    assert granted.rows("SELECT attname FROM pg_attribute WHERE attrelid = 'z_first'::regclass AND attnum = 1") == [
        ("customer",)
    ]
    assert {name for name, at in runs(granted).items() if at == first[name]} == set()
    second = runs(granted)
    assert granted.call("db.migrate").code == 0
    assert runs(granted) == second


def test_what_a_file_says_about_privileges_comes_after_what_was_kept(granted: Project, role: str) -> None:
    text = f"CREATE OR REPLACE VIEW z_first AS SELECT total, id FROM orders;\nREVOKE SELECT ON z_first FROM {role};\n"
    granted.write("repeatable/z_first.sql", text)
    assert granted.call("db.migrate").code == 0
    assert not granted.value(f"SELECT has_table_privilege('{role}', 'z_first', 'SELECT')")
    assert granted.value(f"SELECT has_table_privilege('{role}', 'y_second', 'SELECT')")


def test_a_function_with_another_result_is_made_again_with_what_uses_it(granted: Project) -> None:
    before = granted.rows(_STATE)
    granted.write("repeatable/t_doubled.sql", CHAIN["t_doubled"].replace("RETURNS int", "RETURNS bigint"))
    applied = granted.call("db.migrate")
    assert applied.code == 0, applied.err
    assert granted.rows(_STATE) == before


def test_a_dependant_that_no_file_makes_is_named_and_nothing_is_changed(granted: Project) -> None:
    granted.write("002_view.sql", "CREATE VIEW report AS SELECT id FROM v_fifth;\n")
    granted.call("db.migrate")
    before, first = granted.rows(_STATE), runs(granted)
    granted.write("repeatable/z_first.sql", "CREATE OR REPLACE VIEW z_first AS SELECT total, id FROM orders;\n")
    refused = granted.call("db.migrate")
    assert refused.code == 6
    assert "repeatable/z_first.sql:1" in refused.err
    assert "view report depends on it, and no file in repeatable/ makes it" in refused.err
    assert (granted.rows(_STATE), runs(granted)) == (before, first)


def test_triggers_materialized_views_and_their_indexes_are_made_again_too(chain: Project) -> None:
    chain.write(
        "repeatable/stored.sql",
        "DROP MATERIALIZED VIEW IF EXISTS stored;\n"
        "CREATE MATERIALIZED VIEW stored AS SELECT id FROM y_second;\nCREATE UNIQUE INDEX stored_id ON stored (id);\n",
    )
    chain.write(
        "repeatable/write_first.sql",
        "CREATE OR REPLACE FUNCTION write_first() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO orders (id, total) VALUES (NEW.id, NEW.total); RETURN NEW; END $$;\n"
        "CREATE OR REPLACE TRIGGER write_first INSTEAD OF INSERT ON z_first FOR EACH ROW "
        "EXECUTE FUNCTION write_first();\n",
    )
    assert chain.call("db.migrate").code == 0
    chain.write("repeatable/z_first.sql", "CREATE OR REPLACE VIEW z_first AS SELECT total, id FROM orders;\n")
    applied = chain.call("db.migrate")
    assert applied.code == 0, applied.err
    chain.rows("INSERT INTO z_first (id, total) VALUES (2, 7)")
    assert chain.rows("SELECT id FROM stored") == [(1,)]
    assert chain.value("SELECT to_regclass('stored_id') IS NOT NULL")

    chain.write(
        "repeatable/stored.sql",
        "DROP MATERIALIZED VIEW IF EXISTS stored;\n"
        "CREATE MATERIALIZED VIEW stored AS SELECT total, id FROM y_second;\n",
    )
    chain.write("repeatable/of_stored.sql", "CREATE OR REPLACE VIEW of_stored AS SELECT id FROM stored;\n")
    assert chain.call("db.migrate").code == 0
    chain.write(
        "repeatable/stored.sql",
        "DROP MATERIALIZED VIEW IF EXISTS stored;\n"
        "CREATE MATERIALIZED VIEW stored AS SELECT id, total FROM y_second;\n",
    )
    applied = chain.call("db.migrate")
    assert applied.code == 0, applied.err
    assert chain.rows("SELECT id FROM of_stored ORDER BY 1") == [(1,), (2,)]


def test_a_file_that_fails_rolls_all_of_them_back(chain: Project) -> None:
    before, first = chain.rows(_STATE), runs(chain)
    chain.write("repeatable/z_first.sql", "CREATE OR REPLACE VIEW z_first AS SELECT total, id FROM orders;\n")
    chain.write("repeatable/b_wrong.sql", "CREATE VIEW wrong AS SELECT nothing FROM v_fifth;\n")
    failed = chain.call("db.migrate")
    assert failed.code == 6
    assert "repeatable/b_wrong.sql:1" in failed.err
    assert (chain.rows(_STATE), runs(chain)) == (before, first)


@pytest.mark.slow
def test_eight_runners_at_once_apply_a_change_once(chain: Project) -> None:
    chain.rows("CREATE TABLE log (at timestamptz)")
    chain.write("repeatable/z_first.sql", "CREATE OR REPLACE VIEW z_first AS SELECT total, id FROM orders;\n")
    chain.write("repeatable/logged.sql", "INSERT INTO log VALUES (clock_timestamp());\n")
    runners = [chain.start("db.migrate") for _ in range(8)]
    assert [chain.ended(one).code for one in runners] == [0] * 8
    assert chain.rows("SELECT count(*) FROM log") == [(1,)]


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "a circle of names": (
        {
            "a": "CREATE OR REPLACE VIEW a AS\n  SELECT * FROM b;\n",
            "b": "CREATE OR REPLACE VIEW b AS SELECT * FROM a;\n",
        },
        (
            "repeatable/a.sql:2: repeatable files depend on each other in a circle: "
            "repeatable/a.sql:2 names b; repeatable/b.sql:1 names a"
        ),
    ),
    "a circle of directives": (
        {"a": "-- migrate: after=b\nSELECT 1;\n", "b": "-- migrate: after=a\nSELECT 1;\n"},
        "repeatable/a.sql:1 comes after=b; repeatable/b.sql:1 comes after=a",
    ),
    "after no file": (
        {"a": "-- x\n-- migrate: after=nothing\nSELECT 1;\n"},
        "repeatable/a.sql:2: -- migrate: after=nothing: no other",
    ),
    "outside of a transaction": ({"a": "VACUUM;\n"}, "repeatable/a.sql: runs outside of a transaction"),
    "a phase": (
        {"a": "-- migrate: phase=after\nSELECT 1;\n"},
        "repeatable/a.sql:1: -- migrate: phase=after: repeatable files",
    ),
    "a name": ({"Wrong-name": "SELECT 1;\n"}, "repeatable/Wrong-name.sql: its name is not in snake_case"),
    "one view in two files": (
        {"a": "CREATE OR REPLACE VIEW v AS SELECT 1;\n", "b": "\nCREATE OR REPLACE VIEW v AS SELECT 2;\n"},
        "repeatable/b.sql:2: view v is made by repeatable/a.sql too",
    ),
    "an open quote": ({"a": "SELECT 'open;\n"}, "repeatable/a.sql:1"),
    "a change of the records": (
        {"a": "DELETE FROM schema_migrations_repeatable;\n"},
        "repeatable/a.sql:1:1: DELETE FROM schema_migrations_repeatable",
    ),
}


@pytest.mark.parametrize(("files", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused_before_anything_runs(project: Project, files: dict[str, str], expected: str) -> None:
    project.write("001_orders.sql", TABLE)
    for name, text in files.items():
        project.write(f"repeatable/{name}.sql", text)
    for task in (("db.migrate",), ("db.verify", "--offline")):
        refused = project.call(*task)
        assert refused.code == 2
        assert expected in refused.err + refused.out
    assert project.tables() == set()


def test_after_directives_and_names_in_plpgsql_decide_the_order_too(project: Project) -> None:
    project.write("001_log.sql", "CREATE TABLE log (name text, at serial);\n")
    project.write("repeatable/a.sql", "-- migrate: after=c\nINSERT INTO log VALUES ('a');\n")
    project.write("repeatable/b.sql", "INSERT INTO log VALUES ('b');\n")
    project.write("repeatable/c.sql", "INSERT INTO log VALUES ('c');\n")
    body = "CREATE OR REPLACE FUNCTION {}() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM {}(); END $$;\n"
    project.write("repeatable/d.sql", body.format("d", "e") + "INSERT INTO log VALUES ('d');\n")
    project.write("repeatable/e.sql", body.format("e", "d") + "INSERT INTO log VALUES ('e');\n")  # calls each other
    project.write("repeatable/f.sql", body.format("f", "g") + "INSERT INTO log VALUES ('f');\n")
    project.write("repeatable/g.sql", body.format("g", "now") + "INSERT INTO log VALUES ('g');\n")
    assert project.call("db.migrate").code == 0
    assert [name for (name,) in project.rows("SELECT name FROM log ORDER BY at")] == ["b", "c", "a", "g", "f", "d", "e"]


def test_they_run_in_the_phase_in_which_no_file_before_is_left(project: Project) -> None:
    project.write("001_orders.sql", TABLE)
    project.write("repeatable/totals.sql", "CREATE OR REPLACE VIEW totals AS SELECT total FROM orders;\n")
    project.call("db.migrate")
    project.write("002_amount.sql", "ALTER TABLE orders ADD COLUMN amount int;\n")
    project.write("003_drop_total.sql", "-- migrate: phase=after\nALTER TABLE orders DROP COLUMN total;\n")
    project.write("004_more.sql", "CREATE TABLE more (id int);\n")
    project.write("repeatable/totals.sql", "CREATE OR REPLACE VIEW totals AS SELECT amount FROM orders;\n")
    early = project.call("db.migrate", "--to", "002")
    assert (early.code, "2 pending; 1 waits for --phase after" in early.out) == (0, True)
    assert project.rows("SELECT attname FROM pg_attribute WHERE attrelid = 'totals'::regclass") == [("total",)]
    assert project.call("db.status", "--check", "--phase", "before").code == 3

    assert project.call("db.migrate", "--phase", "before").code == 0
    assert project.rows("SELECT attname FROM pg_attribute WHERE attrelid = 'totals'::regclass") == [("amount",)]
    assert project.call("db.status", "--check", "--phase", "before").code == 0
    assert project.call("db.migrate", "--phase", "after").code == 0
    assert project.call("db.status", "--check").code == 0


def test_a_view_that_a_migration_has_to_drop_is_made_again_from_its_file(chain: Project) -> None:
    chain.write("002_bigint.sql", "ALTER TABLE orders ALTER COLUMN total TYPE bigint;\n")
    refused = chain.call("db.migrate")
    assert refused.code == 6
    assert (
        "write DROP VIEW z_first before it: the run makes that again at its end, from repeatable/z_first.sql"
        in refused.err
    )
    chain.write(
        "002_bigint.sql",
        "DROP VIEW z_first CASCADE;\nALTER TABLE orders ALTER COLUMN total TYPE bigint;\n",
    )
    chain.write("repeatable/t_doubled.sql", CHAIN["t_doubled"].replace("int", "bigint"))
    first = runs(chain)
    applied = chain.call("db.migrate")
    assert applied.code == 0, applied.err
    assert chain.rows("SELECT total FROM u_sixth") == [(10,)]
    assert {name for name, at in runs(chain).items() if at == first[name]} == set()
    second = runs(chain)
    chain.call("db.migrate")
    assert runs(chain) == second

    chain.rows("DROP FUNCTION all_rows()")
    gone = chain.call("db.status", "--check")
    assert (gone.code, "Pending, what it made is gone" in gone.out) == (3, True)
    assert "1 repeatable file applied" in chain.call("db.migrate").out
    assert {name for name, at in runs(chain).items() if at != second[name]} == {"a_rows"}


_LABEL = "CREATE OR REPLACE FUNCTION {} RETURNS text LANGUAGE sql AS $$ SELECT 'label' $$;\n"
# What files create, a statement of a migration that drops one of the objects, and the files that are pending after it.
GONE: dict[str, tuple[dict[str, str], str, set[str]]] = {
    "a view of public, with another of its name in another schema": (
        {
            "totals": "CREATE OR REPLACE VIEW public.totals AS SELECT total FROM orders;\n"
            "CREATE OR REPLACE VIEW archive.totals AS SELECT total FROM orders;\n"
        },
        "DROP VIEW public.totals",
        {"totals"},
    ),
    "a view without a schema, with another of its name in another schema": (
        {
            "totals": "CREATE OR REPLACE VIEW totals AS SELECT total FROM orders;\n"
            "CREATE OR REPLACE VIEW archive.totals AS SELECT total FROM orders;\n"
        },
        "DROP VIEW totals",
        {"totals"},
    ),
    "one of two views of one name in two files": (
        {
            "archived": "CREATE OR REPLACE VIEW archive.totals AS SELECT total FROM orders;\n",
            "totals": "CREATE OR REPLACE VIEW public.totals AS SELECT total FROM orders;\n",
        },
        "DROP VIEW archive.totals",
        {"archived"},
    ),
    "a trigger, with another of its name on a table of another schema": (
        {
            "stamp": "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';\n"
            "CREATE OR REPLACE TRIGGER stamped BEFORE UPDATE ON public.orders FOR EACH ROW EXECUTE FUNCTION stamp();\n"
            "CREATE OR REPLACE TRIGGER stamped BEFORE UPDATE ON archive.orders FOR EACH ROW EXECUTE FUNCTION stamp();\n"
        },
        "DROP TRIGGER stamped ON public.orders",
        {"stamp"},
    ),
    "an overload": (
        {"label": _LABEL.format("label(n int)") + _LABEL.format("label(o orders)")},
        "DROP FUNCTION label(orders)",
        {"label"},
    ),
    "an overload in another file": (
        {"number": _LABEL.format("label(n int)"), "row": _LABEL.format("public.label(o orders)")},
        "DROP FUNCTION label(orders)",
        {"number", "row"},
    ),
}


@pytest.mark.parametrize(("files", "drop", "pending"), GONE.values(), ids=GONE)
def test_an_object_that_a_migration_drops_is_made_again_whatever_others_have_its_name(
    project: Project, files: dict[str, str], drop: str, pending: set[str]
) -> None:
    project.write("001_orders.sql", TABLE + "CREATE SCHEMA archive;\nCREATE TABLE archive.orders (id int);\n")
    for name, text in files.items():
        project.write(f"repeatable/{name}.sql", text)
    assert project.call("db.migrate").code == 0
    assert project.call("db.status", "--check").code == 0
    before = project.rows(_NAMES)
    project.rows(drop)
    document = project.call("db.status", "--json").document
    assert {one["name"] for one in document["repeatable"] if one["state"] == "pending"} == pending
    assert project.call("db.migrate").code == 0
    assert project.rows(_NAMES) == before

    project.write("002_drop.sql", f"{drop};\n")
    applied = project.call("db.migrate", "--json").document
    assert {one["name"] for one in applied["repeatable"]} == pending
    assert project.rows(_NAMES) == before
    assert project.call("db.status", "--check").code == 0


def test_one_function_in_other_spellings_is_not_taken_for_overloads(project: Project) -> None:
    spellings = (
        "label(n int, at timestamp with time zone, ratio double precision, code varchar(3)[], o orders)",
        "public.label(IN n integer, at timestamptz, ratio float8, code character varying[] = '{}', o orders = NULL)",
    )
    project.write("001_orders.sql", TABLE)
    project.write("repeatable/label.sql", "".join(map(_LABEL.format, spellings)))
    assert project.call("db.migrate").code == 0
    assert project.call("db.status", "--check").code == 0


def test_one_name_in_two_schemas_and_overloads_may_be_in_two_files(project: Project) -> None:
    """They are no circle, and a file comes after that of the overload that it calls."""
    project.write("001_orders.sql", TABLE + "CREATE SCHEMA archive;\n")
    project.write("repeatable/archived.sql", "CREATE OR REPLACE VIEW archive.totals AS SELECT total FROM totals;\n")
    project.write("repeatable/totals.sql", "CREATE OR REPLACE VIEW totals AS SELECT total FROM orders;\n")
    label = "CREATE OR REPLACE FUNCTION label({}) RETURNS text LANGUAGE sql AS $$ SELECT {} $$;\n"
    project.write("repeatable/label.sql", label.format("o orders", "label((o).id)"))
    project.write("repeatable/label_number.sql", label.format("n int", "n::text"))
    applied = project.call("db.migrate")
    assert applied.code == 0, applied.err
    assert project.rows("SELECT label(o) FROM orders o") == [("1",)]


@pytest.mark.parametrize("name", ["totals", "archive.totals"])
def test_a_changed_view_is_made_again_from_its_file_when_another_file_makes_one_of_its_name(
    project: Project, role: str, name: str
) -> None:
    project.write("001_orders.sql", TABLE + "CREATE SCHEMA archive;\n")
    text = f"CREATE OR REPLACE VIEW {{0}} AS SELECT id, total FROM orders;\nREVOKE SELECT ON {{0}} FROM {role};\n"
    files = {"totals": "b_totals", "archive.totals": "c_archived"}
    for one, file in files.items():
        project.write(f"repeatable/{file}.sql", text.format(one))
    project.write("repeatable/a_report.sql", f"CREATE OR REPLACE VIEW report AS SELECT id FROM {name};\n")
    assert project.call("db.migrate").code == 0
    project.rows(f"GRANT INSERT, SELECT ON totals, archive.totals, report TO {role}")
    project.write(f"repeatable/{files[name]}.sql", text.format(name).replace("id, total", "total, id"))
    applied = project.call("db.migrate")
    assert applied.code == 0, applied.err
    privileges = {
        (view, privilege): project.value(f"SELECT has_table_privilege('{role}', '{view}', '{privilege}')")
        for view in (*files, "report")
        for privilege in ("INSERT", "SELECT")
    }
    assert {key for key, granted in privileges.items() if not granted} == {(name, "SELECT")}


@pytest.mark.parametrize("in_one_file", [True, False])
def test_a_changed_overload_keeps_its_privileges_and_what_its_file_says_about_them(
    project: Project, role: str, *, in_one_file: bool
) -> None:
    project.write("001_orders.sql", TABLE)
    text = (
        "CREATE OR REPLACE FUNCTION label({0}) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;\n"
        f"REVOKE EXECUTE ON FUNCTION label({{0}}) FROM PUBLIC, {role};\n"
    )
    first, second = text.format("o orders"), text.format("n integer")

    def write(second: str) -> None:
        files = {"label": second + first} if in_one_file else {"label": first, "label_number": second}
        for file, content in files.items():
            project.write(f"repeatable/{file}.sql", content)

    write(second)
    assert project.call("db.migrate").code == 0
    project.rows(f"COMMENT ON FUNCTION label(int) IS 'number'; GRANT EXECUTE ON FUNCTION label(int) TO {role}")
    write(second.replace("RETURNS int", "RETURNS bigint"))
    applied = project.call("db.migrate")
    assert applied.code == 0, applied.err
    assert project.value("SELECT obj_description('label(int)'::regprocedure, 'pg_proc')") == "number"
    assert project.value("SELECT pg_get_function_result('label(int)'::regprocedure)") == "bigint"
    assert not project.value(f"SELECT has_function_privilege('{role}', 'label(int)', 'EXECUTE')")


def test_what_a_file_drops_itself_is_not_missed(project: Project) -> None:
    project.write("001_orders.sql", TABLE)
    project.write(
        "repeatable/helper.sql",
        "CREATE TEMP VIEW passing AS SELECT 1;\nCREATE FUNCTION helper() RETURNS int LANGUAGE sql AS 'SELECT 1';\n"
        "SELECT helper();\nDROP FUNCTION helper();\n",
    )
    project.call("db.migrate")
    assert project.call("db.status", "--check").code == 0


def test_an_older_release_that_is_deployed_again_leaves_newer_views_alone(chain: Project) -> None:
    newer = "CREATE OR REPLACE VIEW u_sixth AS SELECT max(id)::bigint AS total FROM v_fifth;\n"
    chain.write("002_more.sql", "CREATE TABLE more (id int);\n")
    chain.write("repeatable/u_sixth.sql", newer)
    chain.call("db.migrate")
    (chain.migrations / "002_more.sql").unlink()
    chain.write("repeatable/u_sixth.sql", CHAIN["u_sixth"])
    first = runs(chain)
    older = chain.call("db.migrate")
    assert (older.code, runs(chain)) == (0, first)
    assert chain.call("db.status", "--check").code == 0
    assert "Applied by another release" in chain.call("db.status").out


def test_a_deleted_file_is_reported_until_its_record_is_forgotten(chain: Project) -> None:
    (chain.migrations / "repeatable" / "u_sixth.sql").unlink()
    table = chain.call("db.status")
    assert "u_sixth" in table.out
    assert "Deleted, what it made is still there" in table.out
    assert chain.call("db.status", "--check").code == 0
    told = chain.call("db.migrate")
    assert (told.code, "repeatable/u_sixth.sql was deleted" in told.err) == (0, True)
    assert "repeatable/u_sixth.sql was deleted" in chain.call("db.verify").out
    assert chain.value("SELECT to_regclass('u_sixth') IS NOT NULL")
    assert chain.call("db.repair", "--forget", "v_fifth", "--yes").code == 2
    assert chain.call("db.repair", "--forget", "u_sixth", "--yes").code == 0
    assert "u_sixth" not in chain.call("db.status").out


def test_status_json_and_dry_run_show_what_is_pending(chain: Project) -> None:
    chain.write(
        "repeatable/u_sixth.sql", "CREATE OR REPLACE VIEW u_sixth AS SELECT max(id)::bigint AS total FROM v_fifth;\n"
    )
    chain.write("repeatable/new.sql", "CREATE OR REPLACE VIEW new AS SELECT * FROM u_sixth;\n")
    document = chain.call("db.status", "--json").document
    states = {one["name"]: one["state"] for one in document["repeatable"]}
    assert {name for name, state in states.items() if state == "pending"} == {"u_sixth", "new"}
    assert chain.call("db.status", "--check").code == 3
    before = chain.state()
    planned = chain.call("db.migrate", "--dry-run")
    assert planned.out.splitlines()[1:] == [
        "  repeatable/u_sixth.sql (1 statement)",
        "  repeatable/new.sql (1 statement)",
    ]
    script = chain.call("db.migrate", "--dry-run", "--sql").out
    assert script.index("-- repeatable/u_sixth.sql") < script.index("-- repeatable/new.sql")
    assert chain.state() == before
    applied = chain.call("db.migrate", "--json").document
    assert [one["name"] for one in applied["repeatable"]] == ["u_sixth", "new"]
    assert "repeatable" not in chain.call("db.migrate", "--json").document


def test_with_single_transaction_a_failing_view_rolls_back_the_migrations_too(project: Project) -> None:
    project.write("001_orders.sql", TABLE)
    project.write("repeatable/wrong.sql", "CREATE OR REPLACE VIEW wrong AS SELECT nothing FROM orders;\n")
    failed = project.call("db.migrate", "--single-transaction")
    assert (failed.code, project.tables()) == (6, {"schema_migrations_repeatable"})
    project.write("repeatable/wrong.sql", "CREATE OR REPLACE VIEW wrong AS SELECT total FROM orders;\n")
    assert project.call("db.migrate", "--single-transaction").code == 0
    assert project.rows("SELECT total FROM wrong") == [(5,)]


def test_with_single_transaction_no_privilege_of_a_migration_is_lost_with_a_view_that_is_made_again(
    project: Project, role: str
) -> None:
    project.write("001_orders.sql", TABLE)
    project.write("repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT id, total FROM orders;\n")
    project.call("db.migrate")
    project.write("repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT id, customer FROM orders;\n")
    project.write("002_grant.sql", f"GRANT SELECT ON v TO {role};\n")
    before = project.rows(_STATE), runs(project)
    refused = project.call("db.migrate", "--single-transaction")
    assert refused.code == 6
    assert "repeatable/v.sql:1: cannot change name of view column" in refused.err
    assert "run inv db.migrate without --single-transaction" in refused.err
    assert (project.rows(_STATE), runs(project)) == before
    assert project.value("SELECT count(*) FROM schema_migrations") == 1

    assert project.call("db.migrate").code == 0
    assert project.value(f"SELECT has_table_privilege('{role}', 'v', 'SELECT')")
    project.write("repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT customer FROM orders;\n")
    assert project.call("db.migrate", "--single-transaction").code == 0  # no numbered file is ahead of it
    assert project.value(f"SELECT has_table_privilege('{role}', 'v', 'SELECT')")


def test_with_single_transaction_a_dependant_that_a_migration_drops_is_not_named_as_an_obstacle(
    project: Project,
) -> None:
    project.write("001_orders.sql", TABLE)
    project.write("repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT id, total FROM orders;\n")
    project.call("db.migrate")
    project.rows("CREATE VIEW report AS SELECT id FROM v")
    project.write("repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT total, id FROM orders;\n")
    project.write("002_report.sql", "DROP VIEW report;\n")
    refused = project.call("db.migrate", "--single-transaction")
    assert refused.code == 6
    assert "report" not in refused.err.partition("next:")[2]
    assert "run inv db.migrate without --single-transaction" in refused.err
    assert project.value("SELECT to_regclass('report') IS NOT NULL")
    assert project.call("db.migrate").code == 0
    assert project.rows("SELECT total, id FROM v") == [(5, 1)]


def test_a_role_that_may_not_read_the_records_sees_the_rest_and_applies_nothing(chain: Project, role: str) -> None:
    chain.rows(f"GRANT SELECT ON schema_migrations TO {role}")
    seen = chain.call("db.status", DATABASE_URL=chain.url_with(user=role))
    assert (seen.code, "Applied: 1" in seen.out) == (0, True)
    assert "Unknown, no privilege to read the records" in seen.out
    refused = chain.call("db.migrate", DATABASE_URL=chain.url_with(user=role))
    assert refused.code == 7
    assert f"GRANT SELECT, INSERT, UPDATE, DELETE ON public.schema_migrations_repeatable TO {role}" in refused.err


def test_a_table_of_that_name_that_is_not_ours_is_refused(project: Project) -> None:
    project.write("001_orders.sql", TABLE)
    project.call("db.migrate")
    project.rows("CREATE TABLE schema_migrations_repeatable (id int)")
    project.write("repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT 1;\n")
    refused = project.call("db.migrate")
    assert (refused.code, "is no table of this runner" in refused.err) == (7, True)


def test_a_directory_without_such_files_makes_no_table(three: Project) -> None:
    three.call("db.migrate")
    assert three.value("SELECT to_regclass('schema_migrations_repeatable') IS NULL")


def test_new_makes_a_file_that_is_not_applied_until_it_is_written(project: Project) -> None:
    project.write("001_orders.sql", TABLE)
    made = project.inv("db.new", "--repeatable", "open_orders")
    assert (made.code, made.out.strip()) == (0, "migrations/repeatable/open_orders.sql")
    assert project.call("db.new", "--repeatable", "open_orders").code == 2
    assert project.call("db.new", "--repeatable", "2_orders").code == 2
    assert project.call("db.new", "--repeatable", "--revert", "another").code == 2
    refused = project.call("db.migrate")
    assert (refused.code, "still as db.new wrote it" in refused.err) == (2, True)


@pytest.mark.slow
def test_lint_and_docs_and_the_comparison_of_the_catalog_know_them(chain: Project) -> None:
    chain.write("repeatable/drop.sql", "DROP TABLE IF EXISTS orders;\n")
    findings = chain.call("db.lint", "--json").document["findings"]
    assert [(one["rule"], one["file"]) for one in findings if one["rule"] == "drop-table"] == [
        ("drop-table", "repeatable/drop.sql")
    ]
    (chain.migrations / "repeatable" / "drop.sql").unlink()
    same = chain.call("db.verify", "--schema")
    assert (same.code, "no difference" in same.out) == (0, True)
    chain.rows("CREATE OR REPLACE VIEW u_sixth AS SELECT 0::bigint AS total")
    differs = chain.call("db.verify", "--schema")
    assert (differs.code, "u_sixth" in differs.out) == (4, True)
    chain.call("db.docs", "--output", "SCHEMA.md")
    assert "](migrations/repeatable/u_sixth.sql)" in (chain.root / "SCHEMA.md").read_text()


def test_odd_names_and_the_role_of_the_settings_are_kept(project: Project) -> None:
    owner, reader = (f"{project.value('SELECT current_database()')}.{name}" for name in ("Owner", "Reader"))
    project.rows(f'CREATE ROLE "{owner}"; CREATE ROLE "{reader}"; GRANT ALL ON SCHEMA public TO "{owner}"')
    privileges = """
        SELECT relname, pg_get_userbyid(relowner), grantee::regrole::text, privilege_type, is_grantable
        FROM pg_class, aclexplode(coalesce(relacl, acldefault('r', relowner)))
        WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace ORDER BY 1, 2, 3, 4, 5"""
    try:
        project.write("001_t.sql", "CREATE TABLE t (a int, b int);\n")
        views = (
            'CREATE OR REPLACE VIEW "Odd v" AS SELECT {} FROM t;\n'
            'CREATE OR REPLACE VIEW v AS SELECT a, b FROM "Odd v";\n'
        )
        project.write("repeatable/v.sql", views.format("a, b"))
        project.write(
            "repeatable/w.sql",
            "CREATE OR REPLACE VIEW w AS SELECT a, b FROM v;\n"
            "CREATE OR REPLACE FUNCTION \"F x\"(r w) RETURNS int LANGUAGE sql AS 'SELECT 1';\n",
        )
        assert project.call("db.migrate", KERNEL_ROLE=owner).code == 0
        project.rows(f'GRANT SELECT ON w TO "{reader}" WITH GRANT OPTION')
        project.rows(f'ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" GRANT SELECT ON TABLES TO PUBLIC')
        before = project.rows(privileges)
        project.write("repeatable/v.sql", views.format("b, a"))
        applied = project.call("db.migrate", KERNEL_ROLE=owner)
        assert applied.code == 0, applied.err
        assert project.rows(privileges) == before
        assert project.value("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == "F x"
    finally:
        project.rows(f'DROP OWNED BY "{owner}", "{reader}"; DROP ROLE "{owner}", "{reader}"')
