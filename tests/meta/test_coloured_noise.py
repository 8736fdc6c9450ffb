"""Coloured noise: unit variance always, white where it should be, smooth where it should be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta.coloured_noise import colouring


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0.0, 4.0))
def test_variance_is_one_at_every_time(length, exponent):
    matrix = colouring(length, exponent)
    assert matrix.shape == (2 * length, length)
    np.testing.assert_allclose((matrix**2).sum(axis=0), 1.0)


@settings(deadline=None)
@given(st.integers(2, 60))
def test_exponent_zero_is_white(length):
    matrix = colouring(length, 0.0)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(length), atol=1e-12)


def test_larger_exponents_are_smoother():
    def neighbours(exponent):
        matrix = colouring(20, exponent)
        return float((matrix.T @ matrix)[5, 6])

    assert neighbours(0.0) == pytest.approx(0.0, abs=1e-12)
    assert neighbours(0.0) < neighbours(1.0) < neighbours(2.0) < 1.0
    assert neighbours(2.0) > 0.9


def test_is_stationary():
    matrix = colouring(15, 1.5)
    covariance = matrix.T @ matrix
    for lag in range(15):
        np.testing.assert_allclose(np.diag(covariance, lag), covariance[0, lag], atol=1e-12)
