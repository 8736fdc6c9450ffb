"""Figures of the run without resets, from curves made by hand, and a short run of the daemon."""

import math

import pytest

from agent.config import Config, parse_assignment
from benchmarks.no_resets import CONTROL, LEARNER, _toml, mean_points, minutes_to, run

# Attempts of 1000 steps, a minute each.
CURVE = [(1.0, 1000, 5.0), (2.0, 1000, 9.0), (3.0, 1000, 13.0), (4.0, 500, 1.0)]


def test_a_mean_is_taken_over_the_last_two_thousand_steps():
    assert mean_points(CURVE, 3.0) == pytest.approx(11.0)
    # 500 of 1, 1000 of 13, and the last 500 of the attempt before.
    assert mean_points(CURVE, 4.0) == pytest.approx((500 + 13_000 + 4_500) / 2000)


def test_before_that_many_steps_it_is_over_all_there_are():
    assert mean_points(CURVE, 1.0) == pytest.approx(5.0)
    assert math.isnan(mean_points(CURVE, 0.5))


def test_a_level_is_reached_at_the_first_full_window():
    assert minutes_to(CURVE, 11.0) == 3.0
    assert minutes_to(CURVE, 5.0) == 2.0, "a single attempt is no window"
    assert minutes_to(CURVE, 11.5) is None


def test_the_daemon_takes_the_settings():
    settings = dict(parse_assignment(f"{name}={_toml(value)}") for name, value in {**CONTROL, **LEARNER}.items())
    config = Config.load(overrides=settings)
    assert config.control.decimation == 5
    assert config.learner.lr == pytest.approx(LEARNER["learner.lr"])


@pytest.mark.slow
def test_a_run_needs_nobody_and_leaves_no_step_out(tmp_path):
    learner = {"learner.hidden": (16,), "learner.warmup_steps": 250, "learner.updates_per_step": 0.1}
    facts = run(0, 1, tmp_path / "home", learner)
    assert facts["interventions"] == facts["falls"] == 0
    assert [steps for _, steps, _ in facts["curve"]] == [250] * 5
    assert facts["steps"] == 1250
    assert abs(facts["unaccounted_s"]) < 1e-6
    assert 4.9 < facts["final"] < 7.0, "it lies"
