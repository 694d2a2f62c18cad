"""A project whose tests use the plugin: two files, and settings with the server of this suite as TEST_DATABASE_URL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kernel.config.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.postgres.cluster import Server


@pytest.fixture
def settings(server: Server, tmp_path: Path) -> Settings:
    """The files differ from those of other tests, so that the first use of a template builds it."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "001_create_users.sql").write_text(f"-- {tmp_path}\nCREATE TABLE users (id int, name text);\n")
    (folder / "002_add_mail.sql").write_text("ALTER TABLE users ADD COLUMN mail text;\n")
    return replace(load_settings(tmp_path, {}), test_database_url=server.url)
