"""The workers of a Dask cluster. A task is one target: its name, the files with their digest, and the options.

No URL and no password is in a task: the worker finds the URL in its own environment, or runs the command. What a task
says and returns is packed, so that neither logs nor the dashboard show it, and unpacked only by the same version of us.
The scheduler gives the task of a lost worker to another one, which harms nothing: a claimed file does not run again.
Sources: Dask documentation, "Futures", "Resilience"; distributed is imported only when --cluster is given.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
import threading
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernel.errors import ClusterFailed, UsageError
from kernel.fleet.addresses import Addresses
from kernel.fleet.catalogs import read_catalogs
from kernel.fleet.servers import probe_target
from kernel.fleet.work import Work, files_digest, migrate_target, read_targets, verification_names
from kernel.migrations.migration import require_migrations
from kernel.migrations.repeatable_names import discover_repeatable
from kernel.migrations.replaced import REPLACED_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor, Future

    from kernel.fleet.catalogs import Catalogs
    from kernel.fleet.outcome import TargetOutcome, TargetStatus
    from kernel.fleet.servers import Probe
    from kernel.fleet.target import Target
    from kernel.fleet.work import WorkOptions
    from kernel.migrations.migration import Migration

_MOST_FILE_BYTES = 8 << 20  # compressed; every task has them
_CONNECT_SECONDS = 10
_PACKAGE = "aibos-kernel-migrations"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBundle:
    """The migration files as they travel: `content` is compressed, by path below the directory; `digest` is theirs."""

    digest: str
    content: bytes


def bundle_files(migrations: Sequence[Migration]) -> FileBundle:
    """Read the files for the workers, with those in verify/ and those that squash files replace.

    Raises UsageError for too many bytes.
    """
    files = {name: (migrations[0].directory / name).read_bytes() for name in verification_names(migrations)}
    for migration in (*migrations, *discover_repeatable(migrations[0].directory)):
        files[migration.filename] = migration.path.read_bytes()
        replaced = Path(REPLACED_FOLDER) / migration.filename.removesuffix(".sql")
        if migration.replaces and (migration.directory / replaced).is_dir():
            for path in sorted((migration.directory / replaced).glob("*.sql")):
                files[str(replaced / path.name)] = path.read_bytes()
    content = zlib.compress(pickle.dumps(files))
    if len(content) > _MOST_FILE_BYTES:
        raise UsageError(
            f"--cluster: the files have {len(content) >> 20} MB compressed, and every task carries them; "
            "migrate without a cluster, in parts: --part 1/4"
        )
    return FileBundle(digest=files_digest(migrations), content=content)


@cache
def own_version() -> str:
    """The version of this project, with a digest of its code: a worker must have the same."""
    code = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for path in sorted(root.rglob("*.py")):
        code.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    try:
        number = version(_PACKAGE)
    except PackageNotFoundError:
        number = "0"
    return f"{number}+{code.hexdigest()[:16]}"


_works: dict[tuple[str, WorkOptions], Work] = {}
_works_lock = threading.Lock()
_folders: list[tempfile.TemporaryDirectory[str]] = []  # until the worker ends


def _work_for(bundle: FileBundle, options: WorkOptions) -> Work:
    """The files and options of a run on this worker; the files are written once."""
    with _works_lock:
        if (work := _works.get((bundle.digest, options))) is None:
            folder = tempfile.TemporaryDirectory(prefix="fleet-")
            _folders.append(folder)
            for name, content in pickle.loads(zlib.decompress(bundle.content)).items():  # noqa: S301 - the cluster's own
                path = Path(folder.name) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            migrations = require_migrations(Path(folder.name))
            if files_digest(migrations) != bundle.digest:
                raise ClusterFailed("the files that came with the task are not those of its digest; run again")
            work = Work(migrations=migrations, addresses=Addresses(os.environ), options=options)
            _works[bundle.digest, options] = work
        return work


def run_task(sender: str, packed: bytes, bundle: FileBundle) -> bytes:
    """Do a task on a worker; returns the packed result, or the version of a worker that refuses. Raises nothing."""
    if sender != own_version():
        return pickle.dumps(_Refused(own_version()))
    try:
        kind, subject, timeout_seconds, options = pickle.loads(packed)  # noqa: S301 - of the same version, over the cluster
        work = _work_for(bundle, options)
        match kind:
            case "probe":
                return pickle.dumps(probe_target(subject, work.addresses))
            case "read":
                return pickle.dumps(read_targets(subject, work))
            case "catalogs":
                return pickle.dumps(read_catalogs(subject, work))
            case _:
                return pickle.dumps(migrate_target(subject, timeout_seconds, work))
    except Exception as error:  # noqa: BLE001 - Dask would log it with the arguments
        return pickle.dumps(_Refused(type(error).__name__))


@dataclass(frozen=True, slots=True)
class _Refused:
    reason: str


class ClusterWorkers:
    """The workers of a cluster, reached through its scheduler. A run that has begun on a worker is not cancelled."""

    def __init__(self, executor: Executor, bundle: FileBundle, options: WorkOptions) -> None:
        self._executor, self._bundle, self._options = executor, bundle, options

    def probe(self, target: Target) -> Future[Probe]:
        return self._submit("probe", target)

    def read(self, targets: Sequence[Target]) -> Future[tuple[TargetStatus, ...]]:
        return self._submit("read", tuple(targets))

    def read_catalogs(self, targets: Sequence[Target]) -> Future[Catalogs]:
        return self._submit("catalogs", tuple(targets))

    def migrate(self, target: Target, timeout_seconds: float | None) -> Future[TargetOutcome]:
        return self._submit("migrate", target, timeout_seconds)

    def end_wave(self) -> None:
        """Nothing: a worker keeps no session, since it does not know the sessions of the others."""

    def stop(self) -> None:
        """Nothing: tasks that have begun finish."""

    def _submit(self, kind: str, subject: object, timeout_seconds: float | None = None) -> Future[Any]:
        from concurrent.futures import Future  # noqa: PLC0415 - the value, where only its name is needed elsewhere

        packed = pickle.dumps((kind, subject, timeout_seconds, self._options))
        result: Future[Any] = Future()

        def unpack(done: Future[bytes]) -> None:
            try:
                value = pickle.loads(done.result())  # noqa: S301 - of a worker of the same version
                if isinstance(value, _Refused):
                    raise ClusterFailed(f"a worker has another version or failed: {value.reason}")  # noqa: TRY301
            except BaseException as error:  # noqa: BLE001 - the one who waits for the result raises it
                result.set_exception(error)
            else:
                result.set_result(value)

        self._executor.submit(run_task, own_version(), packed, self._bundle).add_done_callback(unpack)
        return result


@contextmanager
def open_cluster(address: str, migrations: Sequence[Migration], options: WorkOptions) -> Iterator[ClusterWorkers]:
    """Connect to the scheduler of a cluster. Raises ClusterFailed, also for workers of another version of this project.

    TLS is as Dask's own configuration says.
    """
    try:
        from distributed import Client  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise UsageError("--cluster: needs the package distributed: pip install '.[fleet]'") from error
    bundle = bundle_files(migrations)
    try:
        client: Any = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise ClusterFailed(f"{address}: no scheduler answers ({type(error).__name__}); check its address") from error
    with client:
        refuse_other_versions(address, client.run(own_version, on_error="return"))
        yield ClusterWorkers(client.get_executor(pure=False), bundle, options)


def refuse_other_versions(address: str, versions: dict[str, object]) -> None:
    """Raise ClusterFailed without workers, or with one whose code is not the same as here."""
    if not versions:
        raise ClusterFailed(f"{address}: the cluster has no workers; start some: dask worker {address}")
    if others := [worker for worker, found in versions.items() if found != own_version()]:
        more = f" and {len(others) - 1} more" if others[1:] else ""
        raise ClusterFailed(
            f"{address}: worker {others[0]}{more} has another version of this project, or none; "
            f"install {own_version()} there, with its Python files, and restart it"
        )
