"""Keeps the daemon's books: state intervals, attempts, interventions, all through the store's writer thread.

Nothing here waits for the disk unless it is asked to; what was handed over and not yet written is in order in the
writer's queue. Times are robot times and are handed over as the very floats that the clock gave, so that intervals
join without a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from agent.curriculum import Change, Standing
from persistence.episodes import Episode, write_episode
from persistence.errors import PersistenceError
from persistence.home import Home
from persistence.records import (
    CANNOT_BE_UNDONE,
    CAUGHT,
    FALL,
    AttemptEnd,
    AttemptStart,
    CheckpointRow,
    DriftEvent,
    Evaluation,
    Fault,
    InterruptClass,
    Intervention,
    PolicyRow,
    SelfRecovery,
    StateInterval,
)
from persistence.store import Store, attempt_uid
from persistence.writer import StoreWriter
from skills.experience import AttemptArrays

T = TypeVar("T")
LATCHES = "latches.changed"
"""Kind of the event that holds the newest latches."""
PERMIT = "permit.changed"
CLEARANCE = "policy.examined"
STANDINGS = {
    Standing.WAITING: "skill.waiting",
    Standing.PRACTISING: "skill.practising",
    Standing.MASTERED: "skill.mastered",
    Standing.REGRESSED: "skill.regressed",
}
"""Kinds of the events of tasks that stand elsewhere in the curriculum."""
GOALS = "goals.read"
"""Kind of the event that says which goals and rewards a run goes by: sha256 of their files, by skill."""

_NTH_ATTEMPT = "SELECT id FROM attempts WHERE episode_file IS NOT NULL ORDER BY id LIMIT 1 OFFSET ?"
"""The learner is handed the attempts that have a file, in order."""


@dataclass
class Totals:
    """Counts since the daemon started, for the live view; the store has the lasting ones."""

    attempts: int = 0
    falls: int = 0
    self_recoveries: int = 0


class Ledger:
    """Books of one run."""

    def __init__(
        self, home: Home, writer: StoreWriter, run_id: int, state: str, now_s: float, *, unplanned: bool
    ) -> None:
        """Open the books.

        Args:
            home: where episode files go.
            writer: owner of the store.
            run_id: the run that was started.
            state: operating state at the start.
            now_s: robot time at the start.
            unplanned: whether the run before crashed; boot and self-test then count as unscheduled downtime.
        """
        self.totals = Totals()
        self.on_finished: Callable[[AttemptEnd], None] = lambda end: None
        """Told of each attempt once its end is durable; runs in the writer's thread."""
        self.error: BaseException | None = None
        """The first write that failed; the robot must not go on without its books."""
        self.run_id = run_id
        self._home = home
        self._writer = writer
        self._state = state
        self._since_s = now_s
        self._unplanned = unplanned
        self._attempt_id: int | None = None
        self._pending: list[StateInterval] = []

    # ------------------------------------------------------------------ states

    def enter(self, state: str, now_s: float) -> None:
        """The operating state changed."""
        self._cut(now_s)
        if state == "STANDBY":
            self._unplanned = False
        self._state = state

    def interrupted(self) -> None:
        """A person is needed: what follows until the next passed self-test is unscheduled downtime."""
        self._unplanned = True

    def heartbeat(self, now_s: float) -> None:
        """Say that the daemon lives; after a crash, recorded time reaches to the last heartbeat."""
        run_id, pending = self.run_id, tuple(self._pending)
        current = StateInterval.of(
            self._state, self._since_s, now_s, unplanned=self._unplanned, attempt_id=self._attempt_id
        )
        self._submit(lambda store: store.heartbeat(run_id, now_s, current, pending))

    def end_run(self, now_s: float, reason: str) -> None:
        """Close the books; waits until they are durable."""
        self._cut(now_s)
        rows, run_id = self._take(), self.run_id
        self._writer.submit(lambda store: store.end_run(run_id, now_s, reason, rows)).result()

    def _cut(self, now_s: float) -> None:
        if now_s > self._since_s:
            self._pending.append(
                StateInterval.of(
                    self._state, self._since_s, now_s, unplanned=self._unplanned, attempt_id=self._attempt_id
                )
            )
            self._since_s = now_s

    def _take(self) -> tuple[StateInterval, ...]:
        rows, self._pending = tuple(self._pending), []
        return rows

    # ---------------------------------------------------------------- attempts

    def start_attempt(
        self, skill: str, now_s: float, policy_version: int | None, *, evaluation: bool, could_start: tuple[str, ...]
    ) -> Future[int]:
        """Note that an attempt begins, where ``could_start`` could. The robot may move once the future has its id."""
        self._cut(now_s)
        start = AttemptStart(
            run_id=self.run_id,
            skill=skill,
            started_s=now_s,
            policy_version=policy_version,
            evaluation=evaluation,
            could_start=could_start,
        )
        return self._submit(lambda store: store.start_attempt(start))

    def attempt_started(self, attempt_id: int) -> None:
        """State intervals from now on belong to this attempt."""
        self._attempt_id = attempt_id

    def finish_attempt(
        self,
        end: AttemptEnd,
        skill: str,
        policy_version: int | None,
        arrays: AttemptArrays | None,
        self_recoveries: Sequence[SelfRecovery] = (),
        *,
        evaluation: bool = False,
        known_drift: str = "",
    ) -> Future[Path | None]:
        """Note how an attempt ended; the future has the path of its episode file, if it has one."""
        self._cut(end.ended_s)
        self._attempt_id = None
        rows = self._take()
        self.totals.attempts += 1
        home = self._home

        def write(store: Store) -> Path | None:
            stored, path = end, None
            if arrays is not None:
                file = write_episode(
                    home, _episode(end, skill, policy_version, arrays, evaluation=evaluation, known_drift=known_drift)
                )
                stored = replace(end, episode_file=file.name, episode_sha256=file.sha256)
                path = home.episodes / file.name
            store.finish_attempt(stored, rows, self_recoveries)
            self.on_finished(stored)
            return path

        return self._submit(write)

    def fell(self, recovery: SelfRecovery) -> None:
        """Note a fall, or another mishap, and whether the robot helped itself."""
        self.totals.falls += recovery.kind == FALL
        self.totals.self_recoveries += recovery.recovered
        self._submit(lambda store: store.add_self_recovery(recovery))

    def caught(self, began_s: float, ended_s: float) -> None:
        """Note a fall that was caught, in the attempt that is under way."""
        self.fell(
            SelfRecovery(kind=CAUGHT, started_s=began_s, ended_s=ended_s, recovered=True, attempt_id=self._attempt_id)
        )

    # ----------------------------------------------------------- interventions

    def open_intervention(self, cause: str, now_s: float, *, failure: bool) -> Future[int]:
        """Note that a person has to act."""
        self._cut(now_s)
        self.interrupted()
        e10_class = InterruptClass.FAILURE if failure else InterruptClass.ASSIST
        new = Intervention(cause=cause, e10_class=e10_class, opened_s=now_s)
        rows = self._take()
        return self._submit(lambda store: store.open_intervention(new, rows))

    def close_interventions(self, now_s: float, *, operator: str, note: str) -> None:
        """Note that the person is done with all that was open."""

        def close(store: Store) -> None:
            for item in store.open_interventions():
                store.close_intervention(item.id, now_s, operator=operator, action=note)

        self._submit(close)

    # ------------------------------------------------------------- other facts

    def latches(self, latches: list[dict[str, Any]], now_s: float) -> None:
        """Note what holds the robot, for the next start."""
        self._submit(lambda store: store.append_event(LATCHES, now_s, {"latches": latches}))

    def permit(self, permitted: bool, now_s: float) -> None:
        """Motion is allowed now, or no more."""
        self._submit(lambda store: store.append_event(PERMIT, now_s, {"permitted": permitted}))

    def clearance(self, verdict: Mapping[str, Any], now_s: float) -> None:
        """Note what came of the safety evaluation of a policy version."""
        self._submit(lambda store: store.append_event(CLEARANCE, now_s, dict(verdict)))

    def standing(self, change: Change, now_s: float) -> None:
        """Note that a task stands elsewhere in the curriculum."""
        self._submit(lambda store: store.append_event(STANDINGS[change.after], now_s, asdict(change)))

    def fault(
        self,
        kind: str,
        now_s: float,
        severity: str,
        *,
        injected: bool = False,
        detail: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Note a fault, or something that was done to the robot."""
        row = Fault(
            kind=kind,
            robot_s=now_s,
            severity=severity,
            injected=injected,
            attempt_id=self._attempt_id,
            detail=dict(detail),
        )
        self._submit(lambda store: store.add_fault(row))

    def drift(self, row: DriftEvent) -> None:
        """Note a drift that was detected."""
        self._submit(lambda store: store.add_drift(row))

    def checkpoint(self, row: CheckpointRow, policy: PolicyRow | None) -> None:
        """Note a checkpoint that is on disk, and the policy version in it."""

        def write(store: Store) -> None:
            attempts = policy.attempts if policy is not None else None
            last = store.rows(_NTH_ATTEMPT, (attempts - 1,)) if attempts else []
            store.add_checkpoint(replace(row, replay_attempt_id=last[0]["id"] if last else None))
            # Two checkpoints with no update between them hold the same policy.
            if policy is not None and not store.rows("SELECT 1 FROM policies WHERE version = ?", (policy.version,)):
                store.add_policy(policy)

        self._submit(write)

    def evaluation(self, row: Evaluation) -> None:
        """Note the result of an evaluation."""
        self._submit(lambda store: store.add_evaluation(row))

    def _submit(self, fn: Callable[[Store], T]) -> Future[T]:
        """Hand a write over; one that fails, or finds no room, is remembered in `error`."""
        try:
            future = self._writer.submit(fn)
        except PersistenceError as error:
            future = Future()
            future.set_exception(error)
        future.add_done_callback(self._note_error)
        return future

    def _note_error(self, future: Future[T]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None and self.error is None:
            self.error = error


def _episode(
    end: AttemptEnd,
    skill: str,
    policy_version: int | None,
    arrays: AttemptArrays,
    *,
    evaluation: bool,
    known_drift: str,
) -> Episode:
    """An attempt in the store's words."""
    return Episode(
        uid=attempt_uid(end.attempt_id),
        skill=skill,
        action_space=arrays.family,
        policy_version=str(policy_version),
        frames=arrays.frames,
        stamps=arrays.stamps_s,
        actions=arrays.actions,
        proposed=arrays.proposed,
        resting=arrays.resting,
        phase=arrays.phase_rad,
        terminated=False,
        evaluation=evaluation,
        cut_short=end.end_reason == CANNOT_BE_UNDONE,
        caught=arrays.caught,
        known_drift=known_drift,
    )
