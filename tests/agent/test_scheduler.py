"""The next skill: back to the middle first, then what improves and what has waited."""

import math
from collections import Counter

import numpy as np
import pytest
from fakes import observation

from agent.scheduler import Pose2D, Scheduler, room_m
from sim.workspace import Workspace
from skills.skill import Displacement
from skills.walk import WALKING_SKILLS

WORKSPACE = Workspace()  # soft fence at 2 m
NAMES = [skill.name for skill in WALKING_SKILLS]
EDGES = [  # position, and the heading that faces straight out
    pytest.param(1.9, 0.0, 0.0, id="east"),
    pytest.param(-1.9, 0.0, math.pi, id="west"),
    pytest.param(0.0, 1.9, math.pi / 2, id="north"),
    pytest.param(0.0, -1.9, -math.pi / 2, id="south"),
    pytest.param(1.9, 1.9, math.pi / 4, id="corner"),
    pytest.param(-1.9, 1.9, 3 * math.pi / 4, id="other corner"),
]


def scheduler(seed: int = 0) -> Scheduler:
    return Scheduler(WALKING_SKILLS, WORKSPACE, np.random.default_rng(seed))


def settled(made: Scheduler) -> Scheduler:
    """All skills tried at the same time, with the same reward: only the pose decides."""
    for record in made.records.values():
        record.last_s = 0.0
        record.attempts = 1
    return made


class TestCentre:
    @pytest.mark.parametrize(("x_m", "y_m", "out_rad"), EDGES)
    @pytest.mark.parametrize("off_rad", [-0.5, 0.0, 0.5])
    def test_near_an_edge_facing_out_it_walks_back(self, x_m, y_m, out_rad, off_rad):
        scores = settled(scheduler()).scores(Pose2D(x_m=x_m, y_m=y_m, yaw_rad=out_rad + off_rad), 100.0)
        assert max(scores, key=scores.get) == "walk_backward"
        assert min(scores, key=scores.get) == "walk_forward"

    @pytest.mark.parametrize(("x_m", "y_m", "out_rad"), EDGES)
    @pytest.mark.parametrize("off_rad", [-0.5, 0.0, 0.5])
    def test_near_an_edge_facing_in_it_walks_forward(self, x_m, y_m, out_rad, off_rad):
        scores = settled(scheduler()).scores(Pose2D(x_m=x_m, y_m=y_m, yaw_rad=out_rad + math.pi + off_rad), 100.0)
        assert max(scores, key=scores.get) == "walk_forward"
        assert min(scores, key=scores.get) == "walk_backward"

    @pytest.mark.parametrize("side", [-1.0, 1.0])
    def test_along_an_edge_it_turns(self, side):
        scores = settled(scheduler()).scores(Pose2D(x_m=1.9, y_m=0.0, yaw_rad=side * math.pi / 2), 100.0)
        assert min(scores["turn_left"], scores["turn_right"]) > max(scores["walk_forward"], scores["walk_backward"])

    @pytest.mark.parametrize(("x_m", "y_m", "out_rad"), EDGES)
    def test_in_hundreds_of_draws_it_hardly_ever_walks_out(self, x_m, y_m, out_rad):
        made = settled(scheduler())
        drawn = Counter(made.choose(Pose2D(x_m=x_m, y_m=y_m, yaw_rad=out_rad), 100.0).name for _ in range(300))
        assert drawn["walk_forward"] <= 1
        assert drawn["walk_backward"] >= 150


class TestRoomToTurn:
    def test_a_turn_beside_the_fence_counts_for_less_than_one_with_room(self):
        made, along = settled(scheduler()), math.pi / 2
        near, inside = (made.scores(Pose2D(x_m=x_m, y_m=0.0, yaw_rad=along), 100.0) for x_m in (1.55, 1.45))
        assert near["turn_left"] < inside["turn_left"] - 1.0
        assert near["walk_forward"] == pytest.approx(inside["walk_forward"], abs=0.1)

    @pytest.mark.parametrize(("longest", "follows"), [("turn_right", True), ("walk_backward", False)])
    def test_a_walk_ends_in_the_middle_where_a_turn_has_waited_longest(self, longest, follows):
        made = settled(scheduler())
        made.records["walk_forward"].last_s = -500.0  # its own turn is now: what counts is what comes after it
        made.records[longest].last_s = -100.0
        assert made.turn_follows("walk_forward", 100.0) is follows

    @pytest.mark.parametrize("name", ["turn_left", "turn_right", "stand_up"])
    def test_a_turn_or_another_skill_never_does(self, name):
        made = settled(scheduler())
        made.records["turn_left"].last_s = -100.0
        assert not made.turn_follows(name, 100.0)

    def test_nor_does_a_walk_with_no_turns_beside_it(self):
        for tasks in (WALKING_SKILLS[:1], WALKING_SKILLS[:2]):
            assert not Scheduler(tasks, WORKSPACE, np.random.default_rng(0)).turn_follows("walk_forward", 100.0)


