"""The box of a hand: no command leads out of it, and the way along its edge and back into it stays open."""

import numpy as np
import pytest
from fakes import fake_spec

from agent.hand_box import TOLERANCE_M, HandBox
from agent.safety import ActionGate
from sim.kuka import kuka_spec, make_kuka
from sim.robot import Command, CommandMode
from skills.arm_kinematics import hand_pose, pointing_down, step_towards

SPEC = kuka_spec()
BOX = HandBox(SPEC)
HOME = SPEC.stand_position_rad
DT_S = 0.02
FREE = np.full(SPEC.n_joints, np.inf)
"""Joints that may move as far as they like."""


def at(place, yaw=0.0):
    """Joint positions with the hand at a place."""
    joints = HOME[:-1]
    for _ in range(200):
        joints = step_towards(
            SPEC.arm,
            joints,
            np.array(place),
            pointing_down(yaw),
            posture_rad=HOME[:-1],
            most_rad=np.full(7, 0.05),
        )
    return np.append(joints, 0.1)


@pytest.mark.parametrize(
    ("place", "beyond_m"), [((0.55, 0.0, 0.15), 0.0), ((0.45, 0.22, 0.15), 0.02), ((0.5, 0.0, 0.01), 0.03)]
)
def test_how_far_outside_a_hand_is(place, beyond_m):
    assert BOX.beyond_m(at(place)) == pytest.approx(beyond_m, abs=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_no_command_leads_the_hand_out(seed):
    """Joints that are told to go anywhere, through the gate, for four seconds each."""
    rng, gate = np.random.default_rng(seed), ActionGate(SPEC, DT_S)
    with make_kuka(0) as arm:
        reading = arm.read()
    before = reading.joint_position
    for _ in range(5):
        wanted = rng.uniform(SPEC.position_lower_rad, SPEC.position_upper_rad)
        for _ in range(200):
            sent = gate.filter(Command(mode=CommandMode.POSITION, target=wanted, kp=0.3, kd=1.0), reading)
            assert BOX.beyond_m(sent.target) <= TOLERANCE_M + 1e-9
            assert (np.abs(sent.target - before) <= SPEC.velocity_limit_radps * DT_S + 1e-9).all()
            before = sent.target
    assert gate.limited > 100


def test_the_hand_slides_along_an_edge_on_its_way():
    start, end = at((0.45, 0.17, 0.05)), at((0.65, 0.24, 0.05))
    reached = start
    for _ in range(300):
        reached = BOX.nearest(reached, reached + np.clip(end - reached, -0.01, 0.01), FREE)
    x, y, _ = hand_pose(SPEC.arm, reached[:-1]).position_m
    assert y == pytest.approx(SPEC.arm.box_upper_m[1] + TOLERANCE_M, abs=2e-3)
    assert x > 0.6


def test_a_hand_that_was_pushed_out_comes_back_but_goes_no_further():
    out, further, back = at((0.5, 0.22, 0.15)), at((0.5, 0.24, 0.15)), at((0.5, 0.21, 0.15))
    np.testing.assert_array_equal(BOX.nearest(out, back, FREE), back)
    assert BOX.beyond_m(BOX.nearest(out, further, FREE)) <= BOX.beyond_m(out) + 1e-6


def test_inside_nothing_is_changed():
    near = at((0.55, 0.05, 0.15))
    np.testing.assert_array_equal(BOX.nearest(HOME, near, FREE), near)


def test_a_robot_without_an_arm_has_none():
    with pytest.raises(ValueError, match="has no arm"):
        HandBox(fake_spec())
