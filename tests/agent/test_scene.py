"""Ways back to where a task can start: resets in turn, chains to a task that waits, a person where nothing helps."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from fakes import observation
from pilot_world import FakeSkill

from agent.abilities import Abilities
from agent.reset_graph import TRIES
from agent.scene import Scene
from agent.states import Limits, State
from persistence.passages import Passage, passages
from persistence.records import NOTHING_CAN_START, TASK_CUT_OFF
from sim.workspace import Workspace
from skills.skill import SkillKind as Kind

LIMITS = Limits()
ASTRAY_M = -0.5
"""Where only resets can start; the middle of the workspace is 0."""


class Placed(FakeSkill):
    """Can start only where the robot is between two places."""

    def __init__(self, name, kind, low_m, high_m) -> None:
        super().__init__(name, kind)
        self._low_m, self._high_m = low_m, high_m

    def start_problem(self, observation):
        return None if self._low_m <= observation.base_position[0] <= self._high_m else "not here"


def in_middle(name="task"):
    return Placed(name, Kind.TASK, -0.3, 0.3)


def anywhere(name):
    return Placed(name, Kind.TASK, -2.0, 2.0)


def centre(name="centre"):
    return Placed(name, Kind.RESET, -0.55, -0.3)


def names(made):
    return [name for (name,) in made.rows("SELECT skill FROM attempts ORDER BY id")]


def astray_after_first_attempt(made, back=("centre",)):
    """The first attempt leads astray; the skills ``back`` lead back."""
    led = []

    def script(robot):
        skill = made.pilot.practice.skill_name
        if made.state is State.ATTEMPT and not led:
            led.append(True)
            robot.x_m = ASTRAY_M
        if skill in back:
            robot.x_m = 0.0

    return script


def test_a_reset_brings_the_world_to_where_a_task_can_start(world):
    made = world(attempts=2, tasks=(in_middle(),), resets=(centre(),))
    made.run(astray_after_first_attempt(made))
    assert names(made) == ["task", "centre", "task"]
    assert made.in_order("ATTEMPT", "RESET", "STANDBY")
    assert made.rows("SELECT count(*) FROM interventions") == [(0,)]


def test_after_its_tries_another_reset_is_tried(world):
    made = world(attempts=2, tasks=(in_middle(),), resets=(centre("first"), centre("second")))
    made.run(astray_after_first_attempt(made, back=("second",)))
    tried = names(made)[1:-1]
    assert tried[-1] == "second"
    assert tried.count("first") <= LIMITS.reset_tries
    assert made.rows("SELECT count(*) FROM interventions") == [(0,)]


def test_a_person_comes_once_all_tries_of_all_resets_are_used_up(world):
    made = world(attempts=1, tasks=(in_middle(),), resets=(centre("first"), centre("second")))
    made.run(astray_after_first_attempt(made, back=()))
    assert sorted(names(made)[1:]) == sorted(["first", "second"] * LIMITS.reset_tries)
    assert made.rows("SELECT cause, class FROM interventions") == [("reset_failed", "assist")]


def test_where_nothing_can_start_a_person_is_called_and_it_is_remembered(world):
    made = world(attempts=2, tasks=(in_middle(),))
    made.run(astray_after_first_attempt(made))
    assert made.rows("SELECT cause, class FROM interventions") == [("arming_failed", "assist")]
    # A robot with legs may find its feet again, an arm cannot: nothing at all can start.
    made = world(attempts=2, tasks=(in_middle(),), stand_ups=())
    made.run(astray_after_first_attempt(made))
    assert made.rows("SELECT cause, class FROM interventions") == [(NOTHING_CAN_START, "assist")]
    found = made.writer.submit(passages).result()
    assert [(passage.skill, passage.after) for passage in found] == [("task", frozenset())]


def test_for_a_task_that_has_waited_long_a_detour_is_made(world):
    """One task can always start, the other not from here: it must not starve."""
    always, rare = anywhere("always"), in_middle("rare")
    rare.undone_by = "always"  # else it would be reset at once
    made = world(attempts=40, tasks=(always, rare), resets=(centre(),))

    def script(robot):
        skill = made.pilot.practice.skill_name
        if skill == "centre":
            robot.x_m = 0.0
        elif skill == "always":
            robot.x_m = ASTRAY_M

    made.run(script)
    tried = names(made)
    assert "rare" in tried
    assert all(
        tried[number - 1] in ("centre", "rare") for number, name in enumerate(tried) if name == "rare" and number > 0
    )
    assert tried.count("always") > tried.count("centre")


@pytest.mark.parametrize("helps", [True, False])
def test_where_a_reset_can_start_no_task_begins_that_could_not_be_undone(helps):
    task = in_middle()
    task.undone_by = "back"
    reset = Placed("centre", Kind.RESET, -0.3 if helps else -2.0, -0.1 if helps else -1.0)
    scene = Scene(
        Abilities(tasks=(task,), resets=(reset,), stand_ups=()),
        Workspace(),
        hopeless=lambda reading: frozenset({"back"} if reading.base_position[0] < -0.1 else ()),
    )
    assert scene.situation(observation(x_m=0.0)) == {"task"}
    assert scene.situation(observation(x_m=-0.2)) == ({"centre"} if helps else {"task"})


def test_what_says_that_it_is_nearly_lost_is_as_hopeless_as_what_was_learned():
    near, far = anywhere("near"), anywhere("far")
    near.nearly_lost = lambda before, now: before.base_position[0] < now.base_position[0] > 0.5
    scene = Scene(
        Abilities(tasks=(near, far), resets=(), stand_ups=()),
        Workspace(),
        hopeless=lambda reading: frozenset({"far"} if reading.base_position[0] > 0.7 else ()),
    )
    begun = observation(x_m=0.0)
    assert [scene.hopeless(begun, observation(x_m=x)) for x in (0.0, 0.6, 0.8)] == [set(), {"near"}, {"near", "far"}]
    assert scene.hopeless(observation(x_m=0.8), observation(x_m=0.8)) == {"far"}
    deaf = Scene(Abilities(tasks=(near, far), resets=(), stand_ups=()), Workspace(), heeds_skills=False)
    assert deaf.hopeless(begun, observation(x_m=0.8)) == set()


def test_tasks_go_no_further_than_the_scene_says_and_resets_as_far_as_they_like(world):
    made = world(attempts=2, tasks=(in_middle(),), resets=(centre(),))
    runner, watched = made.pilot.practice._runner, {}
    run = runner.run

    def spy(skill, controller, *, hopeless, **rest):
        watched[skill.name] = hopeless
        return run(skill, controller, hopeless=hopeless, **rest)

    runner.run = spy
    made.run(astray_after_first_attempt(made))
    assert watched == {"task": made.pilot.practice._scene.hopeless, "centre": None}


def test_a_pair_that_can_start_neither_way_is_reset_at_once_whatever_else_can_start(world):
    there, back = in_middle("there"), Placed("back", Kind.TASK, 0.3, 1.0)
    there.undone_by, back.undone_by = "back", "there"
    made = world(attempts=4, tasks=(anywhere("always"), there, back), resets=(centre(),))
    made.run(astray_after_first_attempt(made))
    assert names(made)[1] == "centre"
    assert names(made).count("centre") == 1  # in the middle one of the pair can start


def test_a_pair_that_another_task_leads_to_needs_no_reset():
    """Two ramps, each with a way up and a way down, and walks from one to the other."""
    up, down = Placed("up", Kind.TASK, 0.5, 1.0), Placed("down", Kind.TASK, 0.5, 1.0)
    up.undone_by, down.undone_by = "down", "up"
    abilities = Abilities(tasks=(anywhere("walk"), up, down), resets=(centre(),), stand_ups=())
    here, there = frozenset({"walk", "centre"}), frozenset({"walk", "up", "down"})
    known = [Passage(skill="walk", before=here, after=there, took_s=5.0)]
    for tried, stranded in (([], {"up", "down"}), (known, set())):
        scene = Scene(abilities, Workspace(), tried)
        assert scene.situation(observation(x_m=ASTRAY_M)) == here
        assert scene.stranded(here) == stranded
        assert scene.reset_for(here, scene.stranded(here), ["centre"]) == ("centre" if stranded else None)


def test_what_is_where_a_person_wants_it_need_not_be_brought_there():
    reached = SimpleNamespace(reached=lambda reading: reading.base_position[0] < -0.1)
    tasks = (anywhere("shown"), anywhere("other"))
    scene = Scene(Abilities(tasks=tasks, resets=(), stand_ups=(), goals={"shown": reached}), Workspace())
    assert scene.situation(observation(x_m=0.0)) == {"shown", "other"}
    assert scene.situation(observation(x_m=-0.2)) == {"other"}


def test_what_could_start_is_in_the_books_of_each_attempt(world):
    made = world(attempts=2, tasks=(anywhere("always"), in_middle("rare")), resets=(centre(),), stand_ups=())
    made.run(lambda robot: setattr(robot, "x_m", ASTRAY_M))
    assert made.rows("SELECT DISTINCT could_start FROM attempts WHERE id > 1") == [('["always","centre"]',)]


def test_a_person_who_minds_every_attempt_leaves_nothing_to_reset_and_is_not_counted(world):
    made = world(attempts=3, tasks=(in_middle(),), resets=(centre(),), every_attempt=True)
    made.run(astray_after_first_attempt(made, back=()))
    assert names(made) == ["task"] * 3
    assert made.rows("SELECT count(*) FROM interventions") == [(0,)]
    assert len(made.robot.places) == 3


def test_a_person_is_called_for_a_task_that_nothing_leads_to_any_more(world):
    """One task goes on, but the other is out of reach for good; the second time that is known at once."""
    made = world(attempts=TRIES + 20, tasks=(anywhere("always"), in_middle("rare")), stand_ups=())
    lost = []

    def script(robot):
        if made.pilot.practice.skill_name == "rare" and robot.x_m == 0.0 and len(lost) < 2:
            lost.append(robot.time_s)
            robot.x_m = ASTRAY_M

    made.run(script)
    calls = made.rows("SELECT cause, class, opened_s FROM interventions")
    assert [call[:2] for call in calls] == [(TASK_CUT_OFF, "assist")] * 2
    assert calls[0][2] - lost[0] > TRIES
    assert calls[1][2] - lost[1] < 5.0


def test_a_person_is_called_at_once_for_what_says_that_it_is_lost(world):
    rare = in_middle("rare")
    rare.lost = lambda observation: observation.base_position[0] == ASTRAY_M
    made = world(attempts=3, tasks=(anywhere("always"), rare), stand_ups=())
    made.run(astray_after_first_attempt(made))
    ((cause, opened_s),) = made.rows("SELECT cause, opened_s FROM interventions")
    assert cause == TASK_CUT_OFF
    assert made.rows(f"SELECT count(*) FROM attempts WHERE ended_s < {opened_s}") == [(1,)]


def test_a_moment_without_a_sensor_is_waited_for(world):
    made, blind = world(attempts=1, tasks=(Seen("seen", Kind.TASK),), resets=(centre(),)), []

    def script(robot):
        if made.state is State.RESET and not blind:
            blind.append(robot.time_s)
            robot.spoil = lambda reading: replace(reading, base_valid=reading.stamp_s > blind[0] + 1.0)

    made.run(script)
    assert names(made) == ["seen"]
    assert made.seconds_in("RESET") >= 1.0


class Seen(FakeSkill):
    """Can start only where the tracker sees the robot."""

    def start_problem(self, observation):
        return None if observation.base_valid else "not seen"


def test_a_reset_that_gets_nowhere_is_tried_once_where_something_else_can_be_done(world):
    made = world(attempts=3, tasks=(anywhere("always"), in_middle("rare")), resets=(centre(),))
    made.run(astray_after_first_attempt(made, back=()))
    assert names(made) == ["rare", "centre", "always", "centre", "always", "centre"]
    assert made.rows("SELECT count(*) FROM interventions") == [(0,)]
