"""Drift of a run: what is scheduled and what a person injects reach the robot and the books, over restarts too."""

import json
import os
import signal
import time

import pytest

from agent.config import Config, SimConfig
from agent.daemon import run_daemon
from agent.drifts import REPAIR, DriftBook, Drifting, Drifts, subject_of
from agent.inbox import DRIFT, FOLDER, Request, serve
from agent.inbox import REPAIR as REPAIR_REQUEST
from agent.remote_robot import open_remote_robot
from agent.robot_host import HostJob
from persistence.records import DriftEvent, RunStart
from persistence.store import Store
from sim.drift import Drift, DriftSchedule
from sim.minitaur import MINITAUR, make_minitaur, minitaur_spec
from sim.simulated_robot import SimulatedRobot

SUBJECT = MINITAUR.drift_subject(minitaur_spec())
JOINTS = SUBJECT.joint_names
ALLOWED = SimConfig(drift_commands=True)
WEAK = {"kind": "motor_strength", "size": 0.5, "joints": [JOINTS[2]]}


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "perdure.db") as opened:
        opened.start_run(RunStart(robot="minitaur", started_s=0.0))
        yield opened


def rows(store):
    found = store.rows("SELECT id, kind, source, robot_s, detail FROM drift_events ORDER BY id")
    return [row | {"detail": json.loads(row["detail"])} for row in found]


class Robot:
    """Keeps what it was told."""

    drift_subject = SUBJECT

    def __init__(self):
        self.told = []

    def follow_drift(self, schedule, robot_s):
        self.told.append((schedule, robot_s))


def drifts(store, config, now_s=0.0):
    robot, book = Robot(), DriftBook(store, config, SUBJECT)
    return Drifts(robot, book, store.add_drift, now_s), robot, book


class TestInjecting:
    def test_a_drift_is_a_row_and_begins_now(self, store):
        book = DriftBook(store, ALLOWED, SUBJECT)
        assert book.inject(store, WEAK | {"over_s": 3.0, "for_s": 60.0}, 100.0) == {"ids": [1]}
        wanted = Drift(kind="motor_strength", size=0.5, joints=(JOINTS[2],), begins_s=100.0, over_s=3.0, ends_s=160.0)
        assert book.schedule.drifts == (wanted,)
        (row,) = rows(store)
        assert (row["kind"], row["source"], row["robot_s"]) == ("motor_strength", "injected", 100.0)
        assert (row["detail"]["joints"], row["detail"]["size"]) == ([JOINTS[2]], 0.5)

    def test_a_preset_is_a_row_for_each_of_its_drifts(self, store):
        book = DriftBook(store, ALLOWED, SUBJECT)
        assert book.inject(store, {"kind": "battery_side"}, 5.0) == {"ids": [1, 2]}
        assert [row["kind"] for row in rows(store)] == ["battery_voltage", "payload"]
        assert all(drift.begins_s == 5.0 for drift in book.schedule.drifts)

    @pytest.mark.parametrize(
        ("data", "match"),
        [
            ({"kind": "rust"}, "unknown drift 'rust'; kinds: motor_strength.*presets: half_motor"),
            ({"kind": "motor_strength"}, "needs a --size"),
            ({"kind": "motor_strength", "size": 3.0}, "0 to 2"),
            ({"kind": "motor_strength", "size": 0.5, "joints": ["toe"]}, "unknown joint 'toe'"),
            ({"kind": "half_motor", "size": 0.5}, "takes no size"),
            ({"kind": "half_motor", "joints": ["toe"]}, "unknown joint 'toe'"),
            ({"kind": "payload", "size": 0.5, "over_s": -1.0}, "negative duration"),
            ({"kind": "payload", "size": 0.5, "for_s": 0.0}, "end after the beginning"),
        ],
    )
    def test_what_makes_no_sense_is_refused_and_not_stored(self, store, data, match):
        book = DriftBook(store, ALLOWED, SUBJECT)
        with pytest.raises(ValueError, match=match):
            book.inject(store, data, 100.0)
        assert rows(store) == []
        assert book.schedule.drifts == ()

    def test_it_is_refused_unless_it_was_allowed(self, store):
        book = DriftBook(store, SimConfig(), SUBJECT)
        for act in (lambda: book.inject(store, WEAK, 1.0), lambda: book.repair(store, {}, 1.0)):
            with pytest.raises(ValueError, match=r"--set sim\.drift_commands=true"):
                act()

    def test_it_is_refused_on_robots_that_are_not_simulated(self, store):
        with pytest.raises(ValueError, match="no simulated walking robot"):
            DriftBook(store, SimConfig(), None).inject(store, WEAK, 1.0)
        for config in (ALLOWED, SimConfig(drift="half_motor")):
            with pytest.raises(ValueError, match="this robot is none"):
                DriftBook(store, config, None)
        assert rows(store) == []

    def test_a_wrong_schedule_is_refused(self, store):
        with pytest.raises(ValueError, match="unknown drift 'half_moto'"):
            DriftBook(store, SimConfig(drift="half_moto"), SUBJECT)