class TestFairness:
    def test_in_the_middle_no_skill_starves(self):
        made = scheduler(3)
        middle = Pose2D(x_m=0.0, y_m=0.0, yaw_rad=0.0)
        drawn: Counter[str] = Counter()
        longest, last = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0)
        for i in range(200):
            skill = made.choose(middle, 12.0 * i)
            made.attempted(skill.name, middle, middle.moved(skill.displacement), 0.5, 12.0 * i + 10.0)
            drawn[skill.name] += 1
            longest[skill.name] = max(longest[skill.name], i - last[skill.name])
            last[skill.name] = i
        assert min(drawn[name] for name in NAMES) >= 30
        assert max(longest.values()) <= 30

    def test_turns_get_their_turn_while_walks_go_to_and_fro_across_the_middle(self):
        """Every walk leads home from where the last one ended, so that the way home alone never asks for a turn."""
        made, drawn, x_m = scheduler(1), Counter(), -1.5
        for i in range(200):
            pose = Pose2D(x_m=x_m, y_m=0.0, yaw_rad=0.0)
            skill = made.choose(pose, 12.0 * i)
            drawn[skill.name] += 1
            x_m = {"walk_forward": 1.5, "walk_backward": -1.5}.get(skill.name, x_m)
            made.attempted(skill.name, pose, Pose2D(x_m=x_m, y_m=0.0, yaw_rad=0.0), 0.5, 12.0 * i + 10.0)
        assert min(drawn[name] for name in NAMES) >= 20

    def test_who_has_waited_longest_scores_highest(self):
        made = settled(scheduler())
        made.records["turn_left"].last_s = -300.0
        scores = made.scores(Pose2D(x_m=0.0, y_m=0.0, yaw_rad=0.0), 100.0)
        assert max(scores, key=scores.get) == "turn_left"

    def test_learning_progress_raises_a_score_in_either_direction(self):
        made = settled(scheduler())
        for name in ("turn_left", "turn_right"):
            made.records[name].attempts = 0
        pose = Pose2D(x_m=0.0, y_m=0.0, yaw_rad=0.0)
        before = made.scores(pose, 0.0)
        for name, rewards in (("turn_left", (0.0, 1.0, 1.0)), ("turn_right", (1.0, 0.0, 0.0))):
            for reward in rewards:
                made.attempted(name, pose, pose, reward, 0.0)
        after = made.scores(pose, 0.0)
        assert after["turn_left"] > before["turn_left"] + 0.5
        assert after["turn_right"] > before["turn_right"] + 0.5
        assert after["walk_forward"] == before["walk_forward"]

    def test_a_constant_reward_is_no_progress(self):
        made = scheduler()
        pose = Pose2D(x_m=0.0, y_m=0.0, yaw_rad=0.0)
        for _ in range(20):
            made.attempted("turn_left", pose, pose, 0.7, 0.0)
        assert made.records["turn_left"].learning_progress == pytest.approx(0.0)

    def test_progress_is_hand_computed(self):
        made = scheduler()
        pose = Pose2D(x_m=0.0, y_m=0.0, yaw_rad=0.0)
        made.attempted("turn_left", pose, pose, 0.0, 0.0)
        made.attempted("turn_left", pose, pose, 1.0, 0.0)
        assert made.records["turn_left"].learning_progress == pytest.approx(0.3 - 0.05)

    def test_the_same_seed_gives_the_same_choices_and_another_does_not(self):
        def draws(seed: int) -> list[str]:
            made = scheduler(seed)
            return [made.choose(Pose2D(x_m=0.3, y_m=0.0, yaw_rad=1.0), 10.0 * i).name for i in range(40)]

        assert draws(1) == draws(1)
        assert draws(1) != draws(2)


