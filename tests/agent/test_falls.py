"""The whole daemon on the real simulator: somebody tips the robot over, and it has to help itself."""

import itertools
import json
import math

import numpy as np
import pytest

from agent import daemon
from agent.brain import Brain
from agent.config import Config
from persistence.episodes import read_episode
from persistence.store import Store
from sim.minitaur import MINITAUR, make_minitaur, minitaur_spec, random_fallen_pose
from sim.robot import Observation
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose

TINY = {
    "learner.hidden": [16],
    "learner.batch": 16,
    "learner.warmup_steps": 100_000,
    "person.enabled": False,
    "run.attempts": 2,
    "run.skills": ["walk_forward", "walk_backward"],
}
ON_ITS_BACK = Pose(orientation_xyzw=(1.0, 0.0, 0.0, 0.0), clearance_m=0.05, settle_s=0.5)


class Tipped(SimulatedRobot):
    """A Minitaur that lies in another pose from one moment on, as after a kick."""

    kick_at_s = 3.0
    pose = ON_ITS_BACK
    kicked = False

    def step(self, dt_s):
        if not self.kicked and self.time_s >= self.kick_at_s:
            self.kicked = True
            self.place(self.pose)
        super().step(dt_s)


@pytest.mark.parametrize("pose", [ON_ITS_BACK, random_fallen_pose(np.random.default_rng(3))], ids=["back", "anyhow"])
def test_it_falls_stands_up_and_goes_on_without_a_person(pose, tmp_path, monkeypatch):
    def load(name, seed, **options):
        robot = Tipped(minitaur_spec(), MINITAUR, seed=seed)
        robot.pose = pose
        return robot

    monkeypatch.setattr(daemon, "load_robot", load)
    assert daemon.run_daemon(Config.load(None, TINY), tmp_path) == 0
    with Store.open(tmp_path / "perdure.db", read_only=True) as store:
        attempts = store.rows("SELECT skill, outcome FROM attempts ORDER BY id")
        recoveries = store.rows("SELECT kind, recovered, tries, ended_s - started_s AS took_s FROM self_recoveries")
        intervals = store.rows("SELECT state FROM state_intervals ORDER BY started_s, id")
        states = [state for state, _ in itertools.groupby(row["state"] for row in intervals)]
        assert store.rows("SELECT * FROM interventions") == []
        runs = store.rows("SELECT started_s, ended_s FROM runs")
        accounted = store.rows("SELECT sum(ended_s - started_s) AS s FROM state_intervals")[0]["s"]
    assert attempts[0]["outcome"] == "fall"
    stand_ups = [row["outcome"] for row in attempts if row["skill"] == "stand_up"]
    assert stand_ups[-1] == "success"
    assert [(row["kind"], row["recovered"]) for row in recoveries] == [("fall", 1)]
    assert recoveries[0]["tries"] == len(stand_ups) <= 3
    assert recoveries[0]["took_s"] < 60.0
    walks = [row for row in attempts if row["skill"].startswith("walk_")]
    assert len(walks) == 2
    assert walks[1]["outcome"] != "fall"
    fall = states.index("FALLING")
    assert states[fall - 1 : fall + 3] == ["ATTEMPT", "FALLING", "RECOVER", "RESET"]
    assert math.isclose(accounted, runs[0]["ended_s"] - runs[0]["started_s"], rel_tol=1e-6)
    assert json.loads((tmp_path / "status.json").read_text())["self_recoveries"] == 1


def test_the_simulator_of_these_tests_is_the_robot_of_the_daemon():
    with make_minitaur(0) as robot:
        assert type(robot) is SimulatedRobot
        assert robot.spec.name == minitaur_spec().name


@pytest.mark.parametrize("catch", [True, False])
def test_leans_that_were_caught_are_in_the_books(catch, tmp_path):
    settings = {"safety.catch": catch, "safety.catch_lean_rad": 0.2}  # rocking as it walks is enough
    assert daemon.run_daemon(Config.load(None, {**TINY, **settings}), tmp_path) == 0
    with Store.open(tmp_path / "perdure.db", read_only=True) as store:
        caught = store.rows("SELECT * FROM self_recoveries WHERE kind = 'caught'")
        walks = {row["id"]: row for row in store.rows("SELECT * FROM attempts")}
    assert bool(caught) is catch
    for row in caught:
        assert row["started_s"] < row["ended_s"]
        assert row["recovered"]
    within = [(row, walks[row["attempt_id"]]) for row in caught if row["attempt_id"] is not None]
    assert bool(within) is catch
    assert all(walk["started_s"] <= row["started_s"] <= walk["ended_s"] for row, walk in within)
    # The learner has to know which steps they were.
    episodes = [read_episode(path) for path in (tmp_path / "episodes").glob("*.safetensors")]
    assert any(episode.caught for episode in episodes) is catch
    falls = json.loads((tmp_path / "status.json").read_text())["falls"]
    assert json.loads((tmp_path / "status.json").read_text())["self_recoveries"] == len(caught) + falls


class Alarm:
    """A fall predictor that foresees one fall, half a second after it was first asked."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []
        self.raised = False

    def alarm(self, observation: Observation) -> bool:
        self.asked_s.append(observation.stamp_s)
        now = not self.raised and observation.stamp_s > self.asked_s[0] + 0.5
        self.raised = self.raised or now
        return now


def test_a_fall_that_is_foreseen_in_an_attempt_is_caught(tmp_path, monkeypatch):
    alarm = Alarm()
    refresh = Brain._refresh

    def refreshed(brain: Brain, skill) -> None:
        refresh(brain, skill)
        brain.fall_predictor = alarm

    monkeypatch.setattr(Brain, "_refresh", refreshed)
    settings = {"safety.catch": True, "safety.catch_lean_rad": 1.4}  # no lean is enough
    assert daemon.run_daemon(Config.load(None, {**TINY, **settings}), tmp_path) == 0
    with Store.open(tmp_path / "perdure.db", read_only=True) as store:
        ((kind, began_s),) = [(row["kind"], row["started_s"]) for row in store.rows("SELECT * FROM self_recoveries")]
        walks = store.rows("SELECT started_s, ended_s FROM attempts WHERE skill LIKE 'walk_%'")
    assert kind == "caught"
    assert began_s == pytest.approx(alarm.asked_s[0] + 0.5, abs=0.1)
    # What is learned from attempts of skills that learn says nothing of other moments.
    assert all(any(row["started_s"] - 0.1 < at_s < row["ended_s"] for row in walks) for at_s in alarm.asked_s)
