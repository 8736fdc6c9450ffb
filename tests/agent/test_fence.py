"""Where on the floor an attempt ends; what that means for a whole attempt is in test_attempts.py."""

import math
from dataclasses import replace

import pytest
from fakes import DT_S, observation

from agent.fence import BRAKING_S, MIDDLE_M, PAST_MIDDLE_M, TREND_TICKS, FenceWatch, place_at
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


class TestFence:
    def test_the_side_that_it_goes_to_counts_even_where_another_is_nearer_yet(self):
        """Along one side at half a meter and more, straight towards the next one, at the speed of a fast A1."""
        watch, speed_mps = FenceWatch(WORKSPACE), 1.5
        for tick, x_m in enumerate(line(-1.0, 2.4, speed_mps)):
            if watch.update(DT_S * tick, observation(x_m=x_m, y_m=WORKSPACE.hard_half_m - 0.7)):
                break
        assert x_m + speed_mps * BRAKING_S == pytest.approx(WORKSPACE.soft_half_m, abs=0.04)

    def test_a_robot_that_cannot_be_seen_is_where_its_walk_leads(self):
        watch, speed_mps, lost_m = FenceWatch(WORKSPACE), 1.1, 0.5
        for tick, x_m in enumerate(line(-1.5, 2.4, speed_mps)):
            held = replace(observation(x_m=min(x_m, lost_m), y_m=0.3), base_valid=x_m <= lost_m)
            if watch.update(DT_S * tick, held):
                break
        assert x_m + speed_mps * BRAKING_S == pytest.approx(WORKSPACE.soft_half_m, abs=0.04)

    def test_nor_does_it_go_on_unseen_past_the_middle_where_it_should_end(self):
        watch = FenceWatch(WORKSPACE, to_middle=True)
        for tick, x_m in enumerate(line(-1.6, 2.0)):
            if watch.update(DT_S * tick, replace(observation(x_m=min(x_m, 0.0), y_m=0.3), base_valid=x_m <= 0.0)):
                break
        assert x_m == pytest.approx(0.3 + PAST_MIDDLE_M, abs=0.02)

    def test_one_that_is_thrown_back_out_gets_no_credit_for_the_way_in(self):
        inwards = line(-WORKSPACE.soft_half_m - 0.28, -WORKSPACE.soft_half_m + 0.2, speed_mps=1.2)
        reason, x_m = walk(FenceWatch(WORKSPACE), [*inwards, -WORKSPACE.soft_half_m - 0.02])
        assert (reason, x_m) == ("fence", -WORKSPACE.soft_half_m - 0.02)

    def test_one_that_goes_round_in_circles_is_not_held_up(self):
        watch = FenceWatch(WORKSPACE)
        for tick in range(500):
            angle = 1.0 * DT_S * tick
            assert watch.update(DT_S * tick, observation(x_m=1.2 * math.cos(angle), y_m=1.2 * math.sin(angle))) == ""


def test_where_it_will_be_by_hand():
    seen = [(DT_S * i, 0.5 * DT_S * i, -1.0 * DT_S * i) for i in range(TREND_TICKS)]
    last_s, x_m, y_m = seen[-1]
    assert place_at(seen, last_s) == pytest.approx((x_m, y_m))
    assert place_at(seen, last_s + 0.4) == pytest.approx((x_m + 0.2, y_m - 0.4))
    assert place_at(seen[:-1], last_s + 0.4) == seen[-2][1:]  # too few to tell
