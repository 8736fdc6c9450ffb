"""Where on the floor an attempt ends; what that means for a whole attempt is in test_attempts.py."""

import math

import pytest
from fakes import DT_S, observation

from agent.fence import BRAKING_S, MIDDLE_M, PAST_MIDDLE_M, TREND_TICKS, FenceWatch, ahead_m
from sim.workspace import Workspace

WORKSPACE = Workspace()


def walk(watch: FenceWatch, positions) -> tuple[str, float]:
    """Where along positions on the x axis the attempt ends, and why."""
    for tick, x_m in enumerate(positions):
        reason = watch.update(DT_S * tick, observation(x_m=x_m, y_m=0.3))
        if reason:
            return reason, x_m
    return "", positions[-1]


def line(start_m: float, end_m: float, speed_mps: float = 0.5) -> list[float]:
    ticks = round(abs(end_m - start_m) / speed_mps / DT_S)
    return [start_m + (end_m - start_m) * tick / ticks for tick in range(ticks + 1)]


class TestMiddle:
    @pytest.mark.parametrize("start_m", [-2.3, -1.9, -1.6])
    def test_a_walk_that_should_end_in_the_middle_ends_just_past_it(self, start_m):
        reason, x_m = walk(FenceWatch(WORKSPACE, to_middle=True), line(start_m, 2.0))
        assert reason == "middle"
        # It walks at y = 0.3 m, so it gets no further from the fence between x = -0.3 m and x = 0.3 m.
        assert x_m == pytest.approx(0.3 + PAST_MIDDLE_M, abs=0.02)

    def test_one_that_turns_back_far_from_the_middle_goes_on(self):
        turn_m = WORKSPACE.hard_half_m - MIDDLE_M + 0.1
        assert walk(FenceWatch(WORKSPACE, to_middle=True), line(1.75, turn_m) + line(turn_m, 1.75)) == ("", 1.75)

    def test_any_other_crosses_to_the_fence(self):
        reason, x_m = walk(FenceWatch(WORKSPACE), line(-1.9, 2.4))
        assert reason == "fence"
        assert x_m + 0.5 * BRAKING_S == pytest.approx(WORKSPACE.soft_half_m, abs=0.02)

    def test_a_blind_tracker_ends_nothing(self):
        assert walk(FenceWatch(WORKSPACE, to_middle=True), [math.nan] * 50)[0] == ""


def test_room_ahead_by_hand():
    leaving = [(DT_S * i, 1.0 - 0.5 * DT_S * i) for i in range(TREND_TICKS)]
    last_m = 1.0 - 0.5 * DT_S * (TREND_TICKS - 1)
    assert ahead_m(leaving) == pytest.approx(last_m - 0.5 * BRAKING_S)
    assert ahead_m(leaving[:-1]) == pytest.approx(leaving[-2][1])
    coming = [(DT_S * i, 0.3 + 0.5 * DT_S * i) for i in range(TREND_TICKS)]
    assert ahead_m(coming) == coming[-1][1]
