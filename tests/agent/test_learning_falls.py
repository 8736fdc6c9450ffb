"""How stored attempts come to the fall predictor: what counts as a fall, and what nobody knows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_spec, observation
from learner_kit import learner_job

from agent.learning import Studies, attempt_arrays, walks
from persistence.episodes import Episode, write_episode
from persistence.home import Home
from sim.robot import FrameLayout
from skills.experience import experience
from skills.gait import GAIT
from skills.registry import get

SPEC = replace(fake_spec(), mass_kg=10.0)
STEP_S = 0.04
LEAN_RAD = 0.5


def episode(
    tilts_rad: list[float], caught: tuple[int, ...] = (), number: int = 1, end_m: tuple[float, float] = (0.0, 0.0)
) -> Episode:
    """An attempt with these tilts, one for each reading, in the middle but for the last one."""
    layout, steps = FrameLayout.of(SPEC), len(tilts_rad) - 1
    stamps = STEP_S * np.arange(steps + 1)
    seen = [observation(s, tilt_rad=t) for s, t in zip(stamps, tilts_rad, strict=True)]
    seen[-1] = replace(seen[-1], base_position=np.array((*end_m, 0.2)))
    frames = np.stack([layout.pack(each) for each in seen])
    actions = np.zeros((steps, GAIT.action_size(SPEC)), np.float32)
    return Episode(
        uid=f"attempt-{number:08d}",
        skill="walk_forward",
        action_space="walk",
        policy_version="1",
        frames=frames,
        stamps=stamps,
        actions=actions,
        proposed=actions,
        resting=actions[0],
        phase=np.zeros(steps + 1, np.float32),
        terminated=False,
        caught=caught,
    )


def stretches(one: Episode) -> list[tuple[int, int, float | None]]:
    """First and last reading, and fall, of each stretch."""
    steps = experience(SPEC, [get("walk_forward")], attempt_arrays(one))
    found = walks(SPEC, one, steps, LEAN_RAD)
    return [(round(w.stamps_s[0] / STEP_S), round(w.stamps_s[-1] / STEP_S), w.fell_s) for w in found]


def test_an_attempt_without_a_fall_is_one_stretch():
    assert stretches(episode([0.1] * 6)) == [(0, 5, None)]


def test_one_that_ends_in_a_fall_ends_there():
    assert stretches(episode([0.1, 0.2, 0.8, 1.5, 1.5])) == [(0, 3, pytest.approx(3 * STEP_S))]


def test_one_that_is_over_because_it_was_done_is_no_fall():
    """Whoever goes to one place alone is done, for all skills there are, once there."""
    skill = get("go_to_01")
    for tilt_rad, end_m, fell_s in ((0.1, skill.place_m, None), (1.5, (0.0, 0.0), pytest.approx(2 * STEP_S))):
        one = episode([0.1, 0.1, tilt_rad], end_m=end_m)
        steps = experience(SPEC, [skill], attempt_arrays(one))
        assert steps.terminated.all(axis=1).tolist() == [False, True]
        assert [walk.fell_s for walk in walks(SPEC, one, steps, LEAN_RAD)] == [fell_s]


def test_a_catch_that_a_lean_began_counts_as_a_fall_and_one_that_an_alarm_began_does_not():
    tilts = [0.1, 0.3, 0.6, 0.1, 0.1, 0.2, 0.1, 0.1]
    assert stretches(episode(tilts, caught=(2, 5))) == [(0, 2, pytest.approx(2 * STEP_S)), (3, 5, None), (6, 7, None)]


def test_a_catch_at_the_first_or_the_last_step_leaves_nothing_before_or_behind_it():
    assert stretches(episode([0.6, 0.1, 0.1], caught=(0,))) == [(1, 2, None)]
    assert stretches(episode([0.1, 0.1, 0.6, 0.1], caught=(2,))) == [(0, 2, pytest.approx(2 * STEP_S))]


def test_every_stored_attempt_is_learned_from(tmp_path):
    home = Home(tmp_path / "home").prepare()
    studies = Studies(learner_job(tmp_path, tmp_path, spec=SPEC, harm_lean_rad=LEAN_RAD, false_alarms_per_min=10.0))
    rng = np.random.default_rng(0)
    for number in range(40):
        rocking = rng.normal(0.0, 0.1, 100)
        if number % 2:
            rocking[-25:] += np.linspace(0.0, math.pi / 2, 25)
        path = home.episodes / write_episode(home, episode(list(rocking), number=number)).name
        assert studies.ingest(path) is not None
    assert studies.falls is not None
    figures = studies.falls.update(200)
    assert 0.0 < figures["fall_threshold"] < 1.0
    assert figures["fall_loss"] < 0.3


def test_nothing_is_learned_of_falls_unless_that_is_wanted(tmp_path):
    assert Studies(learner_job(tmp_path, tmp_path)).falls is None
