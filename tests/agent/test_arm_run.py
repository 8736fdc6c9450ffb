"""The daemon with an arm: it takes turns between tasks that undo each other, and a person brings back what is lost."""

import json

import pytest

from agent import daemon
from agent.config import Config
from agent.daemon import run_daemon
from persistence.home import Home
from persistence.store import Store
from sim.kuka import make_kuka
from skills.carry import GOAL_M, HOME_M
from skills.slide import OPEN_M

ATTEMPTS = 3
OTHER = {"carry_out": "carry_home", "carry_home": "carry_out"}
CARRYING = tuple(OTHER)


def config(skills: tuple[str, ...] = CARRYING, perturb_share: float = 0.0) -> Config:
    return Config.load(
        None,
        {
            "run.robot": "kuka",
            "run.skills": list(skills),
            "run.speed": "max",
            "run.attempts": ATTEMPTS,
            "run.perturb_share": perturb_share,
            "learner.hidden": [16, 16],
            "learner.warmup_steps": 100_000,
            "person.delay_s": 1.0,
        },
    )


def rows(home, query):
    with Store.open(Home(home).db, read_only=True) as store:
        return [tuple(row.values()) for row in store.rows(query)]


@pytest.mark.parametrize(("zone", "wanted"), [(GOAL_M, "carry_home"), (HOME_M, "carry_out")])
def test_a_task_that_is_done_already_is_not_attempted(tmp_path, monkeypatch, zone, wanted):
    def load(name, seed, **_):
        arm = make_kuka(seed)
        arm.put_object(*zone)
        return arm

    monkeypatch.setattr(daemon, "load_robot", load)
    assert run_daemon(config(), tmp_path) == 0
    attempts = rows(tmp_path, "SELECT skill, outcome, policy_version, measures FROM attempts")
    assert attempts[0][0] == wanted
    assert all("off_m" in json.loads(measures) for *_, measures in attempts)
    # The first one is the script's, which undoes what was done; then only the other task is left to do.
    assert [version is None for *_, version, _ in attempts] == [True, True, False]
    assert [skill for skill, *_ in attempts[:2]] == [wanted, OTHER[wanted]]
    assert attempts[0][1] == "success"


def test_things_are_put_anywhere_between_tasks_and_the_run_goes_on(tmp_path):
    assert run_daemon(config((), perturb_share=0.9), tmp_path) == 0
    attempts = rows(tmp_path, "SELECT skill, outcome, policy_version FROM attempts")
    scattered = [attempt for attempt in attempts if attempt[0].startswith("scatter")]
    assert len(scattered) >= 2
    assert {outcome for _, outcome, _ in scattered} == {"success"}
    assert rows(tmp_path, "SELECT count(*) FROM interventions") == [(0,)]


def lose_the_object(monkeypatch):
    def load(name, seed, **_):
        arm = make_kuka(seed)
        arm.put_object(0.5, 0.7)
        arm.step(1.0)
        return arm

    monkeypatch.setattr(daemon, "load_robot", load)


def test_a_person_brings_back_an_object_that_has_fallen_off(tmp_path, monkeypatch):
    lose_the_object(monkeypatch)
    assert run_daemon(config(), tmp_path) == 0
    assert rows(tmp_path, "SELECT cause FROM interventions") == [("nothing_can_start",)]
    assert rows(tmp_path, "SELECT count(*) FROM attempts WHERE state = 'finished'") == [(ATTEMPTS,)]


def test_one_run_practises_two_pairs_of_tasks(tmp_path, monkeypatch):
    def load(name, seed, **_):
        arm = make_kuka(seed)
        arm.put_object(*GOAL_M)
        arm.put_door(OPEN_M)
        return arm

    monkeypatch.setattr(daemon, "load_robot", load)
    assert run_daemon(config(()), tmp_path) == 0
    attempts = [skill for (skill,) in rows(tmp_path, "SELECT skill FROM attempts ORDER BY id")]
    assert attempts[0] in {"carry_home", "slide_close"}
    assert {skill.split("_")[0] for skill in attempts} == {"carry", "slide"}


def test_a_person_is_called_for_a_lost_object_though_the_door_could_be_practised(tmp_path, monkeypatch):
    lose_the_object(monkeypatch)
    assert run_daemon(config(()), tmp_path) == 0
    # The door is there to be practised, but a person is called for the cube after the first attempt.
    first = rows(tmp_path, "SELECT skill, outcome, ended_s FROM attempts ORDER BY id")[0]
    assert (first[0].split("_")[0], first[1]) == ("slide", "success")
    ((cause, opened_s),) = rows(tmp_path, "SELECT cause, opened_s FROM interventions")
    assert cause == "task_cut_off"
    assert opened_s - first[2] < 5.0
