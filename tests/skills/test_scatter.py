"""Skills that put object and door anywhere: in simulation."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from arm_readings import SPEC, reading, steps

from sim.arm_scene import DOOR_TRAVEL_M
from sim.kuka import make_kuka
from skills.carry import BORDER_M, CARRYING_SKILLS, HOME_M, REACH_M
from skills.hand_control import CLEAR_M
from skills.registry import get
from skills.scatter import ARRIVED_M, SCATTERING_SKILLS
from skills.skill import Progress, SkillKind
from skills.slide import SLIDING_SKILLS

DT_S = 0.02
OBJECT, DOOR = SCATTERING_SKILLS
SEQUENCE = itertools.count(1)


def scatter(arm, skill):
    """One attempt. Returns how it ended."""
    controller = skill.controller(arm.spec, DT_S)
    controller.start(arm.read())
    end_s = arm.time_s + skill.horizon_s
    while arm.time_s < end_s:
        arm.write(replace(controller.act(arm.read()), sequence=next(SEQUENCE)))
        arm.step(DT_S)
        if (progress := controller.progress(arm.read())) is not Progress.RUNNING:
            return progress
    return Progress.RUNNING


class TestObject:
    def test_it_comes_to_places_all_over_the_reach_turned_anyhow_and_so_does_the_hand(self):
        truths = []
        with make_kuka(3) as arm:
            arm.put_object(*HOME_M, 0.1)
            arm.step(0.3)
            for _ in range(8):
                assert OBJECT.start_problem(arm.read()) is None
                assert scatter(arm, OBJECT) is Progress.SUCCEEDED
                truths.append(arm.truth())
                assert any(task.start_problem(arm.read()) is None for task in CARRYING_SKILLS)
        things, hands = np.array([it.object_m for it in truths]), np.array([it.hand_m for it in truths])
        assert (np.ptp(things[:, :2], axis=0) > (0.1, 0.15)).all()
        assert (np.ptp(hands[:, :2], axis=0) > (0.05, 0.15)).all()
        assert (hands[:, 2] > CLEAR_M - ARRIVED_M - 0.02).all()
        inner = np.array(REACH_M) + np.array((1.0, -1.0)) * (BORDER_M - 0.01)
        assert ((things[:, :2] > inner[:, 0]) & (things[:, :2] < inner[:, 1])).all()

    def test_where_it_comes_to_is_told_by_the_reading_alone(self):
        ends = []
        for noise in (0.0, 0.0, 1e-6):
            start = reading(thing=(*HOME_M, 0.045, 0.0), hand=(*HOME_M, 0.2, noise))
            controller = OBJECT.controller(SPEC, DT_S)
            controller.start(start)
            ends.append(controller.act(start).target)
        assert (ends[0] == ends[1]).all()
        assert (ends[0] != ends[2]).any()

    @pytest.mark.parametrize(
        ("start", "why"),
        [
            (reading(stopped=1.0), "stopped itself"),
            (reading(seen=False), "does not see"),
            (reading(thing=(REACH_M[0][1] - 0.01, 0.1, 0.045, 0.0)), "out of reach"),
            (reading(thing=(0.66, -0.02, 0.045, 0.0)), "handle"),
        ],
    )
    def test_it_does_not_begin_where_it_could_lose_the_object(self, start, why):
        assert why in OBJECT.start_problem(start)


class TestDoor:
    def test_it_comes_to_places_between_its_ends(self):
        with make_kuka(4) as arm:
            arm.step(0.3)
            places = []
            for _ in range(8):
                assert scatter(arm, DOOR) is Progress.SUCCEEDED
                places.append(arm.truth().door_m)
        assert np.ptp(places) > 0.4 * DOOR_TRAVEL_M

    def test_the_camera_does_not_matter(self):
        assert DOOR.start_problem(reading(seen=False)) is None
        assert "stopped itself" in DOOR.start_problem(reading(stopped=1.0))


def test_each_perturbs_the_tasks_with_what_it_moves():
    assert [get(name) for name in OBJECT.perturbs] == list(CARRYING_SKILLS)
    assert [get(name) for name in DOOR.perturbs] == list(SLIDING_SKILLS)
    assert {skill.kind for skill in SCATTERING_SKILLS} == {SkillKind.RESET}


def test_nothing_stored_says_whether_one_succeeded():
    assert not OBJECT.success(steps(reading()))
