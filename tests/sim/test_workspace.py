import math

import pytest

from sim.workspace import Workspace


def test_margins_and_fences_by_hand():
    w = Workspace()
    assert w.margin_m(2.2, -1.0) == pytest.approx(0.3)
    assert w.margin_m(0.0, -3.0) == pytest.approx(-0.5)
    assert w.inside_soft(1.99, 0.0)
    assert not w.inside_soft(2.01, 0.0)
    assert w.inside_hard(2.01, 0.0)
    assert not w.inside_hard(0.0, 2.6)


def test_fences_follow_the_size():
    w = Workspace(size_m=3.0, soft_margin_m=0.4)
    assert w.hard_half_m == pytest.approx(1.5)
    assert w.soft_half_m == pytest.approx(1.1)
    assert w.margin_m(-1.0, 0.2) == pytest.approx(0.5)


@pytest.mark.parametrize("place", [(math.nan, 0.0), (0.0, math.nan)])
def test_unknown_place_is_outside(place):
    assert math.isnan(Workspace().margin_m(*place))
    assert not Workspace().inside_soft(*place)
    assert not Workspace().inside_hard(*place)


@pytest.mark.parametrize(
    "values", [{"soft_margin_m": 2.5}, {"soft_margin_m": 0.0}, {"size_m": math.nan}, {"size_m": -1.0}]
)
def test_impossible_fences_are_refused(values):
    with pytest.raises(ValueError, match="no room"):
        Workspace(**values)
