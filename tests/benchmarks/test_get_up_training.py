"""The program that learns to get up: it ends with a policy and a page about it, and keeps to what it says."""

import json

import numpy as np
import pytest

from benchmarks import get_up
from benchmarks.get_up import DT_S, Floor, Scripted, learn
from skills.decisions import DecisionController
from skills.get_up import GettingUp
from skills.policy import PolicyWeights
from skills.pose_control import BODY, PoseActuator


@pytest.fixture
def library(tmp_path, monkeypatch):
    for name in ("SCRIPTED_ATTEMPTS", "EVALUATED_POSES", "JUDGED_POSES"):
        monkeypatch.setattr(get_up, name, 1)
    monkeypatch.setattr(get_up, "policy_path", lambda robot: tmp_path / f"{robot}-get_up.safetensors")
    return tmp_path


def test_a_short_training_ends_with_a_policy_and_its_page(library):
    page = learn("a1", seed=0, attempts=2)
    weights = PolicyWeights.from_bytes((library / "a1-get_up.safetensors").read_bytes())
    assert weights.action_width == 12
    assert page == json.loads((library / "a1-get_up.json").read_text())
    assert (page["attempts"], page["robot_s"], page["updates"]) == (2, 10.0, 500)
    assert {kind: found["poses"] for kind, found in page["evaluation"].items()} == {
        "nominal": 1,
        "held_out": 1,
        "one_weak_motor": 1,
    }


def test_the_script_stands_up_through_the_actuator_of_the_policy():
    floor, stood, rng = Floor("a1", 0), 0, np.random.default_rng(0)
    for _ in range(4):
        floor.evaluate(rng, weak=False, held_out=False)
        script = DecisionController(
            BODY,
            PoseActuator(floor.spec, DT_S),
            Scripted(floor.spec),
            GettingUp(floor.spec).prior_action(floor.spec),
            decimation=get_up.DECIMATION,
        )
        # Nothing else tells the script's stand: the robot does.
        floor.attempt(script)
        stood += floor.robot.truth().up_z > 0.95 and floor.robot.truth().base_position[2] > 0.25
    assert stood >= 3


def test_a_weak_motor_is_weak_and_the_next_pose_has_it_no_more():
    floor, rng = Floor("minitaur", 0), np.random.default_rng(0)
    floor.evaluate(rng, weak=True, held_out=False)
    assert sorted(floor.robot.dynamics.motor_strength) == [0.5, *[1.0] * 7]
    floor.evaluate(rng, weak=False, held_out=False)
    assert set(floor.robot.dynamics.motor_strength) == {1.0}