class TestMotion:
    def test_a_skill_that_moves_differently_is_believed(self):
        made = scheduler()
        start = Pose2D(x_m=0.0, y_m=0.0, yaw_rad=0.0)
        for _ in range(30):
            made.attempted("walk_forward", start, Pose2D(x_m=-1.0, y_m=0.0, yaw_rad=0.0), 0.0, 0.0)
        assert made.records["walk_forward"].displacement.forward_m == pytest.approx(-1.0, abs=0.01)

    def test_one_attempt_counts_a_fifth(self):
        made = scheduler()
        start = Pose2D(x_m=0.0, y_m=0.0, yaw_rad=math.pi / 2)
        made.attempted("walk_forward", start, Pose2D(x_m=-1.0, y_m=2.0, yaw_rad=math.pi / 2), 0.0, 0.0)
        found = made.records["walk_forward"].displacement
        assert found.forward_m == pytest.approx(0.8 * 4.0 + 0.2 * 2.0)
        assert found.left_m == pytest.approx(0.2 * 1.0)

    def test_a_turn_keeps_its_direction_although_its_measure_wraps(self):
        made = scheduler()
        start = Pose2D(x_m=0.0, y_m=0.0, yaw_rad=0.0)
        for _ in range(30):
            made.attempted("turn_left", start, Pose2D(x_m=0.0, y_m=0.0, yaw_rad=-2.0), 0.0, 0.0)
        assert made.records["turn_left"].displacement.turn_rad == 4.0

    def test_attempts_of_other_skills_are_ignored(self):
        made = scheduler()
        pose = Pose2D(x_m=0.0, y_m=0.0, yaw_rad=0.0)
        made.attempted("stand_up", pose, pose, 1.0, 5.0)
        assert set(made.records) == set(NAMES)

    @pytest.mark.parametrize("yaw_rad", [0.0, 1.0, -3.0])
    def test_displacement_is_the_inverse_of_moving(self, yaw_rad):
        start = Pose2D(x_m=0.5, y_m=-0.2, yaw_rad=yaw_rad)
        by = Displacement(forward_m=1.5, left_m=-0.4, turn_rad=2.5)
        back = start.displacement_to(start.moved(by))
        assert (back.forward_m, back.left_m, back.turn_rad) == pytest.approx((1.5, -0.4, 2.5))

    def test_a_pose_is_what_the_tracker_saw(self):
        reading = observation(x_m=1.0, y_m=-2.0)
        reading.base_yaw = 0.5
        assert Pose2D.of(reading) == Pose2D(x_m=1.0, y_m=-2.0, yaw_rad=0.5)


@pytest.mark.parametrize(
    ("x_m", "y_m", "heading_rad", "expected_m"),
    [
        (0.0, 0.0, 0.0, 2.0),
        (0.0, 0.0, math.pi / 4, 2.0 * math.sqrt(2.0)),
        (1.5, 0.0, 0.0, 0.5),
        (1.5, 0.0, math.pi, 3.5),
        (1.5, 1.8, math.pi / 2, 0.2),
        (1.0, 0.0, math.pi / 6, 1.0 / math.cos(math.pi / 6)),
        (2.2, 0.0, 0.0, 0.0),
        (2.2, 0.0, math.pi, 4.2),
    ],
)
def test_room_by_hand(x_m, y_m, heading_rad, expected_m):
    assert room_m(Pose2D(x_m=x_m, y_m=y_m, yaw_rad=0.0), heading_rad, 2.0) == pytest.approx(expected_m, abs=1e-9)


def test_of_those_that_can_start_another_is_never_chosen():
    made = settled(scheduler())
    pose = Pose2D(x_m=1.9, y_m=0.0, yaw_rad=0.0)
    assert {made.choose(pose, 100.0, {NAMES[0]: 0.0}).name for _ in range(30)} == {NAMES[0]}
    assert "walk_backward" in {made.choose(pose, 100.0, {}).name for _ in range(30)}


def test_a_long_detour_is_made_only_for_a_task_that_has_waited_long():
    made, pose = settled(scheduler()), Pose2D(x_m=0.0, y_m=0.0, yaw_rad=0.0)
    cycle_s = WALKING_SKILLS[0].horizon_s
    detours = dict.fromkeys(NAMES, 0.0) | {NAMES[1]: 5 * cycle_s}
    assert NAMES[1] not in {made.choose(pose, 0.0, detours).name for _ in range(100)}
    for name in NAMES[2:] + NAMES[:1]:
        made.records[name].last_s = 1000.0 * cycle_s
    assert {made.choose(pose, 1000.0 * cycle_s, detours).name for _ in range(100)} == {NAMES[1]}
