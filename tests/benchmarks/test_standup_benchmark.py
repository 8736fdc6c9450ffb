"""The stand-up benchmark: how a leg comes to be caught under the body, and tries that end as they do in the daemon."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import benchmarks
from agent.robots import load_robot
from benchmarks import standup

MODULES = sorted(path.stem for path in Path(benchmarks.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_every_benchmark_can_be_started(module):
    importlib.import_module(f"benchmarks.{module}")


def test_a_leg_is_caught_under_a_level_body_which_gets_up():
    with load_robot("minitaur", 0) as robot:
        sequence = standup.catch_leg(robot, robot.dynamics, np.random.default_rng(0), 0)
        spec = robot.spec
        legs = np.linalg.inv(spec.leg_to_joint) @ (robot.truth().joint_position - spec.stand_position_rad)
        assert legs[spec.n_feet :].max() > standup.CAUGHT_RAD > spec.leg_upper_rad[spec.n_feet]
        assert sum(share < 1.0 for share in robot.dynamics.motor_strength) == 2
        assert standup.recover(robot, sequence)[0] > 0


def test_a_motor_that_stays_at_its_limit_ends_a_try(monkeypatch):
    with load_robot("minitaur", 0) as robot:
        robot.place(robot.random_fallen_pose(np.random.default_rng(0)))
        monkeypatch.setattr("agent.safety.SaturationMonitor.update", lambda self, observation: True)
        tried, seconds, *_, sequence = standup.recover(robot, 0)
        assert tried == 0
        assert seconds == pytest.approx(standup.TRIES * (standup.DT_S + standup.RELAX_S))
        monkeypatch.undo()
        assert standup.recover(robot, sequence)[0] == 1
