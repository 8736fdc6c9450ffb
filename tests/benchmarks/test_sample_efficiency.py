"""Sample efficiency: what is reported of a run, and that the daemon takes every variant."""

from __future__ import annotations

import pytest

from agent.config import Config
from benchmarks.sample_efficiency import VARIANTS, area


def test_the_area_is_a_mean_over_minutes_not_over_attempts():
    assert area([(0.2, 0.4), (0.4, 0.6), (0.9, 0.8), (1.5, 1.0)], 2) == pytest.approx((0.6 + 1.0) / 2)


def test_a_minute_without_an_attempt_has_the_speed_of_the_one_before():
    assert area([(1.5, 1.0)], 3) == pytest.approx((0.0 + 1.0 + 1.0) / 3)


def test_an_attempt_that_ends_past_the_last_minute_counts_in_it():
    assert area([(0.5, 1.0), (2.01, 3.0)], 2) == pytest.approx((1.0 + 3.0) / 2)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_the_settings_of_every_variant_are_valid(changes):
    Config.load(overrides=changes)
