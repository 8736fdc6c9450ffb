"""The study of the pen: what it counts, EARL's return by hand, and a short run of the daemon."""

import itertools
import sqlite3

import numpy as np
import pytest

from agent.attempts import AttemptResult
from agent.config import Config, parse_assignment
from agent.daemon import run_daemon
from agent.evaluation import attempts_of
from benchmarks import _daemon, pen
from persistence.records import Outcome
from sim.minitaur import minitaur_spec
from sim.robot import FrameLayout, Frames, Transition
from skills.experience import AttemptArrays
from skills.go_to import GOING, GOING_SKILLS, GoTo

SPEC = minitaur_spec()
LAYOUT = FrameLayout.of(SPEC)
ACTIONS = GOING.action_size(SPEC)
EAST = GoTo("east", (0.4, 0.0))


def frames(*positions, torque=0.0, velocity=0.0):
    out = np.zeros((len(positions), LAYOUT.width), np.float32)
    place = LAYOUT.slices()
    out[:, place["base_position"]] = [(*position, 0.2) for position in positions]
    out[:, place["joint_torque"]], out[:, place["joint_velocity"]] = torque, velocity
    return out


def result(stored, end_reason="there"):
    steps = len(stored) - 1
    arrays = AttemptArrays(
        family="go_to",
        frames=stored,
        stamps_s=0.04 * np.arange(steps + 1),
        actions=np.zeros((steps, ACTIONS), np.float32),
        proposed=np.zeros((steps, ACTIONS), np.float32),
        resting=np.zeros(ACTIONS, np.float32),
        phase_rad=np.zeros(steps + 1, np.float32),
    )
    return AttemptResult(
        outcome=Outcome.SUCCESS,
        end_reason=end_reason,
        arrays=arrays,
        steps=steps,
        return_=0.0,
        mean_reward=0.0,
        measures={},
        reward_terms={},
        interrupt=None,
    )


class TestReturn:
    def test_a_step_by_hand(self):
        before, after = frames((0, 0)), frames((0.1, -0.2), torque=0.5, velocity=-3.0)
        nothing = np.zeros((1, ACTIONS))
        step = Transition(Frames(before, LAYOUT), nothing, nothing, Frames(after, LAYOUT), np.array([0.04]))
        # 8 joints, 1.5 W each, for 0.04 s.
        assert pen.dense_rewards(EAST, step) == pytest.approx([-2 * (0.3 + 0.2) - 0.005 * 8 * 1.5 * 0.04])

    def test_what_is_left_of_a_thousand_steps_is_spent_where_the_attempt_ended(self):
        early = pen.dense_return(EAST, SPEC, result(frames((0, 0), (0.2, 0), (0.35, 0))))
        assert early == pytest.approx(-2 * (0.2 + 999 * 0.05), rel=1e-5)

    def test_steps_beyond_a_thousand_do_not_count(self):
        way = frames(*[(0.0, 0.0)] * 1006)
        assert pen.dense_return(EAST, SPEC, result(way, "time")) == pytest.approx(-2 * 0.4 * 1000)


def test_the_curve_counts_successes_attempts_and_falls_by_span():
    tried = [(1.0, 1, 100, "there"), (4.9, 0, 500, "time"), (5.1, 1, 90, "there"), (10.0, 1, 80, "there")]
    assert pen._curve(tried, [4.0, 9.0, 9.5], 10.0) == [[1, 2, 1], [2, 2, 2]]


def test_a_short_practice_is_judged_and_goes_on_where_it_was(tmp_path, monkeypatch):
    """The daemon runs in this process, for two attempts; what is asked of it is what is left."""
    asked = []

    def run(home, keep, *arguments):
        asked.append(float(arguments[arguments.index("--hours") + 1]))
        pairs = itertools.pairwise(arguments)
        given = dict(parse_assignment(text) for flag, text in pairs if flag == "--set")
        small = {"run.robot": pen.ROBOT, "run.attempts": 2, "learner.hidden": [16], "learner.warmup_steps": 100_000}
        run_daemon(Config.load(None, given | small), home)
        keep.mkdir(exist_ok=True)
        _daemon._copy_policies(home, keep)

    horizons = []

    def short(skill, *arguments, **settings):
        horizons.append(skill.horizon_s)
        skill.horizon_s = 0.4
        return attempts_of(skill, *arguments, **settings)

    monkeypatch.setattr(pen._daemon, "run_and_keep_policies", run)
    monkeypatch.setattr(pen, "attempts_of", short)
    monkeypatch.setattr(pen, "ATTEMPTS", 1)
    monkeypatch.setattr(pen, "GOING_SKILLS", GOING_SKILLS[:2])
    monkeypatch.setattr(GoTo, "horizon_s", 1.0)
    home = tmp_path / "home"
    first = pen.practise(home, 0, 60.0, {})
    assert asked == [1.0]
    assert first["attempts"] == 2
    assert first["steps"] == 50
    assert sum(attempts for _, attempts, _ in first["curve"]) == 2
    assert sum(first["ends"].values()) == 2
    assert set(first["deployed"]["success_by_place"]) == {"go_to_01", "go_to_02"}
    # Nobody has learned anything: the robot stays in the middle, whence 2 (|x| + |y|) is 1.2 and 0.8.
    assert first["deployed_success"] == 0.0
    assert first["deployed_return"] == pytest.approx(-1000.0, rel=0.1)
    assert len(first["deployed_curve"]) == 1
    assert set(horizons) == {40.0}
    second = pen.practise(home, 0, 60.0, {})
    assert 0.95 < asked[1] < 1.0
    assert second["attempts"] == 4
    with sqlite3.connect(home / "perdure.db") as db:
        used = {name for (name,) in db.execute("SELECT DISTINCT skill FROM attempts")}
    assert used <= set(pen.SETTINGS["run.skills"])
