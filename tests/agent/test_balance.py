"""Catching a fall: when a lean counts, when it is over, where the legs go, and what the pilot makes of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeRobot, fake_spec, observation
from pilot_world import World

from agent.balance import (
    CROUCH_RAD,
    HOLD_S,
    LET_GO,
    LONGEST_S,
    RISE_S,
    SPLAY_RAD,
    SPREAD_CROUCH_RAD,
    SPREAD_RAD,
    Balance,
    crouch,
)
from agent.config import Config, SafetyConfig
from sim.a1 import a1_spec, make_a1
from sim.minitaur import make_minitaur, minitaur_spec
from sim.minitaur_trotting import minitaur_trotting_spec
from sim.robot import Command, CommandMode, FrameLayout, Frames
from sim.state import Pose
from skills.gait import GAIT
from skills.lean import LOOKAHEAD_S, MAX_RATE_RADPS, lean_rad

BEGIN_RAD = 0.5


def leaning(tilt_rad, rate_radps=(0.0, 0.0, 0.0), stamp_s=0.0):
    return replace(observation(stamp_s, tilt_rad=tilt_rad), angular_velocity=np.array(rate_radps))


def lean(reading):
    return float(lean_rad(reading.up, reading.angular_velocity))


class TestLean:
    @pytest.mark.parametrize("tilt", [0.4, -0.4])
    def test_it_is_the_tilt_of_a_moment_later(self, tilt):
        assert lean(leaning(tilt)) == pytest.approx(0.4)
        outward = math.copysign(2.0, tilt)
        assert lean(leaning(tilt, (outward, 0.0, 0.0))) == pytest.approx(0.4 + 2.0 * LOOKAHEAD_S)
        assert lean(leaning(tilt, (-outward, 0.0, 0.0))) == pytest.approx(0.4)

    def test_a_turn_on_the_spot_is_none_and_a_knock_counts_within_bounds(self):
        assert lean(leaning(0.3, (0.0, 0.0, 5.0))) == pytest.approx(0.3)
        assert lean(leaning(0.3, (100.0, 0.0, 0.0))) == pytest.approx(0.3 + MAX_RATE_RADPS * LOOKAHEAD_S)

    def test_feature_rows_tell_the_same(self):
        spec, reading = fake_spec(), leaning(0.5, (2.0, -1.0, 0.3))
        layout = FrameLayout(spec.n_joints, spec.n_feet)
        frames = Frames(layout.pack(reading)[None], layout)
        rows = GAIT.features(spec, frames, np.zeros(1), np.zeros((1, GAIT.action_size(spec))))
        assert GAIT.lean_rad(rows) == pytest.approx([lean(reading)], abs=1e-5)


class TestBalance:
    def test_a_catch_lasts_until_the_lean_is_a_good_deal_less_and_the_robot_has_risen(self):
        spec = fake_spec()
        balance, low = Balance(spec, BEGIN_RAD), crouch(spec)
        up_s = 0.2 + HOLD_S
        readings = [
            (0.0, 0.9 * BEGIN_RAD, None),
            (0.1, 1.1 * BEGIN_RAD, 0.0),
            (0.2, 0.0, 0.0),  # not long enough yet
            (0.15 + HOLD_S, 1.01 * LET_GO * BEGIN_RAD, 0.0),
            (up_s, 0.9 * LET_GO * BEGIN_RAD, 0.0),
            (up_s + 0.5 * RISE_S, 0.9 * BEGIN_RAD, 0.5),
            (up_s + 1.01 * RISE_S, 0.0, None),
            (up_s + 1.1 * RISE_S, 0.9 * BEGIN_RAD, None),
        ]
        for stamp_s, tilt_rad, risen in readings:
            command = balance.command(leaning(tilt_rad, stamp_s=stamp_s))
            assert balance.since_s == (None if risen is None else 0.1)
            if risen is None:
                assert command is None
            else:
                assert command.target == pytest.approx(low + risen * (spec.stand_position_rad - low))

    def test_a_robot_that_leans_again_as_it_rises_crouches_again(self):
        balance, low = Balance(fake_spec(), BEGIN_RAD), crouch(fake_spec())
        for stamp_s, tilt_rad in ((0.0, 0.6), (HOLD_S, 0.0), (HOLD_S + 0.1, 0.6), (HOLD_S + 0.2, 0.0)):
            command = balance.command(leaning(tilt_rad, stamp_s=stamp_s))
        assert command.target == pytest.approx(low)
        assert balance.since_s == 0.0

    def test_a_fall_that_is_foreseen_is_caught_as_one_that_is_there(self):
        balance, low = Balance(fake_spec(), BEGIN_RAD), crouch(fake_spec())
        assert balance.command(leaning(0.1), lambda: False) is None
        assert balance.command(leaning(0.1, stamp_s=0.1), lambda: True).target == pytest.approx(low)
        assert balance.since_s == 0.1
        # A crouch looks like nothing that falls are foreseen from: nobody is asked until it is over.
        for stamp_s in np.arange(0.2, 0.1 + HOLD_S + 1.01 * RISE_S, 0.05):
            balance.command(leaning(0.1, stamp_s=stamp_s), lambda: pytest.fail("asked while crouching"))
        balance.command(leaning(0.1, stamp_s=0.3 + HOLD_S + RISE_S))
        assert balance.since_s is None
        assert Balance(fake_spec(), None).command(leaning(0.1), lambda: True) is None

    def test_reset_forgets_it(self):
        balance = Balance(fake_spec(), BEGIN_RAD)
        assert balance.command(leaning(0.6)) is not None
        balance.reset()
        assert balance.command(leaning(0.45)) is None

    def test_without_a_limit_or_legs_it_never_takes_over(self):
        no_legs = replace(fake_spec(), leg_to_joint=None)
        for balance in (Balance(fake_spec(), None), Balance(no_legs, BEGIN_RAD)):
            assert balance.command(leaning(1.5)) is None

    @pytest.mark.parametrize(
        ("safety", "tilt_rad", "caught"),
        [
            (SafetyConfig(catch=True), 0.55, True),
            (SafetyConfig(catch=True, catch_lean_rad=0.6), 0.55, False),
            (SafetyConfig(catch=False), 1.5, False),
        ],
        ids=["the robot's own", "a setting", "off"],
    )
    def test_the_limit_is_the_robots_own_unless_a_setting_says_otherwise(self, safety, tilt_rad, caught):
        balance = Balance.configured(a1_spec(), Config(safety=safety).safety)
        reading = leaning(tilt_rad)
        assert (balance.command(reading) is not None) is caught

    def test_a_robot_that_does_not_rise_from_a_crouch_is_left_alone(self):
        balance = Balance.configured(minitaur_trotting_spec(), SafetyConfig())
        assert balance.command(leaning(1.5, (8.0, 0.0, 0.0))) is None

    @pytest.mark.parametrize("spec", [a1_spec(), minitaur_spec()], ids=["a1", "minitaur"])
    def test_the_crouch_keeps_joint_limits_and_is_low_and_wide(self, spec):
        target = crouch(spec)
        assert (target >= spec.position_lower_rad).all()
        assert (target <= spec.position_upper_rad).all()
        legs = np.linalg.inv(spec.leg_to_joint) @ (target - spec.stand_position_rad)
        if spec.leg_dofs == 3:
            assert legs[4:8] == pytest.approx(np.full(4, -SPREAD_CROUCH_RAD), abs=0.1)  # as far as the joints go
            assert legs[8:] == pytest.approx(SPREAD_RAD * np.array([1.0, 1.0, -1.0, -1.0]))
        else:
            assert legs[:4] == pytest.approx(SPLAY_RAD * np.array([1.0, -1.0, 1.0, -1.0]))
            assert legs[4:] == pytest.approx(np.full(4, -CROUCH_RAD))


class TestPilot:
    def run_leaning(self, root, from_s, to_s, tilt_rad):
        world = World(root, catch_lean_rad=BEGIN_RAD)

        def script(robot: FakeRobot) -> None:
            robot.tilt_rad = tilt_rad if from_s <= robot.time_s < to_s else 0.0

        world.robot.rights_itself = False
        world.run(script)
        return world

    def test_a_caught_fall_is_in_the_books_and_the_run_goes_on(self, tmp_path):
        world = self.run_leaning(tmp_path, 2.0, 2.3, 0.6)
        ((kind, recovered, began_s, ended_s),) = world.rows(
            "SELECT kind, recovered, started_s, ended_s FROM self_recoveries"
        )
        assert (kind, recovered) == ("caught", 1)
        assert began_s == pytest.approx(2.0, abs=0.05)
        assert ended_s - began_s == pytest.approx(HOLD_S + RISE_S, abs=0.1)
        assert world.rows("SELECT 1 FROM attempts WHERE outcome = 'fall'") == []
        crouches = [c for c in world.robot.commands if np.allclose(c.target, crouch(world.robot.spec), atol=0.2)]
        assert crouches

    def test_a_robot_that_goes_on_leaning_has_to_stand_up_as_from_a_fall(self, tmp_path):
        world = self.run_leaning(tmp_path, 1.5, 1.5 + LONGEST_S + 0.5, 0.6)
        assert world.rows("SELECT kind FROM self_recoveries") == [("fall",)]
        assert world.in_order("FALLING", "RECOVER")

    def test_one_that_falls_after_all_was_not_caught(self, tmp_path):
        world = self.run_leaning(tmp_path, 2.0, 4.0, 1.2)
        assert world.rows("SELECT kind FROM self_recoveries") == [("fall",)]


@pytest.mark.parametrize("make", [make_minitaur, make_a1], ids=["minitaur", "a1"])
def test_a_standing_robot_that_is_made_to_crouch_lies_low_and_stands_up_again(make):
    with make(0) as robot:
        spec, balance = robot.spec, Balance(robot.spec, BEGIN_RAD)
        robot.place(Pose.standing())
        sequence, heights, said = 0, [], False

        def foreseen():
            nonlocal said
            first, said = not said, True
            return first

        while robot.time_s < HOLD_S + RISE_S + 1.5:
            command = balance.command(robot.read(), foreseen)
            stance = Command(mode=CommandMode.POSITION, target=spec.stand_position_rad, kp=spec.kp, kd=spec.kd)
            sequence += 1
            robot.write(replace(command or stance, sequence=sequence))
            robot.step(0.02)
            heights.append(float(robot.truth().base_position[2]))
        assert min(heights) < 0.6 * spec.stand_height_m
        assert heights[-1] == pytest.approx(spec.stand_height_m, abs=0.03)
        assert robot.truth().up_z > 0.98
        assert balance.since_s is None
