"""Comparison with other libraries: where curves stay above a level, and that all learn in the same environments."""

import json
import math
import os

import gymnasium
import numpy as np
import pytest

from benchmarks import _baselines, peers
from benchmarks._baselines import evaluate
from benchmarks.peers import TASKS, compare, conclude, end_of, our_learning_curve, steps_to_stay, variants

RISING = [(0, -10.0), (100, 0.0), (200, 5.0), (300, 4.0), (400, 8.0)]


@pytest.mark.parametrize(
    ("level", "steps"),
    [(-10.0, 0), (-5.0, 100), (4.0, 200), (4.5, 400), (8.0, 400), (8.1, math.inf)],
)
def test_a_level_counts_from_where_no_later_evaluation_is_below(level, steps):
    assert steps_to_stay(RISING, level) == steps


def test_a_dip_in_the_last_evaluation_does_not_lower_what_is_to_be_reached():
    # Of 0, 10, 10 and -500, the middle two are 0 and 10; what came before does not count.
    assert end_of([(0, 99.0), (1, 0.0), (2, 10.0), (3, 10.0), (4, -500.0)]) == 5.0


def test_comparison_by_hand(monkeypatch):
    monkeypatch.setattr(peers, "LAST", 1)
    ours = [[(0, -10.0), (100, 9.0), (200, 12.0)], [(0, -10.0), (100, 10.0), (200, 10.0)]]
    theirs = [[(0, -10.0), (100, 0.0), (200, 10.0)]] * 2
    figures = compare(ours, theirs)
    assert (figures["budget"], figures["their_return"]) == (200, 10.0)
    # One seed is there after 200 steps and one after 100; nearly there, at 9, both are after 100.
    assert figures["there"]["level"] == 10.0
    assert figures["there"]["our_steps"]["iqm"] == 150.0
    assert figures["there"]["of_budget"] == figures["there"]["of_theirs"] == 0.75
    assert figures["there"]["their_steps"] == 200.0
    assert figures["nearly"]["level"] == 9.0
    assert figures["nearly"]["of_budget"] == 0.5


def test_summary_compares_only_what_both_have_run(monkeypatch):
    monkeypatch.setattr(peers, "LAST", 1)
    run = {"curve": [[0, 0.0], [10, 1.0]]}
    better = {"curve": [[0, 0.0], [10, 2.0]]}
    cells = {"pendulum.ours": [better], "pendulum.sb3-sac": [run], "minitaur.sb3-sac": [run]}
    out = conclude(cells)
    assert list(out["ours"]["sb3-sac"]["tasks"]) == ["pendulum"]
    assert out["ours"]["sb3-sac"]["probability_of_improvement"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert out["ours"]["sbx-droq"] == out["ours-daemon"]["sb3-sac"] == {"tasks": {}}


def test_all_learners_of_a_task_have_one_budget_and_one_width():
    for name, task in TASKS.items():
        cells = [settings for variant, settings in variants().items() if variant.startswith(f"{name}.")]
        assert len(cells) == 5
        assert {(c["task"], c["steps"], c["every"], c["episodes"]) for c in cells} == {
            (task.env, task.steps, task.every, peers.EPISODES)
        }
        assert task.steps % task.every == 0
        widths = [
            given.get("hidden") or given.get("learner.hidden") or given["policy_kwargs"]["net_arch"]
            for given in (c["settings"] for c in cells)
        ]
        assert widths == [[task.width, task.width]] * 5


def test_evaluation_starts_are_the_same_each_time_and_for_all():
    env = gymnasium.make("Pendulum-v1")
    env.reset(seed=5)
    first = evaluate(env, lambda obs: np.zeros(1), 2)
    assert first == evaluate(gymnasium.make("Pendulum-v1"), lambda obs: np.zeros(1), 2)


def test_our_curve_has_an_evaluation_before_learning_and_at_each_due_step():
    settings = {"hidden": [8, 8], "batch": 16, "updates_per_step": 0.5}
    arguments = {"task": "Pendulum-v1", "settings": settings, "steps": 240, "every": 120, "episodes": 1}
    curve = our_learning_curve(**arguments, seed=0)
    assert [steps for steps, _ in curve] == [0, 120, 240]
    assert len({value for _, value in curve}) == 3
    assert curve == our_learning_curve(**arguments, seed=0)


def test_in_the_daemon_a_policy_counts_for_the_steps_that_were_made_before_it():
    settings = {**peers.IN_DAEMON, "learner.hidden": [8, 8], "learner.updates_per_step": 0.1}
    facts = peers.daemon_learning_curve("Pendulum-v1", settings, steps=600, every=200, episodes=1, seed=0)
    # So short a run may end before its first policies were looked at.
    assert {600} <= {steps for steps, _ in facts["curve"]} <= {200, 400, 600}
    assert facts["interventions"] == 0
    # Steps are 0.05 s long; the resets between the attempts take time as well.
    assert 0.5 < facts["robot_min"] < 0.5 * peers.MARGIN


def test_actions_reach_the_bounds_of_the_environment():
    run = peers._Ours("Pendulum-v1", {"hidden": [8, 8]}, 100, 0)
    assert peers.to_env(run.env, np.array([-1.0])) == pytest.approx([-2.0])
    assert peers.to_env(run.env, np.array([0.5])) == pytest.approx([1.0])
    assert peers.from_env(run.env, np.array([1.0])) == pytest.approx([0.5])
    run.segment(7)
    stored = run.replay.sample(np.random.default_rng(0), 64).action
    assert len(run.replay) == run.steps == 7
    assert np.abs(stored).max() <= 1.0


def test_without_sbx_the_reason_says_what_to_do(monkeypatch):
    monkeypatch.setattr(_baselines, "sbx_python", lambda: None)
    with pytest.raises(RuntimeError, match="--sbx-python"), _baselines.sbx_updates(3, 1, 0, 1):
        pass


def test_the_other_interpreter_is_asked_line_by_line(monkeypatch, tmp_path):
    interpreter = tmp_path / "python"
    interpreter.write_text(
        '#!/bin/sh\nread subject\necho null\nread calls\necho "[$calls, $OMP_NUM_THREADS]"\nexit 3\n'
    )
    interpreter.chmod(0o755)
    monkeypatch.setenv("SBX_PYTHON", os.fspath(interpreter))
    with _baselines.sbx_updates(3, 1, 0, 2) as ask:
        assert ask(5) == [5, 2]
        with pytest.raises(RuntimeError, match="ended with 3 when asked 'versions'"):
            ask("versions")


def test_settings_are_what_json_can_hold():
    assert json.loads(json.dumps(variants())) == variants()