class TestRepairing:
    def test_one_or_all_and_each_once(self, store):
        book = DriftBook(store, ALLOWED, SUBJECT)
        for size in (0.5, 0.6, 0.7):
            book.inject(store, WEAK | {"size": size}, 100.0)
        assert book.repair(store, {"ids": [2]}, 110.0) == {"repaired": [2]}
        with pytest.raises(ValueError, match="no drift 2 to repair; there are: 1, 3"):
            book.repair(store, {"ids": [2]}, 111.0)
        assert book.repair(store, {}, 120.0) == {"repaired": [1, 3]}
        assert book.repair(store, {}, 121.0) == {"repaired": []}
        assert [drift.ends_s for drift in book.schedule.drifts] == [120.0, 110.0, 120.0]
        assert [row["kind"] for row in rows(store)] == ["motor_strength"] * 3 + [REPAIR] * 2

    def test_a_person_at_the_robot_needs_no_permission(self, store):
        allowed = DriftBook(store, SimConfig(drift_commands=True), SUBJECT)
        allowed.inject(store, WEAK, 1.0)
        book = DriftBook(store, SimConfig(), SUBJECT)
        assert book.schedule.drifts[0].share(20.0) == 1.0
        assert book.mend(store, 10.0) == {"repaired": [1]}
        assert book.schedule.drifts[0].share(20.0) == 0.0

    def test_what_mends_itself_needs_no_repair(self, store):
        book = DriftBook(store, ALLOWED, SUBJECT)
        book.inject(store, WEAK | {"for_s": 10.0}, 100.0)
        assert book.repair(store, {}, 111.0) == {"repaired": []}

    def test_a_scheduled_drift_too(self, store):
        config = SimConfig(drift="half_motor@5", drift_commands=True)
        running, _, book = drifts(store, config)
        running.look(5.0)
        assert book.repair(store, {}, 8.0) == {"repaired": [1]}
        assert [drift.ends_s for drift in book.schedule.drifts] == [8.0]
        assert [drift.ends_s for drift in DriftBook(store, config, SUBJECT).schedule.drifts] == [8.0]


class TestResuming:
    def test_another_run_meets_the_robot_as_it_would_have_been(self, store):
        book = DriftBook(store, ALLOWED, SUBJECT)
        book.inject(store, WEAK | {"over_s": 30.0}, 100.0)
        book.inject(store, {"kind": "payload", "size": 0.4, "at_m": [0.01, 0.03]}, 101.25)
        book.repair(store, {"ids": [1]}, 103.1)
        again = DriftBook(store, SimConfig(), SUBJECT)  # what has happened to the robot does not depend on a permission
        assert again.schedule.drifts == book.schedule.drifts
        for robot_s in (99.0, 102.0, 104.0):
            assert again.schedule.at(SUBJECT.nominal, robot_s) == book.schedule.at(SUBJECT.nominal, robot_s)

    def test_rows_of_others_change_nothing(self, store):
        store.add_drift(DriftEvent(kind="motor_strength", robot_s=1.0, detail={"size": 0.5}))  # detected
        store.add_drift(DriftEvent(kind="rust", robot_s=1.0, source="injected"))
        store.add_drift(DriftEvent(kind="payload", robot_s=1.0, source="injected", detail={"mass_kg": 1.0}))
        knee = {"size": 0.5, "joints": ["front_left_knee"]}
        store.add_drift(DriftEvent(kind="motor_strength", robot_s=1.0, source="injected", detail=knee))
        assert DriftBook(store, ALLOWED, SUBJECT).schedule.drifts == ()

    def test_what_is_scheduled_is_entered_as_it_begins_and_once(self, store):
        config = SimConfig(drift="battery_side@5")
        running, _, _ = drifts(store, config)
        running.look(4.98)
        assert rows(store) == []
        running.look(5.0)
        running.look(5.02)
        assert [(row["kind"], row["robot_s"], row["detail"]["scheduled"]) for row in rows(store)] == [
            ("battery_voltage", 5.0, True),
            ("payload", 5.0, True),
        ]
        again, _, _ = drifts(store, config, now_s=4.0)
        again.look(6.0)
        assert len(rows(store)) == 2

    def test_what_should_have_begun_before_begins_with_the_run(self, store):
        running, _, _ = drifts(store, SimConfig(drift="half_motor@5"), now_s=50.0)
        running.look(50.0)
        assert [(row["robot_s"], row["detail"]["begins_s"]) for row in rows(store)] == [(50.0, 5.0)]


