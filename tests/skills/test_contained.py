"""Skills that make mistakes: what the caller gets in their place, and that a good one is as it was."""

import signal
import threading
import time

import numpy as np
import pytest

from sim.minitaur import minitaur_spec
from sim.robot import CommandMode
from skills.contained import LIMIT_S, QUARANTINED, SLOW_CALLS, Mistake, TookTooLongError, contained, in_time, mistake_of
from skills.skill import Progress, ScriptedSkill, SkillKind
from skills.stand_up import StandUp
from skills.walk import WALKING_SKILLS, Walk
from tests.skills.readings import random_transition, reading

SPEC = minitaur_spec()
WALK = WALKING_SKILLS[0]
STEPS = random_transition(np.random.default_rng(0), 20)


def bad(**functions):
    """A walk some of whose functions are others, contained."""
    made = object.__new__(type("Bad", (Walk,), functions))
    made.__dict__.update(WALK.__dict__)
    return contained(made)


def fails(*_):
    raise RuntimeError("no")


def test_a_good_skill_is_as_it_was():
    same = contained(WALK)
    assert isinstance(same, Walk)
    assert (same.name, same.family, same.command) == (WALK.name, WALK.family, WALK.command)
    np.testing.assert_array_equal(same.reward(STEPS), WALK.reward(STEPS))
    np.testing.assert_array_equal(same.prior_action(SPEC), WALK.prior_action(SPEC))
    for name, cost in same.costs(STEPS, SPEC).items():
        np.testing.assert_array_equal(cost, WALK.costs(STEPS, SPEC)[name])
    assert same.measures(STEPS) == WALK.measures(STEPS)
    assert same.start_problem(reading()) is None
    assert mistake_of(same) is None
    assert mistake_of(WALK) is None


def test_a_potential_that_makes_no_sense_is_none():
    assert contained(WALK).potential(STEPS.frame) is None
    good = bad(potential=lambda skill, frames: frames.up[..., 2])
    np.testing.assert_allclose(good.potential(STEPS.frame), STEPS.frame.up[..., 2])
    for wrong in (lambda skill, frames: np.zeros(3), lambda skill, frames: np.full(len(frames), np.inf), fails):
        skill = bad(potential=wrong)
        assert skill.potential(STEPS.frame) is None
        assert mistake_of(skill).where == "potential"


def test_after_a_mistake_it_starts_nowhere_is_over_and_earns_nothing():
    skill = bad(success=fails)
    costs = list(skill.costs(STEPS, SPEC))
    assert skill.success(STEPS) is False
    assert mistake_of(skill) == Mistake(WALK.name, "success", "RuntimeError: no")
    assert (skill.start_problem(reading()), skill.over(reading())) == (QUARANTINED, QUARANTINED)
    assert skill.problem(SPEC) == QUARANTINED
    assert not skill.reward(STEPS).any()
    assert skill.reward(STEPS).shape == (len(STEPS),)
    assert skill.terminated(STEPS).all()
    assert skill.trusted(STEPS).all()  # or nobody of its family could learn
    assert list(skill.costs(STEPS, SPEC)) == costs
    assert (skill.lost(reading()), skill.measures(STEPS)) == (False, {})
    assert mistake_of(skill).where == "success"  # the first one is kept


@pytest.mark.parametrize(
    ("function", "gives"),
    [
        ("reward_terms", {"good": np.full(20, np.nan)}),
        ("reward_terms", {"good": np.zeros(19)}),
        ("reward_terms", 1.0),
        ("reward_terms", {}),
        ("terminated", np.zeros(20)),
        ("costs", {"hot": np.full(20, np.inf)}),
        ("measures", {"speed": "fast"}),
        ("success", 1),
        ("over", 3),
        ("prior_action", np.full(12, 2.0)),
        ("prior_action", np.zeros(3)),
    ],
)
def test_what_makes_no_sense_is_a_mistake(function, gives):
    skill = bad(**{function: lambda self, *_: gives})
    arguments = {"costs": (STEPS, SPEC), "prior_action": (SPEC,), "over": (reading(),)}.get(function, (STEPS,))
    found = getattr(skill, function)(*arguments)
    assert mistake_of(skill).where == function
    assert "ValueError" in mistake_of(skill).what
    if function == "prior_action":
        np.testing.assert_array_equal(found, np.zeros(12))


def test_what_takes_too_long_is_stopped_within_a_second():
    def hangs(self, observation):
        while True:
            pass

    skill, begun_s = bad(over=hangs), time.monotonic()
    assert skill.over(reading()) == QUARANTINED
    assert time.monotonic() - begun_s < 2.0 * LIMIT_S
    assert "took longer" in mistake_of(skill).what


def test_the_limit_holds_for_a_function_that_calls_others():
    def hangs(self, steps):
        self.terminated(steps)
        while True:
            pass

    skill, begun_s = bad(reward_terms=hangs), time.monotonic()
    assert not skill.reward(STEPS).any()
    assert time.monotonic() - begun_s < 2.0 * LIMIT_S
    assert mistake_of(skill).where == "reward_terms"


def test_what_is_slow_time_and_again_is_a_mistake_and_once_is_none():
    waits = iter([0.03, 0.0, *[0.03] * SLOW_CALLS])
    skill = bad(over=lambda self, observation: time.sleep(next(waits)))
    for _ in range(1 + SLOW_CALLS):
        assert skill.over(reading()) is None
        assert skill.start_problem(reading()) is None  # others may be fast
    assert skill.over(reading()) == QUARANTINED
    assert "in a row" in mistake_of(skill).what


def test_a_limit_leaves_no_alarm_behind_and_elsewhere_there_is_none():
    before, (before_s, _) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    with pytest.raises(TookTooLongError), in_time(0.05):
        time.sleep(1.0)
    with in_time(0.05):
        pass
    after_s, _ = signal.getitimer(signal.ITIMER_REAL)  # what was set by others goes on
    assert after_s <= before_s
    assert (after_s > 0.0) == (before_s > 0.0)
    assert signal.getsignal(signal.SIGALRM) is before

    def elsewhere():
        with in_time(0.01):
            time.sleep(0.05)
            done.append(True)

    done = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert done == [True]


class Script(ScriptedSkill):
    name, kind, summary, horizon_s = "script", SkillKind.RECOVERY, "a script", 1.0

    def __init__(self, where):
        self.where = where

    def controller(self, spec, dt_s):
        if self.where == "controller":
            raise RuntimeError("no")
        made = StandUp().controller(spec, dt_s)
        if self.where:
            setattr(made, self.where, fails)
        return made

    def success(self, transition):
        return True


@pytest.mark.parametrize("where", ["controller", "start", "act", "progress"])
def test_a_script_that_makes_a_mistake_damps_and_has_failed(where):
    skill = contained(Script(where))
    controller = skill.controller(SPEC, 0.02)
    controller.start(reading())
    first = controller.progress(reading())
    command = controller.act(reading())
    assert controller.progress(reading()) is Progress.FAILED
    assert first is Progress.FAILED or where == "act"
    assert command.mode is CommandMode.DAMPING
    assert command.target.shape == (SPEC.n_joints,)
    assert mistake_of(skill).where.endswith(where)


def test_a_good_script_runs():
    skill = contained(Script(""))
    controller = skill.controller(SPEC, 0.02)
    controller.start(reading())
    assert controller.act(reading()).target.shape == (SPEC.n_joints,)
    assert controller.progress(reading()) is Progress.RUNNING
    assert mistake_of(skill) is None
