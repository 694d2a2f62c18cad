"""db.verify --schema and db.migrate --check-schema: exit codes, formats and flags."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

pytestmark = pytest.mark.slow


def test_a_change_by_hand_is_named_in_every_format_and_stops_a_migration_that_asks(three: Project) -> None:
    assert three.call("db.migrate", "--to", "2").code == 0
    equal = three.call("db.verify", "--schema")
    assert (equal.code, equal.err) == (0, "")
    three.connection.execute("ALTER TABLE one ADD COLUMN by_hand int")
    three.connection.execute("GRANT SELECT ON two TO pg_monitor")
    found = three.call("db.verify", "--schema")
    assert found.code == 4
    assert "by_hand" in found.out
    assert "pg_monitor" not in found.out
    granted = three.call("db.verify", "--schema", "--privileges")
    assert granted.code == 4
    assert "pg_monitor" in granted.out
    documents = {name: three.call("db.verify", "--schema", "--format", name) for name in ("json", "sarif", "gitlab")}
    assert {one.code for one in documents.values()} == {4}
    assert all("by_hand" in json.dumps(json.loads(one.out)) for one in documents.values())
    assert "by" in three.call("db.verify", "--schema", "--format", "markdown").out
    stopped = three.call("db.migrate", "--check-schema", "--json")
    assert stopped.error["exit"] == 4
    assert three.recorded() == ["001", "002"]
    declared = three.call("db.migrate", "--check-schema", KERNEL_IGNORE_DRIFT="public.one.by_*")
    assert declared.code == 0
    assert three.recorded() == ["001", "002", "003"]


def test_a_migration_that_asks_shows_the_first_differences_and_where_all_of_them_are(three: Project) -> None:
    assert three.call("db.migrate", "--to", "2").code == 0
    for number in range(30):
        three.connection.execute(
            f"CREATE FUNCTION by_hand_{number}() RETURNS text LANGUAGE sql AS $$ SELECT '{'x' * 5000}' $$"
        )
    stopped = three.call("db.migrate", "--check-schema")
    assert stopped.code == 4
    lines = stopped.err.splitlines()
    assert len(lines) == 11
    assert max(map(len, lines)) < 400
    assert lines[-1].strip() == "20 further differences; all, with the SQL that takes them back: inv db.verify --schema"
    assert three.call("db.verify", "--schema").out.count("DROP FUNCTION") == 30


VIEW = "CREATE OR REPLACE VIEW numbers AS SELECT 1 AS one;\n"
NEXT_VIEW = "CREATE OR REPLACE VIEW numbers AS SELECT 1 AS one, 2 AS two;\n"


def test_a_repeatable_file_that_waits_to_be_applied_again_is_no_difference(three: Project) -> None:
    (three.migrations / "repeatable").mkdir()
    three.write("repeatable/numbers.sql", VIEW)
    assert three.call("db.migrate").code == 0
    three.write("repeatable/numbers.sql", NEXT_VIEW)
    three.write("repeatable/letters.sql", "CREATE OR REPLACE VIEW letters AS SELECT 'a' AS a;\n")
    verified = three.call("db.verify", "--schema")
    assert (verified.code, "numbers" in verified.out) == (0, True)
    assert "repeatable/numbers.sql: git does not have the content that was applied" in verified.out
    assert three.call("db.migrate", "--check-schema").code == 0
    assert three.call("db.verify", "--schema").code == 0
    three.rows("CREATE OR REPLACE VIEW letters AS SELECT 'b' AS a")
    changed = three.call("db.verify", "--schema")
    assert (changed.code, "public.letters: definition is " in changed.out) == (4, True)


def test_the_applied_content_of_a_repeatable_file_is_compared_where_git_has_it(three: Project) -> None:
    (three.migrations / "repeatable").mkdir()
    three.write("repeatable/numbers.sql", VIEW)
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "x")):
        subprocess.run(("git", *command), cwd=three.root, check=True)
    assert three.call("db.migrate").code == 0
    three.write("repeatable/numbers.sql", NEXT_VIEW)
    assert "not built" not in three.call("db.verify", "--schema").out
    three.rows("CREATE OR REPLACE VIEW numbers AS SELECT 3 AS one")
    stopped = three.call("db.migrate", "--check-schema")
    assert (stopped.code, "public.numbers: definition is " in stopped.err) == (4, True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--schema", "--offline"), "--schema needs a database, which --offline rules out"),
        (("--privileges",), "--privileges is about what --schema compares"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(three: Project, flags: tuple[str, ...], message: str) -> None:
    refused = three.call("db.verify", *flags)
    assert refused.code == 2
    assert message in refused.err
