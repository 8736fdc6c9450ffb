"""Builders shared by the tests of this room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from persistence.home import Home
from persistence.records import (
    AttemptEnd,
    AttemptStart,
    InterruptClass,
    Intervention,
    Outcome,
    RunStart,
    SelfRecovery,
    SkillKind,
    SkillRow,
    StateInterval,
)
from persistence.store import Store


class Life:
    """A robot's life, told to a store in the order in which it happens."""

    def __init__(self, store: Store, robot: str = "minitaur") -> None:
        self.store = store
        self.now_s = store.recover().robot_time_s
        self.run_id = store.start_run(RunStart(robot=robot, started_s=self.now_s, seed=0))
        if not store.rows("SELECT 1 FROM skills"):
            store.register_skill(SkillRow(name="walk", kind=SkillKind.TASK))
            store.register_skill(SkillRow(name="stand_up", kind=SkillKind.RECOVERY))

    def interval(self, state: str, seconds: float, attempt_id: int | None = None) -> StateInterval:
        start_s, self.now_s = self.now_s, self.now_s + seconds
        return StateInterval.of(state, start_s, self.now_s, attempt_id=attempt_id)

    def spend(self, state: str, seconds: float) -> None:
        self.store.record_intervals(self.run_id, [self.interval(state, seconds)])

    def attempt(
        self, seconds: float = 10.0, outcome: Outcome = Outcome.SUCCESS, skill: str = "walk", fall: bool | None = None
    ) -> int:
        attempt_id = self.start(skill)
        row = self.interval("ATTEMPT", seconds, attempt_id)
        falls = []
        if fall is not None:
            falls.append(
                SelfRecovery(
                    kind="fall", started_s=row.started_s, ended_s=row.ended_s, recovered=fall, attempt_id=attempt_id
                )
            )
        self.finish(attempt_id, [row], outcome, falls)
        return attempt_id

    def start(self, skill: str = "walk") -> int:
        return self.store.start_attempt(AttemptStart(run_id=self.run_id, skill=skill, started_s=self.now_s))

    def finish(
        self,
        attempt_id: int,
        rows: list[StateInterval],
        outcome: Outcome = Outcome.SUCCESS,
        falls: list[SelfRecovery] | None = None,
    ) -> None:
        end = AttemptEnd(
            attempt_id=attempt_id,
            ended_s=self.now_s,
            outcome=outcome,
            steps=250,
            return_=1.5,
            measures={"speed_mps": 0.4},
        )
        self.store.finish_attempt(end, rows, falls or [])

    def heartbeat(self, state: str, seconds: float, attempt_id: int | None = None) -> None:
        """Let time pass in a state that goes on."""
        row = StateInterval.of(state, self.now_s, self.now_s, attempt_id=attempt_id)
        self.store.heartbeat(self.run_id, self.now_s + seconds, row)

    def ask_for_help(self, cause: str = "stuck", kind: InterruptClass = InterruptClass.FAILURE) -> int:
        return self.store.open_intervention(Intervention(cause=cause, e10_class=kind, opened_s=self.now_s))

    def help_comes_after(self, seconds: float, cause: str = "stuck", kind: str = "failure") -> int:
        intervention_id = self.ask_for_help(cause, InterruptClass(kind))
        self.spend("NEED_HUMAN", seconds)
        self.store.close_intervention(intervention_id, self.now_s, operator="ann", action="put back")
        return intervention_id

    def end(self) -> None:
        self.store.end_run(self.run_id, self.now_s)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    with Store.open(home.db) as opened:
        yield opened


@pytest.fixture
def life(store: Store) -> Life:
    return Life(store)


@pytest.fixture
def new_life() -> type[Life]:
    return Life
