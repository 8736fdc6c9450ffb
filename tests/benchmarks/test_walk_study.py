"""What studies of walking conclude from their cells."""

from __future__ import annotations

import pytest

from benchmarks import constraints, falls
from benchmarks.walk import against


def cell(seed: int, fell: int, returned: float, called: int = 0) -> dict[str, float]:
    return {"seed": seed, "falls": fell, "interventions": called, "return_mean": returned}


PLAIN = [cell(0, 4, 100.0), cell(1, 2, 110.0, called=1), cell(2, 9, 50.0)]
OTHER = [cell(1, 1, 121.0), cell(0, 0, 110.0), cell(3, 7, 20.0)]


def test_only_seeds_that_both_have_count():
    assert against("plain", "other", {"plain": PLAIN, "other": OTHER}) == {
        "seeds": [0, 1],
        "falls": {"plain": 6, "other": 1},
        "interventions": {"plain": 1, "other": 0},
        "falls_ratio": pytest.approx(1 / 6),
        "return_ratio": pytest.approx(1.1),
    }


def test_without_falls_there_is_no_ratio_and_without_shared_seeds_nothing():
    assert against("plain", "other", {"plain": [cell(0, 0, 1.0)], "other": [cell(0, 3, 1.0)]})["falls_ratio"] is None
    assert against("plain", "other", {"plain": PLAIN}) == {}
    assert against("plain", "other", {"plain": PLAIN, "other": [cell(7, 1, 1.0)]}) == {}


def test_each_study_compares_its_own_ways():
    cells = {"a1-alone": PLAIN, "a1-caught": OTHER, "minitaur-foreseen": OTHER}
    assert set(falls.conclude(cells)) == {"a1-caught"}
    cells = {"a1-unconstrained": PLAIN, "a1-constrained": OTHER}
    assert constraints.conclude(cells)["a1"]["falls"] == {"a1-unconstrained": 6, "a1-constrained": 1}
