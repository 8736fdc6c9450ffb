"""What is said of skills that do not keep what a skill promises; and that the built-in ones do."""

from types import SimpleNamespace

import pytest

from agent import skill_check, skill_trial
from agent.skill_check import check
from agent.skill_template import write_template
from agent.skill_trial import TRIES
from skills.registry import skills

REWARD = "        ahead_mps, left_mps, turn_radps = np.moveaxis"
POTENTIAL = "    def potential(self, frames):\n        return frames.up\n\n"
BAD = {
    "raises": (REWARD, "        missing()\n" + REWARD, "reward_terms", "NameError"),
    "hangs": (REWARD, "        while True:\n            pass\n" + REWARD, "reward_terms", "takes longer"),
    "is no number": ("return bool(ahead", "return float('nan') if step else bool(ahead", "success", "nan"),
    "has numbers that are none": ("0.5 * np.clip(ahead_mps", "np.sqrt(-9.0) * np.clip(ahead_mps", "'ahead'", "finite"),
    "has the wrong shape": ("np.clip(turn_radps", "np.clip(turn_radps[..., None]", "'turning'", "shape"),
    "takes all memory": (REWARD, "        np.ones(1 << 33)\n" + REWARD, "reward_terms", "memory"),
    "ends the process": (REWARD, "        __import__('os')._exit(3)\n" + REWARD, "reward_terms", "code 3"),
    "exits as it is loaded": ("\nclass ", "\nraise SystemExit(4)\nclass ", "loading", "SystemExit: 4"),
    "is slow": (REWARD, "        __import__('time').sleep(0.3)\n" + REWARD, "reward_terms", "ms"),
    "has no time": ("horizon_s = 10.0", "horizon_s = -1", "horizon_s", "-1"),
    "is of no level": ("    horizon_s = 10.0", "    level = 2\n    horizon_s = 10.0", "level", "2"),
    "requires a word": ("    horizon_s = 10.0", "    requires = 'walk'\n    horizon_s = 10.0", "requires", "'walk'"),
    "has another one's name": ('name = "circle"', 'name = "walk_forward"', "name", "another skill"),
    "is no Python": ("SKILL = ", "SKILL == = ", "loading", "SyntaxError"),
    "brings nothing": ("SKILL = ", "NOTHING = ", "loading", "SKILL"),
    "changes what it is given": (REWARD, "        step.action[:] = 0.0\n" + REWARD, "reward_terms", "changes"),
    "throws dice": ("ahead_mps / 0.2", "ahead_mps / np.random.random()", "reward_terms", "second time"),
    "judges steps by others": ("ahead_mps / 0.2", "ahead_mps - ahead_mps.mean()", "reward_terms", "within its batch"),
    "starts where the robot never is": ("observation.tilt_rad < 0.4", "False", "start_problem", "it leans"),
    "promises vectors": ("    def terminated", POTENTIAL + "    def terminated", "'potential'", "shape"),
    "begins beyond its limits": ("= 0.0, 0.5", "= 2.0, 0.5", "prior_action", "shape"),
}


@pytest.fixture
def file(tmp_path):
    return write_template("circle", tmp_path)[0]


@pytest.mark.parametrize("name", BAD)
def test_what_a_bad_skill_does_is_named(file, name, monkeypatch):
    monkeypatch.setattr(skill_check, "STAGE_TIMEOUT_S", 5.0)
    before, after, where, what = BAD[name]
    text = file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, after))
    problems = check(file, "minitaur")
    assert problems
    assert where in problems[0].where
    assert what in problems[0].what
    assert problems[0].mend


def test_the_template_keeps_it_on_both_walkers(file):
    assert check(file, "minitaur") == []
    assert check(file, "a1") == []


@pytest.mark.parametrize(
    ("name", "robot"),
    [
        ("walk_forward", "a1"),
        ("stand_up", "minitaur"),
        ("return_home", "minitaur"),
        ("carry_out", "kuka"),
        ("rise_and_walk", "a1"),
        ("gym_task", "gym:Pendulum-v1"),
    ],
)
def test_the_built_in_ones_do(name, robot):
    assert name in skills()
    assert check(name, robot) == []


def test_a_robot_that_cannot_have_it_is_named(file):
    (problem,) = check(file, "gym:Pendulum-v1")
    assert (problem.skill, problem.where) == ("circle", "family")
    assert "four feet" in problem.what


@pytest.mark.parametrize(
    ("took_ms", "least_ms", "tries"),
    [([5.0], 5.0, 1), ([60.0, 90.0, 15.0], 15.0, 3), ([60.0] * TRIES, 60.0, TRIES), ([300.0], 300.0, 1)],
    ids=["fast", "held up by others", "slow", "slow by far"],
)
def test_only_what_is_slow_each_time_is_slow(took_ms, least_ms, tries, monkeypatch):
    now_ms, took = [0.0], iter(took_ms)

    def work():
        now_ms[0] += next(took)

    monkeypatch.setattr(skill_trial, "time", SimpleNamespace(perf_counter=lambda: 1e-3 * now_ms[0]))
    assert skill_trial._least_ms(work, 20.0) == pytest.approx(least_ms)
    assert len(list(took)) == len(took_ms) - tries
