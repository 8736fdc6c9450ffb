"""The zoo fits the robots and skills of this version, and says where it comes from."""

import json

import numpy as np
import pytest

from agent.config import Config
from agent.policies import ZOO, find_policy, zoo_directory, zoo_settings
from agent.robots import load_robot
from persistence.checkpoints import load_newest
from skills.registry import get, learned, skills

ENTRIES = sorted(path.name for path in ZOO.iterdir() if path.is_dir())


def test_there_is_something_in_it():
    assert set(ENTRIES) >= {"minitaur-walk", "a1-walk", "a1_lying-body"}


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_entry_fits_its_robot_and_is_whole(entry, tmp_path):
    directory = ZOO / entry
    about = json.loads((directory / "about.json").read_text(encoding="utf-8"))
    assert entry == f"{about['robot']}-{about['family']}"
    newest = load_newest(directory)
    assert newest is not None
    assert not newest.refused
    settings = Config.load(None, zoo_settings(about["robot"], about["family"]))
    by_study = about["command"].startswith("python -m benchmarks.")  # which has settings of its own
    assert by_study or all(f"--set {name}=" in about["command"] for name in about["settings"])
    before = about.get("learned_on_from")
    assert (before is not None) is ("--start zoo" in about["command"])
    assert before is None or before["policy_version"] < about["policy_version"]
    robot = load_robot(about["robot"], 0)
    try:
        for skill in learned(skills(), about["family"]):
            if skill.on_request and skill.name not in about["evaluation"]:
                continue
            policy = find_policy("zoo", about["robot"], skill, tmp_path)
            assert policy.finite
            assert policy.obs_width == settings.learner.history * skill.family.feature_size(robot.spec)
            assert policy.action_width == skill.family.action_size(robot.spec)
    finally:
        robot.close()


def test_a_robot_that_is_not_in_the_zoo_is_refused_with_what_is():
    with pytest.raises(ValueError, match=r"no 'gym' policy for 'gym:X' .*minitaur-walk.*perdure run"):
        zoo_directory("gym:X", "gym")


def test_a_policy_of_one_skill_alone_goes_before_the_familys(tmp_path):
    from agent.policies import policy_bytes

    tensors = {"policy": np.array([1], np.uint8), "policy.turn_left": np.array([2], np.uint8)}
    assert policy_bytes(tensors, "turn_left") == b"\x02"
    assert policy_bytes(tensors, get("turn_right").name) == b"\x01"
    assert policy_bytes({}, "turn_left") is None
