"""A runner that is interrupted or killed in a statement rolls back, releases its lock, and can run again."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

INT, TERM, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL
SLEEP = "CREATE TABLE two (id int);\nSELECT pg_sleep(30);\n"
STEPS = "-- migrate: no-transaction\n"
WAKE = "CREATE TABLE two (id int);\nSELECT 2;\n"


pytestmark = pytest.mark.timeout(60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("directive", "signals", "code", "word"),
    [
        ("", (INT,), 130, "interrupted"),
        ("", (TERM,), 143, "terminated"),
        ("", (INT, INT, INT, INT), 130, "interrupted"),
        ("", (KILL,), -KILL, None),
        (STEPS, (TERM,), 143, "terminated"),
        (STEPS, (KILL,), -KILL, None),
    ],
    ids=["SIGINT", "SIGTERM", "repeated SIGINT", "SIGKILL", "SIGTERM in steps", "SIGKILL in steps"],
)
def test_a_signal_rolls_back_releases_the_lock_and_the_next_run_continues(
    three: Project, directive: str, signals: tuple[int, ...], code: int, word: str | None
) -> None:
    three.write("002_two.sql", directive + SLEEP)
    runner = three.start("db.migrate", "--json")
    three.until_asleep()
    began = time.monotonic()
    for number in signals:
        runner.send_signal(number)
        time.sleep(0.002)
    result = three.ended(runner)
    assert result.code == code
    if word:
        assert result.error["code"] == word
        assert (
            f"error: {word} while 002_two.sql ran; what had not committed is rolled back; "
            "inv db.status shows what is applied" in result.err
        )
        assert not three.locked()
    three.until_unlocked()
    assert time.monotonic() - began < 2
    assert three.recorded() == ["001"]
    assert ("two" in three.tables()) == bool(directive)

    three.write("002_two.sql", directive + WAKE)
    assert three.call("db.migrate", "--lock-wait", "0").code == 0
    assert three.recorded() == ["001", "002", "003"]


def test_a_signal_during_copy_data_rolls_back(three: Project) -> None:
    slow = """\
CREATE TABLE two (word text);
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON two FOR EACH ROW EXECUTE FUNCTION slow();
COPY two FROM stdin;
"""
    three.write("002_two.sql", slow + ("x" * 1000 + "\n") * 10_000 + "\\.\n")
    runner = three.start("db.migrate")
    three.until_asleep()
    runner.send_signal(TERM)
    assert three.ended(runner).code == 143
    three.until_unlocked()
    assert (three.recorded(), three.tables()) == (["001"], {"one"})


def test_a_runner_that_waits_for_the_lock_can_be_interrupted(three: Project) -> None:
    three.write("002_two.sql", SLEEP)
    first = three.start("db.migrate")
    three.until_asleep()
    second = three.start("db.migrate", "--lock-wait", "-1")
    three.until_waiting(1)
    second.send_signal(INT)
    assert three.ended(second).code == 130
    assert three.locked()
    first.send_signal(TERM)
    assert three.ended(first).code == 143
