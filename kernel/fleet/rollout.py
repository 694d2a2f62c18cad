"""fleet.migrate: the waves one after another, each with its limits, and the rules that stop a rollout."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Protocol

from kernel.errors import ClusterFailed, KernelError
from kernel.fleet.dispatch import Dispatch, Limits
from kernel.fleet.outcome import GOOD_STATES, TargetError, TargetOutcome, TargetState, describe_error
from kernel.fleet.target import ASK
from kernel.fleet.workers import finished
from kernel.units import format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from kernel.fleet.journal import Journal
    from kernel.fleet.survey import Survey
    from kernel.fleet.target import Target, Wave
    from kernel.fleet.workers import Workers

_SLOW_FACTOR = 5  # of the median
_SLOW_SECONDS = 5.0  # what is faster is no matter
_ENOUGH_TARGETS = 5  # for a median
_HOLD_TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveProgress:
    """How far a wave is. `seconds_left` is an estimate, None as long as there is none."""

    wave: str
    total: int
    done: int
    failed: int
    running: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        return (self.total - self.done) / self.per_second if self.done else None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveResult:
    """What became of a wave. `stopped` is why targets did not begin, "" when all did; `allowed` may fail."""

    wave: str
    outcomes: tuple[TargetOutcome, ...]
    allowed: int
    seconds: float = 0.0
    stopped: str = ""

    @property
    def failed(self) -> int:
        return sum(outcome.state not in GOOD_STATES for outcome in self.outcomes)

    @property
    def has_applied(self) -> bool:
        """Whether a file was applied in a target, which may have failed at a later one."""
        return any(one.applied and one.state is not TargetState.PENDING for one in self.outcomes)  # a dry run's


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutReport:
    """A rollout that has ended: its waves, the `digest` of the files, the server of each target by name."""

    run: str
    journal: Path | None
    inventory: str
    digest: str
    total_files: int
    last_version: str
    dry_run: bool
    waves: tuple[WaveResult, ...]
    servers: Mapping[str, str]
    seconds: float

    @property
    def outcomes(self) -> tuple[TargetOutcome, ...]:
        return tuple(outcome for wave in self.waves for outcome in wave.outcomes)


class RolloutObserver(Protocol):
    """What is called during a rollout while it goes on, in the thread that runs it."""

    def wave_began(self, wave: str, targets: int) -> None: ...

    def target_ended(self, target: Target, outcome: TargetOutcome) -> None: ...

    def target_is_slow(self, target: Target, seconds: float, usual_seconds: float) -> None: ...

    def progressed(self, progress: WaveProgress) -> None: ...

    def wave_ended(self, result: WaveResult) -> None: ...

    def holding(self, wave: str, seconds_left: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A run over waves. `ask` says whether to go on after a wave; `check_lock` raises when the lock is lost."""

    survey: Survey
    workers: Workers
    journal: Journal
    observer: RolloutObserver
    ask: Callable[[str], bool]
    check_lock: Callable[[], None] = lambda: None

    def run(self, waves: Sequence[tuple[Wave, Sequence[Target]]]) -> tuple[WaveResult, ...]:
        """Migrate the targets of the waves, which have their servers. On a signal the runs end, and it is raised."""
        results: list[WaveResult] = []
        reason = ""
        for at, (wave, targets) in enumerate(waves):
            allowed = wave.max_failures.allowed(len(targets))
            if reason or not targets:
                outcomes = tuple(map(_not_started, targets))
                results.append(WaveResult(wave=wave.name, outcomes=outcomes, allowed=allowed, stopped=reason))
                continue
            self.check_lock()
            result = _WaveRun(self, wave, targets, allowed).run()
            results.append(result)
            self.observer.wave_ended(result)
            reason = result.stopped
            if not reason and result.has_applied and any(rest for _, rest in waves[at + 1 :]):
                reason = self._hold(wave)
        return tuple(results)

    def _hold(self, wave: Wave) -> str:
        """Wait after a wave in which something was applied; returns why the rollout ends here, "" to go on."""
        if wave.hold_seconds == ASK:
            again = "to go on, run inv fleet.migrate again"
            return "" if self.ask(wave.name) else f"held after wave {wave.name}; {again}"
        end = time.monotonic() + wave.hold_seconds
        while (left := end - time.monotonic()) > 0:
            self.observer.holding(wave.name, left)
            time.sleep(min(left, _HOLD_TICK_SECONDS))
        return ""


def _not_started(target: Target) -> TargetOutcome:
    return TargetOutcome(name=target.name, state=TargetState.NOT_STARTED)


