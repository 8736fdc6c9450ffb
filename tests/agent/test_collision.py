"""Legs that would hit each other: distances against brute force, and commands that stop short of it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fakes import DT_S, fake_spec, observation
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.collision import LegClearance
from agent.safety import ActionGate
from sim.a1 import a1_spec
from sim.minitaur import minitaur_spec
from sim.robot import Command, CommandMode

A1, MINITAUR = a1_spec(), minitaur_spec()
SPECS = pytest.mark.parametrize("spec", [A1, MINITAUR], ids=["a1", "minitaur"])
CROSSED = {
    # Front legs far back, hind legs far ahead.
    "a1": A1.leg_to_joint @ np.array([-0.8, 0.8, -0.8, 0.8] + [0.0] * 8) + A1.stand_position_rad,
    "minitaur": MINITAUR.leg_to_joint @ np.array([-1.0, 1.0, -1.0, 1.0] + [0.5] * 4) + MINITAUR.stand_position_rad,
}


def sampled_gap_m(spec, joints, n=60):
    """The same distance from points along the lines."""
    lines = spec.leg_lines(joints)
    share = np.linspace(0.0, 1.0, n)[:, None]
    legs = [np.concatenate([a + share * (b - a) for a, b in pairwise(line)]) for line in lines]
    return min(
        np.linalg.norm(legs[i][:, None] - legs[j][None], axis=2).min() for i in range(4) for j in range(i + 1, 4)
    )


@SPECS
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_gap_is_that_of_points_along_the_legs(spec, seed):
    rng = np.random.default_rng(seed)
    joints = rng.uniform(spec.position_lower_rad, spec.position_upper_rad)
    gap_m, sampled_m = LegClearance(spec).gap_m(joints), sampled_gap_m(spec, joints)
    assert gap_m <= sampled_m + 1e-9
    assert gap_m == pytest.approx(sampled_m, abs=0.008)


@SPECS
def test_the_stance_is_clear_and_crossed_legs_are_not(spec):
    legs = LegClearance(spec)
    assert legs.clear(spec.stand_position_rad)
    assert not legs.clear(CROSSED[spec.name])


@SPECS
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_way_from_clear_legs_ends_at_legs_that_are_not(spec, seed):
    rng = np.random.default_rng(seed)
    legs = LegClearance(spec)
    target = rng.uniform(spec.position_lower_rad, spec.position_upper_rad)
    reached = legs.reach(spec.stand_position_rad, target)
    assert legs.clear(reached)
    if legs.clear(target):
        np.testing.assert_array_equal(reached, target)


@SPECS
def test_the_gate_stops_a_command_that_would_cross_the_legs_and_counts_it(spec):
    gate = ActionGate(spec, DT_S)
    reading = replace(observation(), joint_position=spec.stand_position_rad)
    crossed = Command(mode=CommandMode.POSITION, target=CROSSED[spec.name], kp=spec.kp, kd=spec.kd)
    sent = [gate.filter(crossed, reading).target for _ in range(50)]
    legs = LegClearance(spec)
    assert all(legs.clear(target) for target in sent)
    assert legs.gap_m(sent[-1]) < spec.leg_clearance_m + 0.05  # as far as it may, not merely refused
    assert gate.limited == 50


@SPECS
def test_legs_that_are_crossed_already_may_come_apart(spec):
    gate = ActionGate(spec, DT_S)
    reading = replace(observation(), joint_position=CROSSED[spec.name])
    apart = Command(mode=CommandMode.POSITION, target=spec.stand_position_rad, kp=spec.kp, kd=spec.kd)
    for _ in range(50):
        sent = gate.filter(apart, reading).target
    np.testing.assert_allclose(sent, spec.stand_position_rad)


def test_a_robot_that_does_not_know_its_legs_is_left_alone():
    with pytest.raises(ValueError, match="leg_lines"):
        LegClearance(fake_spec())
    gate = ActionGate(fake_spec(), DT_S)
    target = fake_spec().stand_position_rad
    gate.filter(Command(mode=CommandMode.POSITION, target=target, kp=1.0, kd=0.1), observation())
    assert gate.limited == 0
