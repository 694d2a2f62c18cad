"""The documentation of schemas on a real server, and of the Kernel's own files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.db.connection import open_session
from kernel.errors import UsageError
from kernel.migrations.migration import require_migrations
from kernel.schema import BuildTarget, build_schema, read_schema
from kernel.schema_docs.files import (
    Layout,
    choose_layout,
    differences,
    make_files,
    page_slug,
    superfluous_pages,
    write_files,
)
from kernel.schema_docs.mermaid import CLUSTER_TABLES, clusters
from kernel.schema_docs.model import DocumentedSchema, document_schema
from tests.hostile_schema import TEXTS, statements

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = Path(__file__).parents[3]
MIGRATIONS = PROJECT / "migrations"


def documented(url: str) -> DocumentedSchema:
    with open_session(url) as session:
        return document_schema(read_schema(session), {})


def pages(schema: DocumentedSchema, root: Path, output: str = "") -> dict[str, str]:
    """The content of every file by its path below `root`."""
    layout = choose_layout(schema, root=root, migrations_dir=root / "migrations", output=output)
    files = make_files(schema, layout, title="Schema", migrations_dir=root / "migrations")
    return {path.relative_to(root).as_posix(): text for path, text in files.items()}


def run(url: str, *queries: str) -> None:
    with psycopg.connect(url) as connection:
        for query in queries:
            connection.execute(query.encode())


def files_of_project(major: int | None = None) -> tuple[int, dict[Path, str], list[Path]]:
    """The version of the server, the documentation of this project, and pages that are not part of it."""
    built = build_schema(require_migrations(MIGRATIONS), BuildTarget(major=major), bindir=None)
    history = {obj.identity: built.files[obj.key] for obj in built.schema.objects if obj.key in built.files}
    schema = document_schema(built.schema, history)
    layout = choose_layout(schema, root=PROJECT, migrations_dir=MIGRATIONS, output="")
    files = make_files(schema, layout, title="Schema", migrations_dir=MIGRATIONS)
    return built.version, files, superfluous_pages(layout, files, root=PROJECT, migrations_dir=MIGRATIONS)


def test_the_committed_documentation_is_what_the_files_of_this_project_make() -> None:
    _, files, superfluous = files_of_project()
    assert differences(files, superfluous, root=PROJECT) == [], "run inv db.docs"
    text = files[MIGRATIONS / "SCHEMA.md"]
    changed = r"^\| `effective_from` .*\[012\]\(012_add_effective_from\.sql\), changed \[015\]"
    assert re.search(changed, text, re.MULTILINE)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (MIGRATIONS / target).exists()
    anchors = set(re.findall(r'<a id="([^"]+)">', text))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


@pytest.mark.slow
@pytest.mark.parametrize("major", [14, 15, 16, 17, 18])
def test_every_major_version_makes_the_same_bytes(major: int) -> None:
    version, files, superfluous = files_of_project(major)
    if version // 10000 != major:
        pytest.skip(f"needs PostgreSQL {major}")
    assert differences(files, superfluous, root=PROJECT) == []


def test_a_page_has_everything_that_a_table_has(database: str, tmp_path: Path) -> None:
    run(
        database,
        "CREATE ROLE reader_of_docs",
        "CREATE TYPE mood AS ENUM ('ok', 'not ok')",
        "CREATE DOMAIN positive AS int DEFAULT 1 CHECK (VALUE > 0)",
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE TYPE span AS RANGE (subtype = int4)",
        "CREATE TABLE parents (id int PRIMARY KEY, tenant int, UNIQUE (tenant, id))",
        "CREATE TABLE children (id int GENERATED ALWAYS AS IDENTITY, parent int NOT NULL UNIQUE REFERENCES parents,"
        " tenant int, m mood DEFAULT 'ok', twice int GENERATED ALWAYS AS (parent * 2) STORED, CHECK (tenant > 0),"
        " FOREIGN KEY (tenant, parent) REFERENCES parents (tenant, id))",
        "CREATE INDEX children_m ON children (m) WHERE tenant > 1",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER t AFTER INSERT ON children FOR EACH ROW EXECUTE FUNCTION f()",
        "ALTER TABLE children ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON children FOR SELECT TO reader_of_docs USING (tenant = 1)",
        "GRANT SELECT, UPDATE (m) ON children TO reader_of_docs",
        "CREATE VIEW v AS SELECT id FROM children",
        "CREATE TABLE events (at date NOT NULL) PARTITION BY RANGE (at)",
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    )
    try:
        files = pages(documented(database), tmp_path, "out")
    finally:
        run(database, "DROP OWNED BY reader_of_docs", "DROP ROLE reader_of_docs")
    page = files["out/public.children.md"]
    for expected in (
        "| `m` | `public.mood` | yes | `'ok'::public.mood` |",
        "identity, always",
        "generated `(parent * 2) stored`",
        "[`public.parents`](public.parents.md)",
        "| `children_m` | `USING btree (m) WHERE (tenant > 1)` |",
        "| `own` | SELECT | reader_of_docs | `(tenant = 1)` |",
        "- SELECT to reader_of_docs",
        "- UPDATE (m) to reader_of_docs",
        "row security: `on`",
    ):
        assert expected in page, expected
    assert "|o--o| " in page
    assert "|o--|| " in page
    assert "- [`public.children`](public.children.md): `parent`" in files["out/public.parents.md"]
    assert "- `public.events_1` `FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`" in files["out/public.events.md"]
    assert "out/public.events_1.md" not in files
    assert "FROM public.children" in files["out/public.v.md"]
    index = files["out/README.md"]
    assert "| `public.mood` | enum | `'ok', 'not ok'` |" in index
    assert "| `public.positive` | domain | `integer, DEFAULT 1, CHECK ((VALUE > 0))` |" in index
    assert "| `public.pair` | composite type | `a integer, b text` |" in index
    assert index.count("public.span") == 1


def test_the_json_has_the_shape_of_tbls(database: str, tmp_path: Path) -> None:
    run(
        database,
        'CREATE TABLE "a.b" (id int PRIMARY KEY)',
        "CREATE TABLE c (x int NOT NULL UNIQUE REFERENCES \"a.b\", y text DEFAULT 'z')",
        "COMMENT ON COLUMN c.y IS 'why'",
    )
    document = json.loads(pages(documented(database), tmp_path)["docs/schema/schema.json"])
    assert document.keys() >= {"name", "tables", "relations", "functions", "enums", "driver"}
    (_, table) = document["tables"]
    assert table["name"] == "public.c"
    assert table["columns"][1] == {
        "name": "y",
        "type": "text",
        "nullable": True,
        "default": "'z'::text",
        "extra_def": "",
        "comment": "why",
    }
    assert document["relations"] == [
        {
            "table": "public.c",
            "columns": ["x"],
            "cardinality": "zero_or_one",
            "parent_table": "public.a.b",
            "parent_columns": ["id"],
            "parent_cardinality": "exactly_one",
            "def": 'FOREIGN KEY (x) REFERENCES public."a.b"(id)',
            "virtual": False,
        }
    ]


def test_names_and_comments_cannot_break_a_page(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(statements())
    files = pages(documented(database), tmp_path, "out")
    assert len(files) == len(TEXTS) + 3
    for name, text in files.items():
        assert re.fullmatch(r"out/[a-z0-9_.-]+|out/README\.md", name)
        if name.endswith(".md"):
            outside = re.sub(r"^```mermaid$.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
            assert not re.search(r"<(?!!-- Made|br>|code>|/code>)[A-Za-z/!?]", outside), name
            assert "\u202e" not in text
            for row in re.findall(r"(?:^\|.*\n)+", outside, re.MULTILINE):
                assert len({line.count("|") for line in row.splitlines()}) == 1, row


def test_many_tables_get_pages_and_diagrams_of_those_that_belong_together(database: str, tmp_path: Path) -> None:
    made = ["CREATE TABLE tenants (id int PRIMARY KEY)"]
    for number in range(60):
        other = f", p int REFERENCES t{number - 1}" if number % 10 else ""
        made.append(f"CREATE TABLE t{number} (id int PRIMARY KEY, tenant int REFERENCES tenants{other})")
    run(database, *made)
    schema = documented(database)
    groups = clusters(schema)
    assert len(groups) == 2
    assert sorted(table.name for group in groups for table in group) == [table.name for table in schema.tables]
    assert all(len(group) <= CLUSTER_TABLES for group in groups)
    of_table = {table.name: number for number, group in enumerate(groups) for table in group}
    assert all(of_table[f"public.t{10 * ten}"] == of_table[f"public.t{10 * ten + 9}"] for ten in range(6))
    files = pages(schema, tmp_path)
    assert files["docs/schema/README.md"].count("```mermaid") == 2
    assert "docs/schema/public.t7.md" in files


def test_pages_of_dropped_tables_are_removed_and_files_of_others_stay(database: str, tmp_path: Path) -> None:
    run(database, "CREATE TABLE one (id int)", "CREATE TABLE two (id int)")
    (tmp_path / "migrations").mkdir()

    def update(*, check: bool = False) -> list[str]:
        schema = documented(database)
        layout = choose_layout(schema, root=tmp_path, migrations_dir=tmp_path / "migrations", output="out")
        files = make_files(schema, layout, title="Schema", migrations_dir=tmp_path / "migrations")
        superfluous = superfluous_pages(layout, files, root=tmp_path, migrations_dir=tmp_path / "migrations")
        if check:
            return differences(files, superfluous, root=tmp_path)
        return [path.name for path in write_files(files, superfluous)]

    assert update() == ["README.md", "public.one.md", "public.two.md", "schema.json", "schema.sql"]
    assert update() == []
    (tmp_path / "out/notes.md").write_text("mine\n")
    (tmp_path / "out/README.md").rename(tmp_path / "README.of.docs")
    for name in ("README.md", "schema.sql", "schema.json"):
        mine = tmp_path / "out" / name
        before = mine.read_text() if mine.exists() else ""
        mine.write_text("# mine\n")
        with pytest.raises(UsageError, match=f"{name}: exists, and inv db.docs did not make it"):
            update()
        assert mine.read_text() == "# mine\n"
        mine.write_text(before)
    (tmp_path / "README.of.docs").rename(tmp_path / "out/README.md")
    run(database, "DROP TABLE two", "COMMENT ON TABLE one IS 'the one'")
    lines = update(check=True)
    assert "+the one" in lines
    assert "--- out/public.two.md (as it is)" in lines
    assert update() == ["README.md", "public.one.md", "schema.json", "schema.sql", "public.two.md"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "notes.md", "public.one.md", "schema.json", "schema.sql",
    ]  # fmt: skip


def test_a_run_removes_pages_of_the_other_layout_and_none_that_another_output_made(tmp_path: Path) -> None:
    schema = DocumentedSchema(relations=(), functions=(), types=(), extensions=(), history={})
    migrations = tmp_path / "migrations"

    def update(output: str = "", *, pages: bool = False) -> list[str]:
        layout = choose_layout(schema, root=tmp_path, migrations_dir=migrations, output=output)
        if pages:  # as with many tables
            layout = Layout(index=tmp_path / "docs/schema/README.md", data=tmp_path / "docs/schema", pages=True)
        files = make_files(schema, layout, title="Schema", migrations_dir=migrations)
        superfluous = superfluous_pages(layout, files, root=tmp_path, migrations_dir=migrations)
        write_files(files, superfluous)
        return [path.relative_to(tmp_path).as_posix() for path in superfluous]

    assert [update(), update("docs/a.md"), update("docs/b.md"), update("docs/schema/c.md")] == [[], [], [], []]
    assert update(pages=True) == ["docs/schema/c.md", "migrations/SCHEMA.md"]
    assert update() == ["docs/schema/README.md"]
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md")) == [
        "docs/a.md", "docs/b.md", "migrations/SCHEMA.md",
    ]  # fmt: skip


def test_a_folder_of_migrations_gets_no_schema_sql(tmp_path: Path) -> None:
    schema = DocumentedSchema(relations=(), functions=(), types=(), extensions=(), history={})
    (tmp_path / "migrations").mkdir()
    layout: Callable[[str], object] = lambda output: choose_layout(  # noqa: E731 - a short name for the call
        schema, root=tmp_path, migrations_dir=tmp_path / "migrations", output=output
    )
    with pytest.raises(UsageError, match="holds migrations"):
        layout("migrations")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="neither a folder nor a file"):
        layout("file")
    assert "migrations/schema.sql" not in pages(schema, tmp_path, "migrations/ERD.md")


def test_names_that_differ_by_case_or_signs_have_pages_of_their_own() -> None:
    names = (
        "public.users",
        'public."Users"',
        'public."users "',
        f"public.{'a' * 200}",
        f"public.{'a' * 201}",
        'public."../x"',
    )
    slugs = [page_slug(name) for name in names]
    assert len({slug.casefold() for slug in slugs}) == len(names)
    assert slugs[0] == "public.users"
    assert all(re.fullmatch(r"[a-z0-9_.-]{1,110}", slug) and ".." not in slug for slug in slugs)
