"""The pytest plugin: the fixtures, and the report of the databases that failed tests leave.

pytest imports this module in every run where the project is installed, also in projects that do not use it. So it
imports nothing but pytest before a test needs it, and is no part of the package `kernel`: a project with a package of
that name would get this one in its place. docs/testing.md describes the fixtures.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import psycopg

    from kernel.config.settings import Settings
    from kernel.testing.databases import TestDatabase, TestDatabases


class _DatabasesOfTest:
    """The databases that one test uses, in the order of their creation; `failed` is set by the report of the test."""

    def __init__(self, databases: TestDatabases, test: str) -> None:
        self.databases = databases
        self.test = test
        self.used: list[TestDatabase] = []
        self.failed = False

    def clone(self, version: str | None = None) -> TestDatabase:
        self.used.append(self.databases.clone(version))
        return self.used[-1]

    def migrate(self, version: str) -> None:
        """Apply files to the latest database. Raises UsageError without one, and what db.migrate raises."""
        if not self.used:
            from kernel.errors import UsageError  # noqa: PLC0415 - only when a test needs it

            raise UsageError(f'migrate_to("{version}"): the test has no database yet; call schema_at() before')
        self.databases.migrate(self.used[-1], version)

    def finish(self) -> None:
        """Drop the databases or, when the test failed, keep them."""
        for database in self.used:
            if self.failed:
                self.databases.keep(database, self.test)
            else:
                self.databases.drop(database)


ValueT = TypeVar("ValueT")

_DATABASES = pytest.StashKey[_DatabasesOfTest]()


@pytest.fixture(scope="session")
def kernel_settings(pytestconfig: pytest.Config) -> Settings:
    """The settings of the project in pytest's root directory. A project can override it, to use other files."""
    from kernel.config.settings import load_settings  # noqa: PLC0415 - only when a test needs it

    return _call_or_fail(lambda: load_settings(pytestconfig.rootpath, os.environ))


@pytest.fixture(scope="session")
def _kernel_databases(kernel_settings: Settings) -> Iterator[TestDatabases]:
    """The databases of this process; the first test that needs one connects to the server."""
    from kernel.testing.databases import open_test_databases  # noqa: PLC0415 - likewise

    with ExitStack() as stack:
        yield _call_or_fail(lambda: stack.enter_context(open_test_databases(kernel_settings)))


@pytest.fixture
def _databases_of_test(request: pytest.FixtureRequest, _kernel_databases: TestDatabases) -> Iterator[_DatabasesOfTest]:
    own = _DatabasesOfTest(_kernel_databases, request.node.nodeid)
    request.node.stash[_DATABASES] = own
    _kernel_databases.drop_kept(own.test)
    yield own
    own.finish()


@pytest.fixture
def migrated_database(_databases_of_test: _DatabasesOfTest) -> str:
    """The URL of a database of this test alone, with all migrations applied."""
    return _call_or_fail(_databases_of_test.clone).url


@pytest.fixture
def migrated_connection(migrated_database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of psycopg to `migrated_database`, closed after the test."""
    import psycopg  # noqa: PLC0415 - likewise

    with psycopg.connect(migrated_database) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def schema_at(_databases_of_test: _DatabasesOfTest) -> Callable[[str], str]:
    """Return a function: `schema_at("011")` is the URL of a new database with the files up to 011 applied."""

    def make_database(version: str) -> str:
        __tracebackhide__ = True
        return _call_for_test(lambda: _databases_of_test.clone(version)).url

    return make_database


@pytest.fixture
def migrate_to(_databases_of_test: _DatabasesOfTest) -> Callable[[str], None]:
    """Return a function: `migrate_to("012")` applies the files up to 012 to the latest database of the test."""

    def apply_files(version: str) -> None:
        __tracebackhide__ = True
        _call_for_test(lambda: _databases_of_test.migrate(version))

    return apply_files


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Note that a test failed, and add the URLs of its databases to the report, which xdist passes on."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    own = item.stash.get(_DATABASES, None)
    if own is not None and own.used and report.failed:
        own.failed = True
        lines = [*(database.shown_url for database in own.used), "kept until this test runs again, or five others fail"]
        report.sections.append(("database of the failed test", "\n".join(lines)))


def _call_or_fail(function: Callable[[], ValueT]) -> ValueT:
    """Fail with the text of a KernelError alone: its traceback is that of a fixture, of no use to the reader."""
    from kernel.errors import KernelError  # noqa: PLC0415 - likewise

    try:
        return function()
    except KernelError as error:
        from kernel.report.errors import error_text  # noqa: PLC0415 - likewise

        text = error_text(error)
    pytest.fail(text, pytrace=False)  # not in the handler, which would add the traceback


def _call_for_test(function: Callable[[], ValueT]) -> ValueT:
    """Raise a KernelError without the frames of this package, and with the place of a failed statement."""
    from kernel.errors import KernelError, MigrationFailed  # noqa: PLC0415 - likewise

    __tracebackhide__ = True
    try:
        return function()
    except KernelError as error:
        failure = error
    if isinstance(failure, MigrationFailed) and not hasattr(failure, "__notes__"):
        from kernel.report.errors import error_text  # noqa: PLC0415 - likewise

        failure.add_note(error_text(failure))
    raise failure.with_traceback(None) from None
