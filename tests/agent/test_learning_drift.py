"""How stored attempts come to what a robot is expected to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import N_JOINTS, fake_spec, observation
from learner_kit import learner_job

from agent.learner_messages import DRIFT, FALLS
from agent.learning import Studies
from meta.drift_monitor import Condition
from meta.robot_steps import CHECKS
from persistence.episodes import Episode, write_episode
from persistence.home import Home
from sim.robot import FrameLayout
from skills.gait import GAIT

SPEC = replace(fake_spec(), mass_kg=10.0)
STEP_S = 0.04


def attempt(home: Home, number: int, steps: int = 200, **changes) -> Path:
    """A robot on its feet whose joints shake."""
    rng, layout = np.random.default_rng(number), FrameLayout.of(SPEC)
    seen = [
        replace(
            observation(STEP_S * k), joint_velocity=rng.standard_normal(N_JOINTS), angular_velocity=rng.normal(size=3)
        )
        for k in range(steps + 1)
    ]
    actions = rng.uniform(-1.0, 1.0, (steps, GAIT.action_size(SPEC))).astype(np.float32)
    fields = {
        "uid": f"attempt-{number:08d}",
        "skill": "walk_forward",
        "action_space": "walk",
        "policy_version": "1",
        "frames": np.stack([layout.pack(each) for each in seen]),
        "stamps": STEP_S * np.arange(steps + 1),
        "actions": actions,
        "proposed": actions,
        "resting": actions[0],
        "phase": np.zeros(steps + 1, np.float32),
        "terminated": False,
    }
    return home.episodes / write_episode(home, Episode(**fields | changes)).name


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home").prepare()


def studies(tmp_path, **changes) -> Studies:
    return Studies(learner_job(tmp_path, tmp_path, spec=SPEC, watch_drift=True, **changes))


def heard(made: Studies):
    """Attempts that it is learned from what to expect."""
    out = []
    made.drift.add = out.append
    return out


def test_after_enough_attempts_there_is_an_expectation(tmp_path, home):
    made = studies(tmp_path)
    for number in range(40):
        assert made.ingest(attempt(home, number, steps=600)) is not None
        for learner, updates in made.by_attempt:
            learner.update(updates)
    expectation = made.beside[DRIFT].snapshot()
    assert expectation.version == 40
    assert expectation.finite
    assert {each.channels for each in expectation.calibrations} == {1 + 7 * N_JOINTS + CHECKS}


def test_a_changed_robot_teaches_the_policy_and_not_what_to_expect(tmp_path, home):
    made = studies(tmp_path)
    seen = heard(made)
    assert made.ingest(attempt(home, 1), Condition.CHANGED) is not None
    assert made.buffer.steps_added == 200
    assert not seen
    made.ingest(attempt(home, 2, evaluation=True))  # it is not watched, either
    made.ingest(attempt(home, 4, skill="return_home"))
    assert not seen
    made.ingest(attempt(home, 3))
    assert [each.attempt for each in seen] == [1]


def test_what_was_known_to_have_drifted_is_told_of_an_attempt(tmp_path, home):
    made = studies(tmp_path)
    usual, known = made.ingest(attempt(home, 1)), made.ingest(attempt(home, 2, known_drift="weak"), Condition.CHANGED)
    assert (usual.known_drift, usual.changed) == ("", False)
    assert (known.known_drift, known.changed) == ("weak", True)


@pytest.mark.parametrize(
    ("changes", "searched"),
    [
        ({"search_offsets": True}, True),
        ({}, False),
        ({"search_offsets": True, "algorithm": "ars"}, False),
        ({"search_offsets": True, "algorithm": "offsets"}, False),
        ({"search_offsets": True, "population": ({"hidden": (16,), "batch": 16},)}, False),
    ],
)
def test_offsets_are_searched_for_where_one_learner_goes_by_gradients(tmp_path, changes, searched):
    assert (Studies(learner_job(tmp_path, tmp_path, **changes)).offsets is not None) is searched


def test_what_happened_during_a_catch_and_after_a_fall_is_left_out(tmp_path, home):
    made = studies(tmp_path)
    seen = heard(made)
    made.ingest(attempt(home, 1, steps=20, caught=(7,)))
    assert np.flatnonzero(~seen[0].valid).tolist() == [7]
    layout = FrameLayout.of(SPEC)
    frames = np.stack([layout.pack(observation(STEP_S * k, tilt_rad=1.5 * (k > 10))) for k in range(21)])
    made.ingest(attempt(home, 2, steps=20, frames=frames))
    assert len(seen[1].actions) == 11


def test_nothing_is_learned_unless_that_is_wanted_and_the_robot_has_feet(tmp_path):
    made = Studies(learner_job(tmp_path, tmp_path))
    assert made.drift is None
    assert set(made.beside) == set()
    assert set(studies(tmp_path, false_alarms_per_min=1.0).beside) == {DRIFT, FALLS}
