"""Which files the documentation consists of, where they are, and how they differ from those that exist."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.files import replacing_file
from kernel.schema_docs.pages import MARK, Page, index_lines, relation_lines
from kernel.schema_docs.sql_text import SQL_HEAD, sql_text
from kernel.schema_docs.tbls import JSON_HEAD, tbls_json

if TYPE_CHECKING:
    from kernel.schema_docs.model import DocumentedSchema


ONE_FILE_TABLES = 30
SINGLE_FILE = "SCHEMA.md"
INDEX_FILE = "README.md"
PAGES_FOLDER = Path("docs/schema")

_PLAIN_NAME = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")
_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the files are: `index` is the page with the index, and the only one unless `pages`.

    `data` is the folder of schema.json and schema.sql.
    """

    index: Path
    data: Path
    pages: bool


def choose_layout(schema: DocumentedSchema, *, root: Path, migrations_dir: Path, output: str) -> Layout:
    """One file in the folder of the migrations, or pages in docs/schema for more than ONE_FILE_TABLES.

    `output` is the file (*.md) or the folder to use instead, "" for none. Raises UsageError.
    """
    folder = root / PAGES_FOLDER
    if not output:
        if len(schema.tables) <= ONE_FILE_TABLES:
            return Layout(index=migrations_dir / SINGLE_FILE, data=folder, pages=False)
        return Layout(index=folder / INDEX_FILE, data=folder, pages=True)
    path = root / output
    if path.suffix.lower() == ".md":
        if path.is_dir():
            raise UsageError(f"--output {output}: is a folder; give a file, or a folder of another name")
        data = folder if path.parent.resolve() == migrations_dir.resolve() else path.parent
        return Layout(index=path, data=data, pages=False)
    if path.exists() and not path.is_dir():
        raise UsageError(f"--output {output}: is neither a folder nor a file that ends with .md")
    if path.resolve() == migrations_dir.resolve():
        raise UsageError(
            f"--output {output}: holds migrations, and schema.sql is none; give a file in it, or another folder"
        )
    return Layout(index=path / INDEX_FILE, data=path, pages=True)


def make_files(schema: DocumentedSchema, layout: Layout, *, title: str, migrations_dir: Path) -> dict[Path, str]:
    """The content of every file by its path."""
    slugs = {relation.name: page_slug(relation.name) for relation in schema.relations}

    def page(path: Path) -> Page:
        here = path.parent
        return Page(
            schema=schema,
            to_relation={name: f"{slug}.md" if layout.pages else f"#{slug}" for name, slug in slugs.items()},
            to_file=lambda filename: (
                Path(os.path.relpath(migrations_dir / filename, here)).as_posix().replace(" ", "%20")
            ),
        )

    lines = index_lines(page(layout.index), title)
    made: dict[Path, str] = {}
    for relation in schema.relations:
        slug = slugs[relation.name]
        if layout.pages:
            path = layout.index.with_name(f"{slug}.md")
            own = relation_lines(page(path), relation, heading="#", own_page=True)
            made[path] = _text([MARK, "", *own, "", f"[All tables]({layout.index.name})"])
        else:
            own = relation_lines(page(layout.index), relation, heading="##", own_page=False)
            lines += ["", f'<a id="{slug}"></a>', "", *own]
    return {
        layout.index: _text(lines),
        **made,
        layout.data / "schema.json": tbls_json(schema, title),
        layout.data / "schema.sql": sql_text(schema),
    }


def superfluous_pages(layout: Layout, files: dict[Path, str], *, root: Path, migrations_dir: Path) -> list[Path]:
    """The pages of an earlier run that are not among these `files`: of tables that are gone, or of the other layout.

    Where --output names one page, other pages next to it belong to other runs.
    """
    single, index = migrations_dir / SINGLE_FILE, root / PAGES_FOLDER / INDEX_FILE
    found = {single} if layout.index == index else set()
    if layout.pages or layout.index == single:
        found |= set((layout.index if layout.pages else index).parent.glob("*.md"))
    return sorted(path for path in found - files.keys() if _is_marked(path))


def differences(files: dict[Path, str], superfluous: list[Path], *, root: Path) -> list[str]:
    """The lines of a unified difference between the files that exist and those that should, [] when they agree."""
    lines: list[str] = []
    for path, wanted in sorted({**files, **dict.fromkeys(superfluous, "")}.items()):
        name = os.path.relpath(path, root)
        lines += difflib.unified_diff(
            _read(path).splitlines(),
            wanted.splitlines(),
            f"{name} (as it is)",
            f"{name} (from the schema)",
            lineterm="",
        )
    return lines


def write_files(files: dict[Path, str], superfluous: list[Path]) -> list[Path]:
    """Write what differs, remove superfluous pages, and return the changed paths.

    Raises UsageError, also for a file in the way that is no documentation: nothing is written then.
    """
    changed = []
    for path in files:
        if not _may_be_replaced(path):
            raise UsageError(f"{path}: exists, and inv db.docs did not make it; move it, or give another --output")
    try:
        for path, text in sorted(files.items()):
            if _read(path) != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing_file(path) as file:
                    file.write(text)
                changed.append(path)
        for path in superfluous:
            path.unlink()
            changed.append(path)
    except OSError as error:
        raise UsageError(f"{error.filename or path}: cannot be written ({error.strerror}); see --output") from error
    return changed


def page_slug(name: str) -> str:
    """The name of a page, and of an anchor, for a qualified name of any characters; also on a disk without case."""
    if _PLAIN_NAME.fullmatch(name) and len(name) <= _NAME_LENGTH:
        return name
    readable = re.sub(r"[.-]{2,}", "-", re.sub(r"[^a-z0-9_.]+", "-", name.lower())).strip("-.")[: _NAME_LENGTH // 2]
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read; remove it, or see --output") from error


def _may_be_replaced(path: Path) -> bool:
    """Whether a path is free, or has a file that an earlier run has written."""
    text = _read(path)
    if not text or path.suffix == ".md":
        return not text or text.startswith(MARK)
    return text.startswith((SQL_HEAD, JSON_HEAD))


def _is_marked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.readline().rstrip() == MARK.encode()
    except OSError:
        return False
