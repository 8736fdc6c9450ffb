"""The published points by hand, for lying, standing and walking robots."""

import math

import numpy as np
import pytest

from agent.opening import abilities_of
from sim.a1 import a1_spec
from sim.minitaur import minitaur_spec
from sim.robot import FrameLayout, Frames, Transition
from skills.experience import cost_names
from skills.registry import get
from skills.rise_and_walk import SCALE, RiseAndWalk

SKILL = RiseAndWalk()
SPEC = a1_spec()
LAYOUT = FrameLayout.of(SPEC)
STANDING = np.tile((0.0, 0.866, -1.6285), 4)
"""Joint angles that the published reward calls standing, to a mrad."""
DT_S = 0.05


def frame(joints=STANDING, *, roll=0.0, pitch=0.0, at=(0.0, 0.0, 0.3), seen=True):
    out, place = np.zeros(LAYOUT.width), LAYOUT.slices()
    out[place["joint_position"]] = joints
    cr, sr, cp, sp = math.cos(roll / 2), math.sin(roll / 2), math.cos(pitch / 2), math.sin(pitch / 2)
    out[place["orientation_xyzw"]] = (sr * cp, cr * sp, -sr * sp, cr * cp)
    out[place["base_position"]] = at
    out[place["base_valid"]] = seen
    return out


def step(before, after):
    """One step between two frames."""
    action = np.zeros((1, 12))
    return Transition(Frames(before[None], LAYOUT), action, action, Frames(after[None], LAYOUT), np.array([DT_S]))


def points(joints=STANDING, velocity=(0.0, 0.0, 0.0), *, seen=True, **tilt):
    after = tuple(DT_S * v + p for v, p in zip(velocity, (0.0, 0.0, 0.3), strict=True))
    return SKILL.measures(step(frame(joints, **tilt), frame(joints, at=after, seen=seen, **tilt)))["points"]


class TestPosture:
    def test_lying_on_the_back_gives_five_points_and_standing_nine(self):
        assert points(roll=math.pi) == pytest.approx(5.0)
        assert points() == pytest.approx(9.0, abs=0.01)

    def test_a_tilted_robot_has_its_upright_points_alone_until_the_gate(self):
        # 70 degrees: (1 + cos 70) / 2 = 0.671; 60 degrees: 0.75, and all that standing gives beside it.
        assert points(roll=math.radians(70.0)) == pytest.approx(5.671, abs=0.001)
        assert points(roll=math.radians(60.0)) == pytest.approx(8.75, abs=0.01)

    def test_each_joint_counts_once_the_one_above_is_right(self):
        # Abductions at their limit: scaled 1 of 1, so the hip part is 0 and nothing else counts.
        assert points(np.tile((0.8029, 0.866, -1.6285), 4)) == pytest.approx(6.0, abs=0.01)
        # Hips at 3.66537, the end of the used range: |1 + 0.2| / 1.2 = 1: shoulder part 0, and no knee.
        assert points(np.tile((0.0, 3.66537, -1.6285), 4)) == pytest.approx(7.0, abs=0.01)
        # Knees folded to the limit: |-1 - 1| / 2 = 1.
        assert points(np.tile((0.0, 0.866, -2.6965), 4)) == pytest.approx(8.0, abs=0.01)
        # One knee in four folded: a quarter less.
        one = STANDING.copy()
        one[2] = -2.6965
        assert points(one) == pytest.approx(8.75, abs=0.01)

    def test_the_robots_own_stance_is_nearly_the_published_one(self):
        # Hip 0.8: scaled -0.228, 0.023 off; knees at -1.6 beyond the used range count as standing.
        assert points(SPEC.stand_position_rad) == pytest.approx(9.0 - 0.0234, abs=0.002)


class TestVelocity:
    @pytest.mark.parametrize(
        ("velocity", "wanted"),
        [
            ((0.3, 0.0, 0.0), 14.0),
            ((0.9, 0.0, 0.0), 14.0),
            ((0.15, 0.0, 0.0), 11.5),
            ((-0.3, 0.0, 0.0), 9.0),
            ((0.0, 0.3, 0.0), 9.0),
            # As fast to the side as ahead: 1 / sqrt(2) of the full points.
            ((0.3, 0.3, 0.0), 9.0 + 5.0 / math.sqrt(2.0)),
            # The vertical part counts into |v|: 0.3 / 0.5.
            ((0.3, 0.0, 0.4), 12.0),
        ],
    )
    def test_walking_ahead_earns_by_speed_and_by_the_share_of_the_motion(self, velocity, wanted):
        assert points(velocity=velocity) == pytest.approx(wanted, abs=0.01)

    def test_a_pitched_robot_has_a_shorter_heading(self):
        # 30 degrees: heading 0.866 long; v.h / 0.3 = 0.866 and v.h / |v| = 0.866; upright 0.933.
        assert points(velocity=(0.3, 0.0, 0.0), pitch=math.radians(30.0)) == pytest.approx(8.933 + 3.75, abs=0.01)

    def test_sliding_on_its_back_earns_nothing(self):
        assert points(velocity=(0.3, 0.0, 0.0), roll=math.pi) == pytest.approx(5.0)

    def test_a_blind_tracker_gives_no_velocity_and_is_not_trusted(self):
        assert points(velocity=(0.3, 0.0, 0.4), seen=False) == pytest.approx(9.0, abs=0.01)
        assert not SKILL.trusted(step(frame(), frame(seen=False)))[0]


class TestSkill:
    def test_the_reward_is_the_points_above_the_least_scaled(self):
        steps = step(frame(), frame(at=(0.3 * DT_S, 0.0, 0.3)))
        np.testing.assert_allclose(SKILL.reward(steps), SCALE * 9.0, atol=0.002)
        assert set(SKILL.reward_terms(steps)) == {"upright", "hip", "shoulder", "knee", "velocity"}

    def test_nothing_ends_it_and_nothing_costs(self):
        assert not SKILL.terminated(step(frame(roll=math.pi), frame(roll=math.pi)))[0]
        assert cost_names(SPEC, SKILL) == ()
        assert SKILL.horizon_s == pytest.approx(250 * DT_S)

    def test_success_is_eleven_points_per_step(self):
        assert not SKILL.success(step(frame(), frame()))
        assert SKILL.success(step(frame(), frame(at=(0.2 * DT_S, 0.0, 0.3))))

    def test_it_runs_only_where_it_is_named_and_only_on_its_robot(self):
        assert get("rise_and_walk").on_request
        assert [skill.name for skill in abilities_of(("rise_and_walk",), SPEC).tasks] == ["rise_and_walk"]
        assert "rise_and_walk" not in [skill.name for skill in abilities_of((), SPEC).tasks]
        with pytest.raises(ValueError, match="written for the joints of 'a1'"):
            abilities_of(("rise_and_walk",), minitaur_spec())
