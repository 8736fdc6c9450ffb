"""When a robot is pushed: a function of seed and robot time, whatever runs lie between."""

import math
from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeRobot

from agent.pushes import HOUR_S, Pushes


class Robot:
    def __init__(self):
        self.spec = replace(FakeRobot().spec, mass_kg=10.0)
        self.pushes = []

    def push(self, impulse_ns):
        self.pushes.append(impulse_ns)


def pushed(begin_s, end_s, per_h=60.0, seed=1, step_s=1.0, most_mps=0.5):
    """Times and impulses of the pushes between two robot times."""
    robot, times = Robot(), []
    pushes = Pushes(robot, per_h, most_mps, seed, begin_s, times.append)
    for now_s in np.arange(begin_s, end_s, step_s):
        pushes.look(float(now_s))
    return list(zip(times, robot.pushes, strict=True))


def test_they_come_as_often_as_they_are_to_and_no_harder():
    found = pushed(0.0, 50 * HOUR_S, step_s=10.0)
    assert len(found) == pytest.approx(3000, abs=4 * math.sqrt(3000))
    speeds = np.array([math.hypot(*impulse) for _, impulse in found]) / Robot().spec.mass_kg
    assert 0.49 < speeds.max() <= 0.5
    assert speeds.mean() == pytest.approx(0.25, abs=0.02)
    sides = np.array([math.atan2(y, x) for _, (x, y) in found])
    assert abs(np.exp(1j * sides).mean()) < 0.1


def test_a_run_that_goes_on_meets_the_pushes_that_were_to_come():
    whole = pushed(0.0, 3 * HOUR_S)
    first, rest = pushed(0.0, 5000.0), pushed(5000.0, 3 * HOUR_S)
    assert first + rest == whole
    assert pushed(0.0, HOUR_S, seed=2) != whole[: len(pushed(0.0, HOUR_S))]


def test_without_pushes_any_robot_will_do_and_with_them_only_one_that_can_be_pushed():
    Pushes(object(), 0.0, 0.5, 0, 0.0).look(1e9)
    with pytest.raises(ValueError, match="cannot be pushed"):
        Pushes(object(), 1.0, 0.5, 0, 0.0)
