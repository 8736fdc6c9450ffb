"""How stored attempts of an arm come to who learns from them: successes, losses, and what scripts advise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from goal_kit import door_goal
from learner_kit import learner_job

from agent.learning import Studies
from persistence.episodes import Episode, write_episode
from persistence.home import Home
from sim.kuka import kuka_spec
from sim.robot import FrameLayout, Frames
from skills.carry import GOAL_M, HOME_M, REACH_M
from skills.registry import get
from tests.skills.arm_readings import ON_TRAY_M, reading

SPEC = kuka_spec()
STEP_S = 0.1
STEPS = 20
BEYOND_M = (0.55, REACH_M[1][1] + 0.03)
SKILLS = ("carry_out", "carry_home")


def episode(skill, end_m, number=1):
    """An attempt in which the object goes from the middle to a place."""
    layout = FrameLayout.of(SPEC)
    ways = np.linspace((0.55, 0.0), end_m, STEPS + 1)
    actions = np.zeros((STEPS, 5), np.float32)
    return Episode(
        uid=f"attempt-{number:08d}",
        skill=skill,
        action_space="hand",
        policy_version="1",
        frames=np.stack([layout.pack(reading(thing=(*way, ON_TRAY_M, 0.0))) for way in ways]),
        stamps=STEP_S * np.arange(STEPS + 1),
        actions=actions,
        proposed=actions,
        resting=actions[0],
        phase=np.zeros(STEPS + 1, np.float32),
        terminated=False,
    )


def test_scripts_advise_every_skill_on_what_whoever_did(tmp_path):
    home = Home(tmp_path / "home").prepare()
    studies = Studies(learner_job(tmp_path, tmp_path, spec=SPEC, family="hand", skills=SKILLS))
    attempt = replace(episode("centre_object", GOAL_M), policy_version="3")
    studies.ingest(home.episodes / write_episode(home, attempt).name)
    drawn = studies.buffer.sample(np.random.default_rng(0), 50)
    frames = Frames(attempt.frames[:-1], FrameLayout.of(SPEC))
    wanted = np.hstack([get(name).script(SPEC)(frames) for name in SKILLS]).astype(np.float32)
    assert drawn.advised.all()
    assert (drawn.action == 0.0).all()
    assert {tuple(row) for row in drawn.advice} == {tuple(row) for row in wanted}


@pytest.fixture
def told(tmp_path):
    """What the critics are told of an attempt."""
    home = Home(tmp_path / "home").prepare()

    def ingest(skill, end_m, goals=(), version="1", cut_short=False):
        known = dict(goals)
        job = learner_job(tmp_path, tmp_path, spec=SPEC, family="hand", skills=SKILLS, hopeless_below=0.25, goals=known)
        studies, heard = Studies(job), []
        studies.undo.tried = lambda skill, features, success, by_script: heard.append(
            (skill, len(features), success, by_script)
        )
        studies.undo.lost = lambda skill, features: heard.append((skill, "lost"))
        told = replace(episode(skill, end_m), policy_version=version, cut_short=cut_short)
        studies.ingest(home.episodes / write_episode(home, told).name)
        return heard

    return ingest


def test_an_attempt_says_of_its_own_skill_whether_it_succeeded_from_there(told):
    assert told("carry_out", GOAL_M) == [("carry_out", STEPS, True, False)]


def test_one_that_ends_elsewhere_failed(told):
    assert told("carry_home", (0.6, 0.05), version="None") == [("carry_home", STEPS, False, True)]


def test_what_went_out_of_reach_is_lost_to_both(told):
    assert told("carry_home", BEYOND_M) == [
        ("carry_out", "lost"),
        ("carry_home", STEPS, False, False),
        ("carry_home", "lost"),
    ]


@pytest.mark.parametrize("open_from_m", [-1.0, 1.0])
def test_where_a_person_has_shown_the_goal_that_is_what_success_is(told, open_from_m):
    goals = {"carry_out": door_goal(open_from_m)}
    assert told("carry_out", GOAL_M, goals) == [("carry_out", STEPS, open_from_m < 0.0, False)]


def test_of_one_that_was_cut_short_nobody_knows(told):
    """Counted as failures, such attempts would make more of them."""
    assert told("carry_home", (0.6, 0.05), cut_short=True) == []


def test_a_script_of_another_purpose_is_no_attempt_of_theirs(told):
    assert told("centre_object", HOME_M) == []


@pytest.mark.parametrize(
    ("skill", "end_m", "cut_short", "calm"),
    [
        ("carry_home", (0.6, 0.05), False, 1),  # failed, but lost nothing
        ("carry_home", BEYOND_M, False, 0),
        ("carry_home", (0.6, 0.05), True, 0),
        ("centre_object", HOME_M, False, 0),  # no task, and so never ended early
    ],
)
def test_tasks_that_lost_nothing_say_how_many_may_be_ended(tmp_path, skill, end_m, cut_short, calm):
    home = Home(tmp_path / "home").prepare()
    studies = Studies(
        learner_job(tmp_path, tmp_path, spec=SPEC, family="hand", skills=SKILLS, hopeless_below=0.25, goals={})
    )
    heard = []
    studies.undo.passed = heard.append
    made = replace(episode(skill, end_m), cut_short=cut_short)
    studies.ingest(home.episodes / write_episode(home, made).name)
    assert [len(features) for features in heard] == [STEPS + 1] * calm


def test_nothing_is_learned_of_it_unless_that_is_wanted(tmp_path):
    assert Studies(learner_job(tmp_path, tmp_path, spec=SPEC, family="hand", skills=SKILLS)).undo is None
    assert Studies(learner_job(tmp_path, tmp_path, hopeless_below=0.25)).undo is None  # no walk undoes another
