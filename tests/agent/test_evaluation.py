"""Evaluation attempts: where they start, how their figures are computed, and what is refused."""

import math

import numpy as np
import pytest
from fakes import FakeRobot

from agent import evaluation
from agent.attempts import AttemptResult
from agent.config import Config
from agent.estimates import interquartile_mean
from agent.evaluation import (
    CORNER_MARGIN_M,
    FARTHEST_START_M,
    attempts_of,
    evaluate_skill,
    start_pose,
    summary,
)
from agent.policies import POLICY_TENSOR
from agent.robots import delayed, load_robot
from persistence.checkpoints import save_checkpoint
from persistence.home import Home
from persistence.records import Outcome
from sim.dynamics import DynamicsParams
from sim.kuka import kuka_spec
from sim.state import Pose
from sim.workspace import Workspace
from skills.carry import ZONE_M
from skills.policy import PolicyWeights
from skills.registry import get

WORKSPACE = Workspace()


def yaw_of(pose: Pose) -> float:
    _, _, z, w = pose.orientation_xyzw
    return 2.0 * math.atan2(z, w)


class TestStart:
    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize(("skill", "way"), [("walk_forward", 1.0), ("walk_backward", -1.0)])
    def test_a_walk_has_the_longest_free_way_before_it(self, skill, way, seed):
        pose = start_pose(FakeRobot(), get(skill), WORKSPACE, np.random.default_rng(seed))
        x, y, _ = pose.position
        corner = WORKSPACE.hard_half_m - CORNER_MARGIN_M
        assert (abs(x), abs(y)) == (corner, corner)
        heading = np.array([math.cos(yaw_of(pose)), math.sin(yaw_of(pose))]) * way
        to_the_middle = -np.array([x, y]) / math.hypot(x, y)
        np.testing.assert_allclose(heading, to_the_middle, atol=1e-9)

    def test_all_corners_are_used(self):
        rng = np.random.default_rng(0)
        corners = {start_pose(FakeRobot(), get("walk_forward"), WORKSPACE, rng).position[:2] for _ in range(40)}
        assert len(corners) == 4

    def test_on_a_large_floor_no_fence_is_near(self):
        floor = Workspace(size_m=60.0)
        pose = start_pose(FakeRobot(), get("walk_forward"), floor, np.random.default_rng(0))
        assert floor.margin_m(*pose.position[:2]) == floor.hard_half_m - FARTHEST_START_M

    def test_a_turn_starts_in_the_middle_with_any_heading(self):
        rng = np.random.default_rng(0)
        poses = [start_pose(FakeRobot(), get("turn_left"), WORKSPACE, rng) for _ in range(20)]
        assert {pose.position[:2] for pose in poses} == {(0.0, 0.0)}
        assert np.ptp([yaw_of(pose) for pose in poses]) > 3.0

    def test_a_recovery_starts_fallen(self):
        robot = FakeRobot()
        fallen = Pose(orientation_xyzw=(1.0, 0.0, 0.0, 0.0))
        robot.random_fallen_pose = lambda rng: fallen
        assert start_pose(robot, get("stand_up"), WORKSPACE, np.random.default_rng(0)) is fallen


class TestFigures:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([5.0], 5.0),
            ([1.0, 3.0], 2.0),
            ([0.0, 1.0, 2.0, 100.0], 1.5),
            ([0.0, 3.0, 6.0], 3.0),
            # Quartiles cut 1 and 3 to a quarter: (0.25 * 1 + 2 + 0.25 * 3) is weighted, what lies outside is not.
            ([-9.0, 1.0, 2.0, 3.0, 99.0], (0.75 * 1.0 + 1.0 * 2.0 + 0.75 * 3.0) / 2.5),
            ([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -7.0], (2.0 + 3.0 + 4.0 + 5.0) / 4),
        ],
    )
    def test_interquartile_mean_by_hand(self, values, expected):
        assert interquartile_mean(values) == pytest.approx(expected)

    def test_an_outlier_does_not_move_it(self):
        assert interquartile_mean([1.0, 2.0, 3.0, 4.0]) == interquartile_mean([-1e9, 2.0, 3.0, 1e9])

    def test_summary_counts_by_hand(self):
        def result(outcome: Outcome, reason: str, return_: float | None, **measures: float) -> AttemptResult:
            return AttemptResult(
                outcome=outcome,
                end_reason=reason,
                arrays=None,
                steps=1,
                return_=return_,
                mean_reward=0.0,
                measures=measures,
                reward_terms={},
                interrupt=None,
            )

        found = summary(
            [
                result(Outcome.SUCCESS, "time", 4.0, speed_mps=0.5),
                result(Outcome.FALL, "fallen", 0.0, speed_mps=0.1),
                result(Outcome.UNSAFE, "fence", 2.0),
                result(Outcome.UNSAFE, "hard_fence", None),
            ]
        )
        # To reach the soft fence at the far side is no exit.
        assert (found["success_rate"], found["falls"], found["fence_exits"]) == (0.25, 1, 1)
        assert found["success_interval"][0] < 0.25 < found["success_interval"][1]
        assert found["return_iqm_interval"][0] < 2.0 < found["return_iqm_interval"][1]
        assert found["return_mean"] == pytest.approx(2.0)
        assert found["return_iqm"] == pytest.approx(2.0)
        assert found["measures"]["speed_mps"] == pytest.approx(0.3)
        assert [row["outcome"] for row in found["per_attempt"]] == ["success", "fall", "unsafe", "unsafe"]


