"""What sensors say of one another: nothing where they agree, and nothing where they usually differ by as much."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from meta.sensor_checks import CHECKS, MOST, MOST_RADPS, sensor_checks, unusual, usual_checks
from sim.minitaur import minitaur_spec
from sim.robot import FrameLayout, Frames

SPEC = minitaur_spec()
COUNT = 20
RIPPLE = 3


def frames(count=COUNT):
    layout = FrameLayout.of(SPEC)
    return Frames(np.zeros((count, layout.width), np.float32), layout)


class TestGyroscope:
    def turning(self, rate_radps, bias_radps=0.0, seed=0):
        """Checks of a body that turns at a constant rate about its own axes, and how it turned."""
        seen, rate = frames(), np.asarray(rate_radps)
        attitude = Rotation.random(rng=np.random.default_rng(seed))
        for number in range(COUNT):
            quaternion = (attitude * Rotation.from_rotvec(number / SPEC.policy_rate_hz * rate)).as_quat()
            seen.orientation_xyzw[number] = quaternion * (-1) ** number  # either sign is the same attitude
        seen.angular_velocity[:] = rate + bias_radps
        return sensor_checks(SPEC, seen)

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("rate_radps", [(0.0, 0.0, 0.0), (2.0, -1.0, 0.5), (0.0, 0.0, 4.0)])
    def test_one_that_is_right_agrees_with_the_orientation(self, rate_radps, seed):
        checks, turned = self.turning(rate_radps, seed=seed)
        np.testing.assert_allclose(checks, 0.0, atol=0.02)
        both = (*rate_radps, *np.abs(rate_radps))
        np.testing.assert_allclose(turned, np.tile(both, (COUNT - 1, 1)), atol=0.02)

    def test_one_that_is_off_differs_by_that_about_its_axis(self):
        checks, _ = self.turning((2.0, -1.0, 0.5), (0.0, 0.3, 0.0))
        assert checks.shape == (COUNT - 1, CHECKS)
        np.testing.assert_allclose(checks, np.tile((0.0, 0.3, 0.0, 0.0), (COUNT - 1, 1)), atol=0.01)

    def test_one_broken_reading_counts_no_more_than_so_much(self):
        checks, _ = self.turning((0.0, 0.0, 0.0), (50.0, 0.0, 0.0))
        assert np.abs(checks).max() == MOST[0]
        _, turned = self.turning((40.0, 0.0, 0.0))
        assert np.abs(turned).max() == MOST_RADPS


class TestBattery:
    def ripple(self, volts):
        seen = frames(len(volts))
        seen.orientation_xyzw[:, 3] = 1.0
        seen.battery_v[:] = volts
        return sensor_checks(SPEC, seen)[0][:, RIPPLE]

    def test_its_ripple_is_what_changes_either_way_and_not_the_level(self):
        np.testing.assert_allclose(self.ripple([16.0, 15.5, 15.75]), (0.5, 0.25), atol=1e-5)
        np.testing.assert_allclose(self.ripple([14.0, 13.5, 13.75]), (0.5, 0.25), atol=1e-5)

    def test_one_broken_reading_counts_no_more_than_so_much(self):
        assert self.ripple([16.0, -3000.0])[0] == MOST[RIPPLE]

    def test_a_robot_that_does_not_measure_it_has_none(self):
        assert not self.ripple([0.0, 0.0, 0.0]).any()


class TestUsual:
    """A gyroscope that is mounted askew, and off by a little, on a robot that turns to either side."""

    ASKEW = 0.03
    LEVEL = 0.01

    def part(self, rng, yaw_radps, steps=200, noise=0.4):
        turned = rng.normal((0.0, 0.0, yaw_radps), 1e-3, (steps, 3))
        checks = np.zeros((steps, CHECKS))
        checks[:, 0] = self.ASKEW * turned[:, 2] + self.LEVEL + rng.normal(0.0, noise, steps)
        checks[:, RIPPLE] = 0.4 + 0.1 * abs(yaw_radps)
        return checks, np.concatenate((turned, np.abs(turned)), axis=1), np.ones(steps, bool)

    def calm(self, rates=(3.0, -3.0, 0.0), seed=0):
        rng = np.random.default_rng(seed)
        return [self.part(rng, rate) for rate in rates for _ in range(20)]

    @pytest.mark.parametrize("yaw_radps", [3.0, -3.0, 0.0, 1.5])
    def test_what_is_usual_is_taken_off_whichever_way_it_turns(self, yaw_radps):
        usual = usual_checks(self.calm())
        assert usual.shape == (7, CHECKS)
        checks, turned, _ = self.part(np.random.default_rng(9), yaw_radps, noise=0.0)
        np.testing.assert_allclose(unusual(checks, turned, usual), 0.0, atol=0.015)

    def test_what_is_not_is_left_whole(self):
        usual = usual_checks(self.calm())
        checks, turned, _ = self.part(np.random.default_rng(9), 3.0, noise=0.0)
        off = unusual(checks + np.array((0.2, 0.0, 0.0, 0.3)), turned, usual).mean(axis=0)
        np.testing.assert_allclose(off, (0.2, 0.0, 0.0, 0.3), atol=0.015)

    def test_noise_of_the_orientation_does_not_hide_how_a_robot_turns(self):
        rng, parts = np.random.default_rng(2), []
        for number in range(60):
            checks, turned, counts = self.part(rng, 0.8 * (number % 3 - 1), noise=0.05)
            noise = np.diff(rng.normal(0.0, 0.01, (len(turned) + 1, 3)), axis=0) * SPEC.policy_rate_hz
            seen = turned[:, :3] + noise
            parts.append((checks, np.concatenate((seen, np.abs(turned[:, 3:])), axis=1), counts))
        assert usual_checks(parts)[2, 0] == pytest.approx(self.ASKEW, rel=0.15)

    def test_of_a_robot_that_never_turns_nothing_is_made_up_about_turning(self):
        usual = usual_checks(self.calm(rates=(0.0,)))
        assert np.abs(usual[:-1]).max() < 0.05
        np.testing.assert_allclose(usual[-1], (self.LEVEL, 0.0, 0.0, 0.4), atol=0.01)

    def test_steps_that_do_not_count_and_readings_that_are_no_numbers_teach_nothing(self):
        parts = self.calm()
        wanted = usual_checks(parts)
        broken = []
        for checks, turned, counts in parts:
            more_checks = np.outer((1.9, np.nan, 1.0), np.ones(CHECKS))
            more_turned = np.outer((9.0, 1.0, np.nan), np.ones(6))
            spoilt, odd = np.concatenate((more_checks, checks)), np.concatenate((more_turned, turned))
            broken.append((spoilt, odd, np.concatenate(((False, True, True), counts))))
        np.testing.assert_allclose(usual_checks(broken), wanted, atol=1e-6)

    def test_of_nothing_that_counts_nothing_is_usual(self):
        checks, turned, counts = self.calm()[0]
        assert not usual_checks([(checks, turned, ~counts)]).any()
