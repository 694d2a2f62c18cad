"""db.preflight and db.migrate --when-calm: exit codes, text and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

pytestmark = pytest.mark.slow


def test_who_is_in_the_way_is_named_until_the_session_has_ended(three: Project) -> None:
    three.connection.execute("CREATE TABLE shared (id int)")
    three.connection.commit()
    assert three.inv("db.baseline", "--to", "0").code == 0
    three.write("004_shared.sql", "ALTER TABLE shared ADD COLUMN name text;")
    with psycopg.connect(three.url) as holder:
        holder.execute("SELECT FROM shared")
        blocked = three.inv("db.preflight", "--json")
        (obstacle,) = blocked.document["obstacles"]
        assert (blocked.code, obstacle["pid"], obstacle["file"], obstacle["line"]) == (
            8,
            holder.info.backend_pid,
            "004_shared.sql",
            1,
        )
        busy = three.inv("db.migrate", "--when-calm", "100ms")
        assert busy.code == 5
        assert f"pg_terminate_backend({holder.info.backend_pid})" in busy.err
    assert three.recorded() == []
    calm = three.inv("db.preflight")
    assert (calm.code, calm.out.rpartition(": ")[2]) == (0, "nothing blocks it now\n")
    assert three.inv("db.migrate", "--when-calm", "1min").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("db.migrate", "--when-calm", "2x"), "--when-calm 2x: expected a duration"),
        (("db.preflight", "--rehearsal", "tasks.py"), "--rehearsal tasks.py: not a result of a rehearsal"),
        (("db.preflight", "--rehearsal", "nowhere.json"), "--rehearsal nowhere.json: cannot be read"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(three: Project, arguments: tuple[str, ...], message: str) -> None:
    refused = three.inv(*arguments)
    assert refused.code == 2
    assert message in refused.err