class TestTelling:
    def test_the_robot_is_told_at_the_start_as_the_clock_starts_and_when_something_is_new(self, store):
        running, robot, book = drifts(store, SimConfig(drift="half_motor@5", drift_commands=True), now_s=2.0)
        for now_s in (2.5, 2.52, 2.54):
            running.look(now_s)
        assert [robot_s for _, robot_s in robot.told] == [2.0, 2.5]
        book.inject(store, WEAK, 2.54)
        running.look(2.56)
        running.look(2.58)
        assert [robot_s for _, robot_s in robot.told] == [2.0, 2.5, 2.56]
        assert len(robot.told[-1][0].drifts) == 2

    def test_without_drift_the_robot_is_left_alone(self, store):
        running, robot, _ = drifts(store, SimConfig())
        running.look(0.02)
        assert robot.told == []

    def test_simulated_robots_can_drift_and_others_cannot(self):
        with make_minitaur(0) as robot:
            assert isinstance(robot, Drifting)
            assert subject_of(robot) == SUBJECT
        assert subject_of(object()) is None


class TestInbox:
    def ask(self, home, kind, data):
        (home / FOLDER).mkdir(exist_ok=True)
        (home / FOLDER / "1.json").write_text(json.dumps({"kind": kind, "data": data}))

    def test_the_daemon_takes_it(self, store, tmp_path):
        book = DriftBook(store, ALLOWED, SUBJECT)
        for kind, data, answer in ((DRIFT, WEAK, {"ids": [1]}), (REPAIR_REQUEST, {"ids": []}, {"repaired": [1]})):
            self.ask(tmp_path, kind, data)
            assert serve(tmp_path, store, 7.0, drifts=book) == (Request(kind=kind, data=data),)
            assert json.loads((tmp_path / FOLDER / "1.answer").read_text()) == answer

    @pytest.mark.parametrize(
        "data", [{}, {"kind": 3}, {"kind": "payload", "size": [1]}, {"kind": "payload", "at_m": 1}]
    )
    def test_rubbish_is_answered_and_stores_nothing(self, store, tmp_path, data):
        self.ask(tmp_path, DRIFT, data)
        assert serve(tmp_path, store, 7.0, drifts=DriftBook(store, ALLOWED, SUBJECT)) == ()
        assert "error" in json.loads((tmp_path / FOLDER / "1.answer").read_text())
        assert rows(store) == []


def test_a_robot_in_a_process_of_its_own_drifts_and_its_successor_too():
    reasons = []
    robot = open_remote_robot(HostJob(name="minitaur", seed=0, latency_ms=None), reasons.append)

    def until(condition):
        deadline_s = time.monotonic() + 20.0
        while not condition():
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    def off():
        position = robot.read().joint_position
        return position[0] - position[1]

    try:
        assert robot.drift_subject == SUBJECT
        assert abs(off()) < 0.3
        later = [Drift(kind="joint_offset", size=1.0, joints=(JOINTS[0],), begins_s=1000.2)]
        robot.follow_drift(DriftSchedule(later, JOINTS), 1000.0)
        until(lambda: off() > 0.6)
        os.kill(robot._link._process.pid, signal.SIGKILL)
        until(lambda: robot.read() and reasons)
        stale = robot.read()
        until(lambda: robot.read() is not stale)
        assert off() > 0.6
    finally:
        robot.close()


def test_a_run_follows_its_schedule_and_obeys_a_person_and_so_does_the_next(tmp_path, monkeypatch):
    told = []
    follow = SimulatedRobot.follow_drift

    def noted(robot, schedule, robot_s=None):
        told.append(schedule)
        follow(robot, schedule, robot_s)

    monkeypatch.setattr(SimulatedRobot, "follow_drift", noted)
    home = tmp_path / "home"
    (home / FOLDER).mkdir(parents=True)
    (home / FOLDER / "1.json").write_text(json.dumps({"kind": DRIFT, "data": {"kind": "latency", "size": 0.01}}))
    values = {"learner.enabled": False, "run.start": "zoo", "run.hours": 0.002}
    config = Config.load(None, values | {"sim.drift": "half_motor@2", "sim.drift_commands": True})
    assert run_daemon(config, home) == 0
    assert json.loads((home / FOLDER / "1.answer").read_text()) == {"ids": [1]} or {"ids": [2]}
    assert [drift.kind for drift in told[0].drifts] == ["motor_strength"]
    with Store.open(home / "perdure.db") as store:
        stored = rows(store)
        assert {(row["kind"], row["source"]) for row in stored} == {
            ("motor_strength", "injected"),
            ("latency", "injected"),
        }
        assert next(row["robot_s"] for row in stored if row["kind"] == "motor_strength") == 2.0
        assert store.verify_chain() == []
        again = DriftBook(store, config.sim, SUBJECT)
        assert again.waiting == ()
        assert again.schedule.drifts == told[-1].drifts
        assert {drift.kind for drift in again.schedule.drifts} == {"motor_strength", "latency"}
