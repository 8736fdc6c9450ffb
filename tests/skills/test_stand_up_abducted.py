import math

import numpy as np
import pytest

from sim.a1 import a1_spec, make_a1
from sim.minitaur import minitaur_spec
from sim.robot import Observation
from sim.state import Pose
from skills.skill import Progress
from skills.stand_up import StandUp, StandUpController
from skills.stand_up_abducted import AbductedStandUp

DT_S = 0.02
SPEC = a1_spec()
HALF = math.sqrt(0.5)
LEVEL, ON_BACK = (0.0, 0.0, 0.0, 1.0), (1.0, 0.0, 0.0, 0.0)
ON_RIGHT, ON_LEFT = (HALF, 0.0, 0.0, HALF), (-HALF, 0.0, 0.0, HALF)


def observation(orientation=LEVEL, joints=None):
    return Observation(
        stamp_s=0.0,
        joint_position=SPEC.stand_position_rad.copy() if joints is None else joints,
        joint_velocity=np.zeros(12),
        joint_torque=np.zeros(12),
        orientation_xyzw=np.array(orientation),
        angular_velocity=np.zeros(3),
        foot_contact=np.ones(4),
        battery_v=24.0,
        motor_temperature_c=np.full(12, 25.0),
        base_position=np.zeros(3),
        base_yaw=0.0,
        base_valid=True,
    )


def controller(start):
    made = StandUp().controller(SPEC, DT_S)
    made.start(start)
    return made


def legs(made, o, seconds):
    """Leg-space targets at the end of some seconds of the same reading."""
    for _ in range(round(seconds / DT_S)):
        command = made.act(o)
    return (np.linalg.inv(SPEC.leg_to_joint) @ (command.target - SPEC.stand_position_rad)).reshape(3, 4)


def recover(pose):
    """One try in simulation. Returns (seconds or None, true state)."""
    with make_a1(0) as robot:
        robot.place(pose)
        o = robot.read()
        made = controller(o)
        for tick in range(1, round(StandUp.horizon_s / DT_S) + 1):
            command = made.act(o)
            command.sequence = tick
            robot.write(command)
            robot.step(DT_S)
            o = robot.read()
            if made.progress(o) is Progress.SUCCEEDED:
                return tick * DT_S, robot.truth()
        return None, robot.truth()


CROUCHED = (0.0, 1.3, -2.6) * 4
APART = (0.7, 3.5, -1.0, -0.7, -0.5, -2.0, 0.3, 2.0, -2.6, -0.3, 0.0, -0.95)


@pytest.mark.parametrize("joints", [None, CROUCHED, APART], ids=["stance", "crouched", "apart"])
@pytest.mark.parametrize(
    "orientation",
    [LEVEL, ON_BACK, ON_RIGHT, ON_LEFT, (0.0, HALF, 0.0, HALF), (0.0, -HALF, 0.0, HALF)],
    ids=["belly", "back", "right side", "left side", "nose", "tail"],
)
def test_stands_up_within_one_try(orientation, joints):
    seconds, truth = recover(Pose(orientation_xyzw=orientation, joint_position=joints, clearance_m=0.02, settle_s=1.0))
    assert seconds is not None
    assert truth.up_z > math.cos(math.radians(15.0))
    assert truth.base_position[2] == pytest.approx(SPEC.stand_height_m, abs=0.04)


def test_the_skill_picks_the_script_by_the_robots_legs():
    assert isinstance(StandUp().controller(SPEC, DT_S), AbductedStandUp)
    assert isinstance(StandUp().controller(minitaur_spec(), DT_S), StandUpController)


def test_on_its_back_it_folds_all_legs_above_it_then_thrusts_with_one_side():
    o = observation(ON_BACK)
    made = controller(o)
    swing, extension, _ = legs(made, o, 0.58)
    assert (swing < -2.8).all()
    np.testing.assert_allclose(extension, extension[0])
    assert extension[0] < -0.4
    _, extension, _ = legs(made, o, 0.1)
    left, right = extension[:2], extension[2:]
    assert abs(left.mean() - right.mean()) > 0.7


@pytest.mark.parametrize(("orientation", "lower"), [(ON_RIGHT, slice(2, 4)), (ON_LEFT, slice(0, 2))])
def test_on_a_side_it_pushes_with_the_legs_of_that_side_towards_the_floor(orientation, lower):
    o = observation(orientation)
    swing, extension, abduction = legs(controller(o), o, 0.7)
    assert (swing[lower] < -2.8).all()
    assert (extension[lower] > 0.2).all()
    # Above the back a positive abduction moves a foot to the right.
    assert (np.sign(abduction[lower]) == (1.0 if lower.start == 2 else -1.0)).all()


def test_two_throws_in_vain_are_followed_by_one_over_the_other_side():
    o = observation(ON_BACK)
    made = controller(o)
    sides = []
    for _ in range(3):
        _, extension, _ = legs(made, o, 0.7)
        sides.append(float(np.sign(extension[0] - extension[2])))
        legs(made, o, 0.4)
    assert sides[0] == sides[1] == -sides[2]


def test_same_observations_give_the_same_commands_and_start_forgets_the_last_try():
    rng = np.random.default_rng(3)
    turns = rng.standard_normal((300, 4))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    stream = [observation(t, rng.uniform(SPEC.position_lower_rad, SPEC.position_upper_rad)) for t in turns]
    made, other = controller(stream[0]), controller(stream[0])
    first = [made.act(o).target for o in stream]
    assert all(np.array_equal(other.act(o).target, target) for o, target in zip(stream, first, strict=True))
    made.start(stream[0])
    assert all(np.array_equal(made.act(o).target, target) for o, target in zip(stream, first, strict=True))


def test_targets_keep_joint_limits():
    rng = np.random.default_rng(4)
    for turn in rng.standard_normal((20, 4)):
        joints = rng.uniform(SPEC.position_lower_rad, SPEC.position_upper_rad)
        o = observation(turn / np.linalg.norm(turn), joints)
        made = controller(o)
        for _ in range(150):
            target = made.act(o).target
            assert (target >= SPEC.position_lower_rad - 1e-9).all()
            assert (target <= SPEC.position_upper_rad + 1e-9).all()
