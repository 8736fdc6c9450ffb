"""What the books say of a robot that moves otherwise than it did."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from fakes import fake_spec, observation

from agent.drift_watch import WATCHED, DriftStatus, DriftWatch, stored_status
from meta.drift_monitor import Condition, Finding, Found
from persistence.home import Home
from persistence.records import DriftEvent
from persistence.store import Store
from sim.drift import Drift, DriftKind
from skills.decisions import Decision

SPEC = fake_spec()
DECISION = Decision(0.5, np.zeros(2, np.float32), np.full(2, 0.25, np.float32))


class Monitor:
    """Finds what a test says; notes what it is told."""

    def __init__(self) -> None:
        self.condition, self.watching = Condition.USUAL, True
        self.told: list[object] = []
        self.finds: Found | None = None
        self.suspected = False

    @property
    def changed(self) -> bool:
        return self.condition is not Condition.USUAL

    def confirm(self) -> Found | None:
        if not self.suspected:
            return None
        self.condition, self.suspected = Condition.CHANGED, False
        return Found(kind=Finding.CHANGED, practised_s=2.0, joint=2, size=4.5)

    def begins(self, resting) -> None:
        self.told.append(("begins", resting.tolist()))

    def cut(self) -> None:
        self.told.append("cut")

    def decided(self, seen, sent, phase_rad) -> Found | None:
        self.told.append((sent.tolist(), phase_rad))
        return self.finds


@pytest.fixture
def monitor():
    return Monitor()


@pytest.fixture
def rows():
    return []


@pytest.fixture
def watch(monitor, rows):
    made = DriftWatch(monitor, SPEC, "walk", rows.append)
    made.begins(controller())
    return made


def controller(family="walk"):
    return SimpleNamespace(family=SimpleNamespace(name=family), resting_action=np.full(2, 9.0))


def test_attempts_of_its_family_are_followed_and_no_others(monitor, watch):
    watch.decided(observation(), DECISION, 1.0)
    assert monitor.told == [("begins", [9.0, 9.0]), ([0.25, 0.25], 0.5)]
    for other in (controller("hand"), None):
        watch.begins(other)
        watch.decided(observation(), DECISION, 1.0)
    assert len(monitor.told) == 2


def test_since_when_it_is_watched_is_a_row(monitor, rows, watch):
    def expect(expectation):
        monitor.watching = expectation is not None

    monitor.watching, monitor.expect = False, expect
    for at_s, expectation in ((1.0, None), (2.0, "first"), (3.0, "next")):
        watch.expect(expectation, at_s)
    assert [(row.kind, row.robot_s) for row in rows] == [(WATCHED, 2.0)]


def test_a_change_and_its_end_are_rows(monitor, rows, watch):
    assert watch.status.since_s is None
    monitor.finds = Found(kind=Finding.CHANGED, practised_s=1.23456, joint=2, size=4.5)
    assert watch.decided(observation(), DECISION, 10.0)
    assert (watch.status.since_s, watch.status.joint) == (10.0, "joint_2")
    monitor.finds = Found(kind=Finding.HABIT, practised_s=1800.0)
    assert not watch.decided(observation(), DECISION, 20.0)
    assert watch.status.since_s == 10.0
    monitor.finds = Found(kind=Finding.CALM, practised_s=1900.0)
    watch.decided(observation(), DECISION, 30.0)
    assert (watch.status.since_s, watch.status.joint) == (None, "")
    assert [(row.kind, row.robot_s, row.source) for row in rows] == [
        ("dynamics_changed", 10.0, "detected"),
        ("dynamics_taken_as_usual", 20.0, "detected"),
        ("dynamics_calm_again", 30.0, "detected"),
    ]
    assert rows[0].detail == {"practised_s": 1.235, "joints": ["joint_2"], "size": 4.5}


def test_a_sensor_that_differs_is_told(monitor, rows, watch):
    monitor.finds = Found(kind=Finding.SUSPECTED, practised_s=1.0, size=4.5, sensor="battery")
    assert watch.decided(observation(), DECISION, 10.0)
    assert rows[0].detail == {"practised_s": 1.0, "joints": [], "size": 4.5, "sensor": "battery"}


def test_what_is_suspected_is_looked_into_and_a_row_but_says_nothing_of_the_condition(monitor, rows, watch):
    monitor.finds, monitor.suspected = Found(kind=Finding.SUSPECTED, practised_s=1.0, joint=2, size=4.5), True
    assert watch.decided(observation(), DECISION, 10.0)
    assert (watch.changed, watch.alarmed_s) == (False, 10.0)
    assert (watch.status.since_s, watch.status.joint) == (None, "")
    watch.diagnosed((), 16.0)  # a check-up that names nothing confirms nothing
    assert not watch.changed
    assert [row.kind for row in rows] == ["dynamics_suspected"]
    monitor.suspected = False  # errors have been calm since
    assert watch.alarmed_s is None
    monitor.finds, monitor.condition = (
        Found(kind=Finding.CHANGED, practised_s=2.0, joint=2, size=4.5),
        Condition.CHANGED,
    )
    assert watch.decided(observation(), DECISION, 30.0)
    assert watch.alarmed_s == 30.0  # errors say so: it is to be looked at again


def test_a_check_up_that_names_something_confirms_what_is_suspected(monitor, rows, watch):
    weak = Drift(kind=DriftKind.MOTOR_STRENGTH, size=0.5, joints=(SPEC.joint_names[1],))
    watch.diagnosed((weak,), 5.0)  # a routine one
    assert not rows
    monitor.finds, monitor.suspected = Found(kind=Finding.SUSPECTED, practised_s=1.0, joint=2, size=4.5), True
    watch.decided(observation(), DECISION, 10.0)
    watch.diagnosed((weak,), 16.0)
    assert [(row.kind, row.robot_s) for row in rows] == [("dynamics_suspected", 10.0), ("dynamics_changed", 16.0)]
    assert (watch.changed, watch.alarmed_s) == (True, 10.0)
    assert (watch.status.since_s, watch.status.joint) == (16.0, SPEC.joint_names[1])  # as the check-up says


def test_a_change_of_the_body_names_no_joint(monitor, rows, watch):
    monitor.finds = Found(kind=Finding.CHANGED, practised_s=1.0, joint=-1, size=2.0)
    watch.decided(observation(), DECISION, 10.0)
    assert rows[0].detail["joints"] == []
    assert watch.status.joint == ""


def test_what_check_ups_have_named_is_known_by_its_places(monitor, watch):
    assert watch.known == ""
    watch.diagnosed(
        (
            Drift(kind=DriftKind.MOTOR_STRENGTH, size=0.5, joints=(SPEC.joint_names[1],)),
            Drift(kind=DriftKind.GYRO_BIAS, size=0.2, axis="y"),
        ),
        1.0,
    )
    assert watch.known == f"gyro_bias y, motor_strength {SPEC.joint_names[1]}"
    assert watch.status.cause == f"motor_strength {SPEC.joint_names[1]} 0.5, gyro_bias y 0.2"
    watch.diagnosed((), 2.0)
    assert (watch.known, watch.status.cause) == ("", "")


def test_what_was_last_found_is_known_to_the_next_run(monitor, tmp_path):
    def row(kind, at_s, joints=()):
        return DriftEvent(kind=kind.value, robot_s=at_s, detail={"joints": list(joints)})

    with Store.open(Home(tmp_path).prepare().db) as store:
        assert stored_status(store) == DriftStatus(condition=Condition.USUAL, since_s=None, joint="")
        store.add_drift(row(Finding.CHANGED, 5.0, ["joint_1"]))
        changed = stored_status(store)
        assert changed == DriftStatus(condition=Condition.CHANGED, since_s=5.0, joint="joint_1")
        store.add_drift(DriftEvent(kind="motor_strength", robot_s=6.0, source="injected"))
        store.add_drift(row(Finding.HABIT, 7.0))
        assert stored_status(store) == DriftStatus(condition=Condition.HABIT, since_s=5.0, joint="joint_1")
        store.add_drift(row(Finding.CALM, 8.0))
        assert stored_status(store).condition is Condition.USUAL
        store.add_drift(row(Finding.SUSPECTED, 9.0))
        assert stored_status(store).condition is Condition.USUAL
    monitor.condition = Condition.CHANGED
    assert DriftWatch(monitor, SPEC, "walk", print, changed).status == changed