class _WaveRun:
    """A wave while it runs."""

    def __init__(self, rollout: Rollout, wave: Wave, targets: Sequence[Target], allowed: int) -> None:
        self._rollout, self._wave, self._targets, self._allowed = rollout, wave, targets, allowed
        self._observer, self._journal = rollout.observer, rollout.journal
        self._outcomes: dict[str, TargetOutcome] = {}
        self._failed = 0
        self._began = time.monotonic()
        self._running: dict[str, tuple[Target, float]] = {}
        self._durations: list[float] = []
        self._slow: set[str] = set()
        self._dispatch: Dispatch[Target, TargetOutcome] = Dispatch(
            self._submit,
            targets,
            server_of=lambda target: target.server,
            limits=Limits(at_a_time=wave.at_a_time, per_server=wave.per_server),
            started=self._begin,
            tick=self._tick,
        )

    def run(self) -> WaveResult:
        self._journal.write("wave", wave=self._wave.name, targets=len(self._targets))
        self._observer.wave_began(self._wave.name, len(self._targets))
        try:
            self._collect()
        except BaseException:
            self._dispatch.stop()
            self._rollout.workers.stop()
            self._collect()
            raise
        finally:
            self._journal.sync()
            self._rollout.workers.end_wave()
        stopped = ""
        if self._failed > self._allowed:
            failed = f"{self._failed} of {format_quantity(len(self._targets), 'target')} failed"
            stopped = f"wave {self._wave.name}: {failed}, and {self._allowed} may"
        return WaveResult(
            wave=self._wave.name,
            outcomes=tuple(self._outcomes.get(one.name) or _not_started(one) for one in self._targets),
            allowed=self._allowed,
            seconds=time.monotonic() - self._began,
            stopped=stopped,
        )

    def _submit(self, target: Target) -> Future[TargetOutcome]:
        if error := self._rollout.survey.error_of(target):
            return finished(TargetOutcome(name=target.name, state=TargetState.UNREACHABLE, error=error))
        return self._rollout.workers.migrate(target, self._wave.timeout_seconds)

    def _begin(self, target: Target) -> None:
        self._running[target.name] = target, time.monotonic()
        self._journal.write("started", target=target.name)

    def _collect(self) -> None:
        """Take the outcomes as they come, and stop after too many failures."""
        for target, future in self._dispatch.results():
            outcome = _outcome_of(target, future)
            _, began = self._running.pop(target.name)
            self._durations.append(time.monotonic() - began)
            self._outcomes[target.name] = outcome
            self._failed += outcome.state not in GOOD_STATES
            error = {key: value for key, value in asdict(outcome.error).items() if value} if outcome.error else None
            self._journal.write(
                "ended",
                target=target.name,
                state=str(outcome.state),
                **{"from": outcome.from_version or None},
                to=outcome.to_version or None,
                seconds=round(outcome.seconds, 3),
                error=error,
            )
            if not self._dispatch.others_ended():
                self._journal.sync()
            self._observer.target_ended(target, outcome)
            if self._failed > self._allowed:
                self._dispatch.stop()
            self._tick()

    def _tick(self) -> None:
        self._observer.progressed(
            WaveProgress(
                wave=self._wave.name,
                total=len(self._targets),
                done=len(self._outcomes),
                failed=self._failed,
                running=len(self._running),
                seconds=time.monotonic() - self._began,
            )
        )
        if len(self._durations) < _ENOUGH_TARGETS or len(self._running) == len(self._slow):
            return
        now, usual = time.monotonic(), median(self._durations)
        for name, (target, began) in self._running.items():
            if name not in self._slow and now - began > max(_SLOW_SECONDS, _SLOW_FACTOR * usual):
                self._slow.add(name)
                self._observer.target_is_slow(target, now - began, usual)


def _outcome_of(target: Target, future: Future[TargetOutcome]) -> TargetOutcome:
    """The outcome of a target; that of one whose worker was lost says so, and nothing of what is applied."""
    try:
        return future.result()
    except KernelError as error:
        failed = describe_error(error)
    except (Exception, CancelledError) as error:  # noqa: BLE001 - what a scheduler says of a worker that is gone
        reason = f"its worker was lost ({type(error).__name__}), which may still run; run again"
        failed = TargetError(code=ClusterFailed.code, exit=ClusterFailed.exit, message=reason)
    return TargetOutcome(name=target.name, state=TargetState.UNREACHABLE, error=failed)


def describe_progress(progress: WaveProgress) -> str:
    """How far a wave is, on one line."""
    failed = f", {progress.failed} failed" if progress.failed else ""
    left = f", about {format_seconds(progress.seconds_left)} left" if progress.seconds_left else ""
    return (
        f"{progress.wave}: {progress.done} of {progress.total} done{failed}, {progress.running} running, "
        f"{progress.per_second:.1f} a second{left}"
    )