def test_who_gets_up_is_not_taken_for_one_who_falls():
    """As in the daemon, nothing catches a robot that is down and leans on its way up."""
    results = attempts_of(get("stand_up"), "minitaur", None, 6, 0, "nominal")
    assert not [result.end_reason for result in results if result.end_reason == "leaning"]
    assert sum(result.outcome is Outcome.SUCCESS for result in results) >= 5


class TestRefusals:
    def test_unknown_skill_names_the_valid_ones(self, tmp_path):
        with pytest.raises(ValueError, match=r"'wlak_forward'.*walk_forward.*stand_up"):
            evaluate_skill("wlak_forward", "minitaur", "zoo", 1, 0, tmp_path)

    def test_unknown_dynamics_name_the_valid_ones(self):
        with pytest.raises(ValueError, match=r"'icy'.*held-out, nominal"):
            attempts_of(get("stand_up"), "minitaur", None, 1, 0, "icy")

    def test_unknown_robot_names_the_valid_ones(self):
        with pytest.raises(ValueError, match=r"'spot'.*minitaur"):
            attempts_of(get("stand_up"), "spot", None, 1, 0)

    def test_a_skill_that_the_robot_cannot_have_says_why(self, tmp_path):
        with pytest.raises(ValueError, match=r"minitaur cannot have the skill carry_out: .+"):
            evaluate_skill("carry_out", "minitaur", "latest", 1, 0, tmp_path)

    def test_policies_of_another_family_are_told_from_the_skills(self, tmp_path):
        home = Home(tmp_path).prepare()
        weights = PolicyWeights(
            version=1,
            layers=((np.zeros((3, 2), np.float32), np.zeros(2, np.float32)),),
            obs_mean=np.zeros(3, np.float32),
            obs_std=np.ones(3, np.float32),
        )
        tensors = {POLICY_TENSOR: np.frombuffer(weights.to_bytes(), np.uint8)}
        save_checkpoint(home.checkpoints, 1, tensors, {"family": "hand"})
        with pytest.raises(ValueError, match=r"of the 'hand' family, walk_forward is of 'walk'"):
            evaluate_skill("walk_forward", "minitaur", "latest", 1, 0, tmp_path)

    def test_a_home_without_checkpoints_says_what_to_do(self, tmp_path):
        with pytest.raises(ValueError, match=r"perdure run.*--policy zoo"):
            evaluate_skill("walk_forward", "minitaur", "latest", 1, 0, tmp_path)

    def test_a_learned_skill_needs_weights(self, monkeypatch):
        with pytest.raises(ValueError, match="'walk_forward'"):
            attempts_of(get("walk_forward"), "minitaur", None, 1, 0, "nominal")

    def test_a_robot_that_is_no_simulator_is_left_to_the_daemon(self, monkeypatch):
        monkeypatch.setattr(evaluation, "load_robot", lambda name, seed, **options: FakeRobot())
        with pytest.raises(ValueError, match="no simulated robot"):
            attempts_of(get("stand_up"), "fake", None, 1, 0, "nominal")


def test_an_arms_task_is_evaluated_from_anywhere_that_it_can_start():
    skill, config = get("carry_out"), Config.load(None, {"learner.history": 1}).for_robot(kuka_spec())
    width = skill.family.feature_size(kuka_spec())
    still = PolicyWeights(
        version=1,
        layers=((np.zeros((width + len(skill.command), 10), np.float32), np.zeros(10, np.float32)),),
        obs_mean=np.zeros(width, np.float32),
        obs_std=np.ones(width, np.float32),
    )
    off_m = [result.measures["off_m"] for result in attempts_of(skill, "kuka", still, 4, 0, config=config)]
    assert min(off_m) > ZONE_M - 0.01  # but for the noise of the camera
    assert max(off_m) - min(off_m) > 0.03


def test_a_zoo_policy_acts_at_the_rates_that_it_was_trained_with(tmp_path, monkeypatch):
    rates = []

    def attempts(*words, config, **more):
        rates.append((config.control.rate_hz, config.control.policy_rate_hz))
        return attempts_of(*words, config=config, **more)

    monkeypatch.setattr(evaluation, "attempts_of", attempts)
    found = evaluate_skill("rise_and_walk", "a1_lying", "zoo", 1, 0, tmp_path, "nominal")
    assert rates == [(100, 20)]
    assert found["measures"]["points"] > 9.0  # 5 are for lying on the back, 9 for standing


class TestLatency:
    def test_it_is_split_between_both_ways_and_leaves_the_rest_alone(self):
        nominal = DynamicsParams(payload_kg=0.2)
        late = delayed(nominal, 40.0)
        assert (late.action_latency_s, late.observation_latency_s, late.payload_kg) == (0.02, 0.02, 0.2)
        assert delayed(nominal, None) == nominal

    def test_a_simulated_robot_gets_it_and_others_refuse(self):
        robot = load_robot("minitaur", 0, latency_ms=80.0)
        try:
            assert robot.dynamics.action_latency_s == robot.dynamics.observation_latency_s == 0.04
        finally:
            robot.close()
        with pytest.raises(ValueError, match=r"gym:Pendulum-v1 has no such setting"):
            load_robot("gym:Pendulum-v1", 0, latency_ms=80.0)
        with pytest.raises(ValueError, match="never reset but by a person"):
            load_robot("minitaur", 0, reset_free=True)
