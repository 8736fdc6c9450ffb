"""Getting up by a learned policy: the reward by hand, and what the library's policies do from fallen poses."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_spec

from agent.robots import load_robot
from agent.safety import ActionGate
from sim.a1 import a1_spec
from sim.minitaur import minitaur_spec
from sim.robot import FrameLayout, Frames, Transition
from skills.get_up import GettingUp, GetUp, policy_path
from skills.policy import PolicyWeights
from skills.pose_control import BODY
from skills.registry import get
from skills.skill import Progress

SPEC = a1_spec()
LAYOUT = FrameLayout.of(SPEC)
DT_S = 0.02
SPECS = pytest.mark.parametrize("spec", [SPEC], ids=lambda spec: spec.name)
"""Robots that the library has a policy for."""


def reward(*, joints_off=0.0, roll=0.0, rate=0.0, change=0.0):
    """The terms of one step that ends like this."""
    frame, place = np.zeros(LAYOUT.width), LAYOUT.slices()
    frame[place["joint_position"]] = SPEC.stand_position_rad + joints_off
    frame[place["orientation_xyzw"]] = (math.sin(roll / 2), 0.0, 0.0, math.cos(roll / 2))
    frame[place["angular_velocity"]] = (0.0, rate, 0.0)
    frames, action = Frames(frame[None], LAYOUT), np.zeros((1, 12))
    step = Transition(frames, action + change, action, frames, np.array([0.04]))
    return {name: float(term[0]) for name, term in GettingUp(SPEC).reward_terms(step).items()}


class TestReward:
    def test_standing_still_is_all_there_is_to_earn(self):
        assert reward() == pytest.approx({"upright": 0.3, "stance": 0.4, "still": 0.3, "change": 0.0})

    def test_on_its_back_it_earns_nothing(self):
        assert reward(roll=math.pi) == pytest.approx({"upright": 0.0, "stance": 0.0, "still": 0.0, "change": 0.0})

    def test_the_stance_counts_from_36_degrees_on_and_stillness_from_the_stance_on(self):
        # (1 + cos 37) / 2 = 0.8993, (1 + cos 36) / 2 = 0.9045.
        assert reward(roll=math.radians(37.0))["stance"] == 0.0
        assert reward(roll=math.radians(36.0))["stance"] == pytest.approx(0.4)
        assert reward(joints_off=0.25)["stance"] == pytest.approx(0.3)
        assert reward(joints_off=0.25)["still"] == pytest.approx(0.3)
        assert reward(joints_off=0.35)["still"] == 0.0
        assert reward(joints_off=5.0)["stance"] == 0.0

    def test_shaking_and_hasty_actions_cost(self):
        assert reward(rate=0.5)["still"] == pytest.approx(0.225)
        assert reward(rate=-9.0)["still"] == 0.0
        assert reward(change=2.0)["change"] == pytest.approx(-0.08)

    def test_it_never_ends_and_needs_no_tracker(self):
        frames = Frames(np.zeros((3, LAYOUT.width)), LAYOUT)
        steps = Transition(frames, np.zeros((3, 12)), np.zeros((3, 12)), frames, np.full(3, 0.04))
        assert not GettingUp(SPEC).terminated(steps).any()
        assert GettingUp(SPEC).trusted(steps).all()


class TestLibrary:
    @SPECS
    def test_a_policy_fits_its_robot_and_says_where_it_comes_from(self, spec):
        data = policy_path(spec.name).read_bytes()
        weights = PolicyWeights.from_bytes(data)
        assert weights.finite
        assert weights.obs_width % BODY.feature_size(spec) == 0
        assert (weights.command_width, weights.action_width) == (0, BODY.action_size(spec))
        page = json.loads(policy_path(spec.name).with_suffix(".json").read_text())
        assert page["robot"] == spec.name
        assert page["command"].startswith(f"python -m benchmarks.get_up --robot {spec.name}")
        assert set(page["evaluation"]) == {"nominal", "held_out", "one_weak_motor"}

    def test_a_robot_without_one_is_refused_with_how_to_get_one(self):
        assert GetUp().problem(SPEC) is None
        for spec in (fake_spec(), minitaur_spec()):
            assert "python -m benchmarks.get_up" in GetUp().problem(spec)

    def test_a_damaged_one_is_a_problem_before_the_run_and_no_crash_at_a_fall(self, tmp_path, monkeypatch):
        whole = policy_path("a1").read_bytes()
        monkeypatch.setattr("skills.get_up.LIBRARY", tmp_path)
        (tmp_path / "torn-get_up.safetensors").write_bytes(whole[:-9])
        assert "is damaged" in GetUp().problem(replace(SPEC, name="torn"))

    @SPECS
    def test_it_stands_up_from_most_fallen_poses(self, spec):
        stood, rng = 0, np.random.default_rng(3)
        with load_robot(spec.name, 0) as robot:
            sequence = 0
            for _ in range(5):
                robot.place(robot.random_fallen_pose(rng))
                controller, gate = get("get_up").controller(spec, DT_S), ActionGate(spec, DT_S)
                observation, end_s = robot.read(), robot.time_s + GetUp.horizon_s
                controller.start(observation)
                while robot.time_s < end_s:
                    sequence += 1
                    command = gate.filter(controller.act(observation), observation)
                    robot.write(replace(command, sequence=sequence))
                    robot.step(DT_S)
                    observation = robot.read()
                    if controller.progress(observation) is Progress.SUCCEEDED:
                        break
                stood += robot.truth().up_z > 0.95 and robot.truth().base_position[2] > 0.8 * spec.stand_height_m
        assert stood >= 4
