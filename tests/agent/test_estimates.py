"""The interquartile mean: by hand, and how often its interval holds what is true."""

import numpy as np

from agent.estimates import interquartile_mean, iqm_interval


def test_the_bootstrap_holds_the_mean_of_the_middle_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    # Of a normal distribution the middle half has the mean itself, whatever its outliers.
    missed = 0
    for seed in range(200):
        low, high = iqm_interval(rng.normal(3.0, 2.0, 40), seed=seed)
        missed += not low <= 3.0 <= high
    assert 2 <= missed <= 24


def test_it_is_the_same_each_time_and_does_not_mind_one_outlier():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    low, high = iqm_interval(values)
    assert (low, high) == iqm_interval(values)
    assert low < float(interquartile_mean(values)) < high
    assert iqm_interval([5.0] * 4) == (5.0, 5.0)
