"""The controller of learned skills: rates, low-pass filter, bad proposals; and what the plain gait does."""

import math

import numpy as np
import pytest
from readings import DT_S, N_ACTIONS, SPEC, reading

from sim.minitaur import make_minitaur
from sim.robot import CommandMode
from skills.decisions import DecisionController
from skills.gait import GAIT
from skills.skill import Progress
from skills.trajectory_generator import TrajectoryGenerator
from skills.walk import WALKING_SKILLS

N = N_ACTIONS


def controller(decide, resting=None, decimation=2):
    resting = np.zeros(N) if resting is None else resting
    actuator = GAIT.actuator(SPEC, DT_S)
    out = DecisionController(GAIT, actuator, decide, resting, decimation=decimation)
    out.start(reading())
    return out


@pytest.mark.parametrize("decimation", [1, 2, 4])
def test_the_policy_decides_once_per_decimation(decimation):
    asked = []

    def decide(observation, phase_rad, last):
        asked.append((phase_rad, last.copy()))
        return np.zeros(N)

    c = controller(decide, decimation=decimation)
    decided = []
    for _ in range(8):
        c.act(reading())
        decided.append(c.decision is not None)
    assert decided == [i % decimation == 0 for i in range(8)]
    assert len(asked) == 8 // decimation


def test_the_filter_moves_by_its_share_towards_each_proposal():
    c = controller(lambda observation, phase, last: np.ones(N), resting=np.full(N, 0.5), decimation=1)
    k = GAIT.smoothing
    c.act(reading())
    assert c.decision.sent == pytest.approx(np.full(N, 0.5 + k * 0.5))
    c.act(reading())
    assert c.decision.sent == pytest.approx(np.full(N, 1 - 0.5 * (1 - k) ** 2))
    assert c.decision.sent.dtype == np.float32


def test_the_policy_is_told_the_phase_of_the_decision_and_the_last_sent_action():
    seen = []

    def decide(observation, phase_rad, last):
        seen.append((phase_rad, last))
        return np.full(N, 0.3)

    c = controller(decide, resting=np.full(N, 0.1))
    decisions = []
    for _ in range(6):
        c.act(reading())
        if c.decision:
            decisions.append(c.decision)
    assert [phase for phase, _ in seen] == [d.phase_rad for d in decisions]
    assert seen[0][1] == pytest.approx(np.full(N, 0.1))
    assert np.array_equal(seen[1][1], decisions[0].sent)
    assert np.array_equal(seen[2][1], decisions[1].sent)


def test_a_proposal_that_is_not_finite_keeps_the_last_action_and_is_recorded_as_asked():
    proposals = [np.full(N, 0.4), np.full(N, np.nan), np.full(N, np.inf), np.full(N, 9.0)]
    given = iter(proposals)
    c = controller(lambda observation, phase, last: next(given), resting=np.full(N, 0.4), decimation=1)
    for _ in range(3):
        command = c.act(reading())
        assert np.isfinite(command.target).all()
        assert c.decision.sent == pytest.approx(np.full(N, 0.4))
    assert np.isinf(c.decision.proposed).all()
    c.act(reading())
    assert np.all(c.decision.sent <= 1.0)


def test_commands_are_the_generators_targets_with_the_robots_gains():
    a = np.linspace(-0.5, 0.5, N)
    c = controller(lambda observation, phase, last: a, resting=a)
    twin = TrajectoryGenerator(SPEC, DT_S)
    for _ in range(5):
        command = c.act(reading())
        assert command.target == pytest.approx(twin.step(a.astype(np.float32)), abs=1e-6)
        assert (command.mode, command.kp, command.kd) == (CommandMode.POSITION, SPEC.kp, SPEC.kd)
        assert c.phase_rad == pytest.approx(twin.phase_rad, abs=1e-5)


def test_a_new_attempt_begins_as_the_first_did():
    c = controller(lambda observation, phase, last: np.full(N, 0.7))
    first = [c.act(reading()).target for _ in range(5)]
    c.start(reading())
    assert c.decision is None
    assert np.array_equal(first, [c.act(reading()).target for _ in range(5)])
    assert c.progress(reading()) is Progress.RUNNING


@pytest.mark.parametrize("skill", WALKING_SKILLS, ids=lambda skill: skill.name)
def test_the_plain_generator_moves_the_way_the_skill_is_named(skill):
    prior = skill.prior_action(SPEC)
    c = controller(lambda observation, phase, last: prior, resting=prior)
    with make_minitaur(0) as robot:
        c.start(robot.read())
        turned, yaw = 0.0, 0.0
        for tick in range(100):
            command = c.act(robot.read())
            command.sequence = tick
            robot.write(command)
            robot.step(DT_S)
            now = robot.truth()
            turned += math.remainder(now.yaw_rad - yaw, math.tau)
            yaw = now.yaw_rad
        x, y, _ = now.base_position
    forward, turn = skill.command
    assert now.up_z > 0.95
    if turn:
        assert turn * turned > 0.4, "at least 0.2 rad/s"
        assert math.hypot(x, y) < 0.2
    else:
        assert forward * x > 0.4, "at least 0.2 m/s"
        assert abs(y) < 0.15
        assert abs(turned) < 0.15
