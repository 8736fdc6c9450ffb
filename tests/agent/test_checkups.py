"""Check-ups between attempts: when they come, what they are compared with, and what follows."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from agent.attempts import Interrupt
from agent.checkups import (
    APART_S,
    CHECKED_UP,
    DIAGNOSED,
    MOST,
    RECHECK_S,
    ROUTINE_S,
    TRIES,
    UNSETTLED_S,
    WRONG_STANCE_RAD,
    CheckUps,
    stored_checkups,
)
from agent.config import Config
from agent.daemon import run_daemon
from agent.states import Event
from agent.status import read_status
from meta.checkup import CheckUp, feature_size
from meta.diagnosis import COMPARED, Cause, Diagnosed
from meta.drift_monitor import Finding
from persistence.home import Home
from persistence.records import DriftEvent
from persistence.store import Store
from sim.a1 import a1_spec
from sim.drift import Drift, DriftKind
from sim.minitaur import minitaur_spec
from tests.skills.readings import reading

SPEC = minitaur_spec()
MOTION = CheckUp(SPEC, 0.02)
WEAK = Drift(kind=DriftKind.MOTOR_STRENGTH, size=0.5, joints=(SPEC.joint_names[3],))


USUAL = tuple(np.zeros(feature_size(SPEC)) for _ in range(COMPARED))

SAG_RAD = 0.2


class World:
    """A robot that is checked up; time passes with each tick."""

    def __init__(self, usual=()):
        self.robot_s, self.since_s, self.rows, self.sent, self.heard = 0.0, None, [], [], []
        self.compensated, self.compared, self.finds, self.trouble = [], [], [], None
        self.off_rad = iter(())
        """How far a joint is off the stance, in the order of check-ups; then not at all."""
        self.off_now_rad = 0.0
        self.caught_at = None
        """Control period of the next check-up in which something else moves the robot; None: nothing does."""
        self.misfits = iter(())
        """How far from usual the robot is, in the order of being asked; then far."""
        self.robot = SimpleNamespace(spec=SPEC, drifts=(), compensate=self.compensate)
        diagnosis = SimpleNamespace(diagnose=self.diagnose, misfit=lambda usual, seen: next(self.misfits, 9.0))
        self.settled = []
        self.watch = SimpleNamespace(diagnosed=self.diagnosed, settle=self.settled.append)
        self.changes(None)
        self.checkups = CheckUps(self.robot, diagnosis, MOTION, self.watch, self.rows.append, usual)

    def compensate(self, drifts):
        self.robot.drifts = tuple(drifts)
        self.compensated.append(tuple(drifts))

    def diagnose(self, usual, seen):
        self.compared.append((usual, seen))
        drift = None if not self.finds else self.finds.pop(0) if len(self.finds) > 1 else self.finds[0]
        if drift is None:
            return None
        cause = Cause(kind=drift.kind.value, size=drift.size, joints=drift.joints, axis=drift.axis)
        return Diagnosed(cause=cause, clarity=9.0)

    def changes(self, since_s):
        self.watch.alarmed_s, self.watch.changed = since_s, since_s is not None

    def suspects(self, alarmed_s):
        self.watch.alarmed_s, self.watch.changed = alarmed_s, False

    def diagnosed(self, drifts, robot_s):
        self.heard.append(drifts)
        if drifts and self.watch.alarmed_s is not None:
            self.watch.changed = True

    def tick(self, act):
        if self.trouble is not None:
            raise self.trouble
        self.robot_s += 0.02
        if self.caught_at is None or len(self.sent) - self.begun != self.caught_at:
            self.sent.append(act(reading()))
        seen = reading()
        seen.joint_position[5] -= self.off_now_rad
        return SimpleNamespace(observation=seen, robot_s=self.robot_s)

    def names(self, *drifts):
        """What check-ups name from now on, one after the other, the last one for ever; None: nothing."""
        self.finds = list(drifts)

    def run(self):
        """Whether a check-up was due; if so, it is made."""
        due = self.checkups.due(self.robot_s)
        if due:
            self.check_up()
        return due

    def check_up(self):
        self.off_now_rad, self.begun = next(self.off_rad, 0.0), len(self.sent)
        return self.checkups.run(self.tick)


def made_up_for():
    """A robot with a weak motor that is made up for, and rests as usual."""
    world = World(USUAL)
    world.changes(10.0)
    world.names(WEAK)
    world.misfits = iter((9.0, 1.0))
    while world.run():
        pass
    return world


def test_the_usual_robot_is_checked_up_a_few_times_apart():
    world = World()
    came = []
    for _ in range(100):
        if world.run():
            came.append(world.robot_s)
        world.robot_s += 5.0
    assert len(came) == COMPARED
    assert (np.diff(came) >= APART_S).all()
    assert [row.kind for row in world.rows] == [CHECKED_UP] * COMPARED
    assert len(world.rows[0].detail["features"]) == feature_size(SPEC)
    assert np.ptp([command.target for command in world.sent], axis=0).min() > 0.1  # each joint has moved


def test_a_changed_robot_is_compared_with_what_it_was_and_compensated_for():
    usual = (np.zeros(feature_size(SPEC)), np.full(feature_size(SPEC), 0.2))
    world = World(usual)
    world.changes(10.0)
    world.names(WEAK, None)
    world.misfits = iter((7.0, 1.5))
    assert world.run()
    np.testing.assert_array_equal(world.compared[0][0], usual)
    assert world.robot.drifts == (WEAK,)
    assert world.heard == [(WEAK,)]
    (row,) = world.rows
    assert (row.kind, row.detail["joints"], row.detail["compensated"]) == (DIAGNOSED, [SPEC.joint_names[3]], True)
    assert Drift.from_dict(row.detail["drift"]) == WEAK
    # The next one, of a robot that is compensated for, says that this is right.
    world.compensated.clear()
    world.sent.clear()
    assert world.run()
    assert len(world.sent) == MOTION.resting_periods  # how it rests says it all
    assert (world.compensated, world.robot.drifts, len(world.rows)) == ([], (WEAK,), 1)
    world.robot_s += APART_S
    assert not world.run()  # it is known
    # Compensated for, it is as usual, and is still compensated for. Once it is repaired that is a change again.
    world.changes(None)
    assert not world.run()
    assert world.robot.drifts == (WEAK,)
    world.changes(2000.0)
    world.names(replace(WEAK, size=1.5), None)  # as it is, too strong; by itself, as usual
    assert world.run()
    assert world.robot.drifts == ()
    assert (world.rows[-1].kind, world.rows[-1].detail) == (DIAGNOSED, {})


def test_what_makes_it_no_better_twice_in_a_row_is_undone():
    world = World(USUAL)
    world.changes(10.0)
    world.names(WEAK)
    world.misfits = iter((4.0, 7.0, 4.5))
    assert world.run()
    assert world.run()
    assert world.robot.drifts == (WEAK,)
    assert world.run()
    assert world.robot.drifts == ()
    assert world.rows[-1].detail == {"undone": [WEAK.to_dict()], "misfit": [4.0, 4.5]}
    assert world.heard == [(WEAK,), ()]
    world.robot_s += APART_S
    assert not world.run()


def test_what_is_still_wrong_with_it_is_named_and_compensated_for_too():
    world = World(USUAL)
    encoder = Drift(kind=DriftKind.JOINT_OFFSET, size=0.1, joints=(SPEC.joint_names[0],))
    world.changes(10.0)
    world.names(WEAK, encoder, replace(WEAK, size=0.8), None)
    world.misfits = iter((9.0, 5.0, 3.0, 1.5))
    runs = 0
    while world.run():
        runs += 1
    assert runs == 4
    assert world.robot.drifts == (replace(WEAK, size=0.5 * 0.8), encoder)  # the weaker motor is one drift
    assert world.heard[-1] == world.robot.drifts


def test_what_leaves_it_as_usual_at_rest_is_right_and_nothing_more_is_sought():
    world = World(USUAL)
    world.changes(10.0)
    world.names(WEAK)
    world.misfits = iter((1.2, 1.4))
    assert world.run()
    assert world.run()
    assert world.robot.drifts == (WEAK,)
    assert len(world.rows) == 1


def test_what_leaves_it_as_usual_at_rest_ends_the_change_but_only_once_for_the_same():
    world = World(USUAL)
    for round_, said in ((1, 1), (2, 1), (3, 1), (4, 2)):
        world.changes(1000.0 * round_)
        world.names(None if round_ == 3 else WEAK)  # repaired, the third time
        world.misfits = iter((9.0, 1.4))
        while world.run():
            pass
        assert len(world.settled) == said


def test_a_robot_that_does_not_stand_as_it_should_is_not_checked_up_but_told_of_once():
    usual = [np.zeros(feature_size(SPEC)) for _ in range(COMPARED)]
    for features in usual:
        features[5] = -SAG_RAD  # that joint always rests lower
    world = World(usual)
    world.changes(10.0)
    world.names(WEAK)
    world.off_rad = iter(SAG_RAD + WRONG_STANCE_RAD + np.array((0.01, 0.02, -0.01)))
    world.misfits = iter((9.0, 1.0))
    assert world.checkups.due(world.robot_s)
    assert not world.check_up()
    assert (world.rows, world.robot.drifts) == ([], ())
    assert len(world.sent) == MOTION.resting_periods
    assert not world.checkups.due(world.robot_s)
    world.robot_s += UNSETTLED_S + 0.01
    assert world.checkups.due(world.robot_s)
    assert world.check_up()  # to stand up anew has not helped
    assert world.rows == []
    world.robot_s += UNSETTLED_S + 0.01
    assert world.run()
    assert world.robot.drifts == (WEAK,)


@pytest.mark.parametrize("period", [3, MOTION.resting_periods + 3])
def test_one_in_which_a_fall_was_caught_says_nothing_and_is_made_anew_at_once(period):
    world = World(USUAL)
    world.changes(10.0)
    world.names(WEAK)
    world.caught_at = period
    world.misfits = iter((9.0, 9.0, 9.0, 1.0))
    assert world.check_up()
    assert (world.rows, world.compared, world.robot.drifts) == ([], [], ())
    assert len(world.sent) == period
    world.caught_at = None
    assert world.run()
    assert world.robot.drifts == (WEAK,)
    # Neither does one that is to say whether that is right: what is made up for still is.
    world.caught_at = 3
    assert world.run()
    assert (world.robot.drifts, len(world.rows)) == ((WEAK,), 1)
    world.caught_at = None
    world.misfits = iter((1.0,))
    assert world.run()
    assert (world.robot.drifts, world.settled) == ((WEAK,), [world.robot_s])


def test_what_leaves_the_robot_standing_as_it_should_not_is_undone():
    world = World(USUAL)
    world.changes(10.0)
    world.names(WEAK)
    world.off_rad = iter((0.0, WRONG_STANCE_RAD + 0.01))
    assert world.run()
    assert world.robot.drifts == (WEAK,)
    assert world.run()
    assert (world.robot.drifts, world.settled) == ((), [])
    assert world.rows[-1].detail == {"undone": [WEAK.to_dict()], "stance": "wrong"}
    assert world.heard[-1] == ()
    world.robot_s += UNSETTLED_S + 0.01
    assert not world.run()


def test_a_robot_that_is_made_up_for_and_changes_anew_is_seen_as_it_is_first():
    world = made_up_for()
    world.changes(500.0)
    world.names(None)  # with what is made up for nothing is wrong with it
    world.misfits = iter((1.7,))
    world.compensated.clear()
    assert world.run()
    assert (world.compensated, world.robot.drifts) == ([], (WEAK,))
    assert not world.run()
    assert len(world.rows) == 1


def test_one_that_does_not_rest_as_usual_with_what_is_made_up_for_is_looked_at_without_it_at_once():
    """What a repaired motor does that is driven as a weak one has no name."""
    world = made_up_for()
    world.changes(500.0)
    world.names(None)
    world.misfits = iter((1.9, 1.0))  # driven too hard, and by itself
    world.sent.clear()
    assert world.run()
    assert len(world.sent) == 2 * MOTION.periods
    assert (world.robot.drifts, len(world.settled)) == ((), 2)


def test_a_robot_of_which_nothing_can_be_made_up_for_needs_no_look_as_it_is():
    world = World(USUAL)
    world.robot.drifts = (Drift(kind=DriftKind.BASE_MASS, size=1.3),)
    world.names(WEAK)
    world.suspects(10.0)
    world.sent.clear()
    assert world.run()
    assert len(world.sent) == MOTION.periods
    assert world.robot.drifts == (WEAK,)


def test_one_that_is_only_suspected_is_looked_at_twice_before_it_counts_as_repaired():
    world = World(USUAL)
    world.robot.drifts = (WEAK,)
    world.names(None)
    world.misfits = iter((1.9, 1.0, 1.0))
    world.suspects(10.0)
    for left in ((WEAK,), ()):
        assert world.run()
        assert world.robot.drifts == left


def test_one_that_is_still_weak_is_made_up_for_as_before():
    world = World(USUAL)
    world.robot.drifts = (WEAK,)
    world.names(None, WEAK)
    world.misfits = iter((1.9,))
    world.suspects(10.0)
    assert world.run()
    assert world.robot.drifts == (WEAK,)
    assert not world.run()
    assert not world.rows


@pytest.mark.parametrize(("misfit", "over"), [(1.0, 1), (4.0, 0)])
def test_a_repair_that_is_found_ends_the_change_if_the_robot_rests_as_usual(misfit, over):
    world = World(USUAL)
    world.changes(10.0)
    world.names(WEAK)
    world.misfits = iter((9.0, 5.0))  # better, but not as usual
    while world.run():
        pass
    assert (world.robot.drifts, world.settled) == ((WEAK,), [])
    world.names(None)
    world.misfits = iter((misfit,))
    world.robot_s += UNSETTLED_S + 0.01
    assert world.run()
    assert world.robot.drifts == ()
    assert len(world.settled) == over


def test_what_has_proved_good_stays_when_one_more_does_not():
    world = World(USUAL)
    world.changes(10.0)
    world.names(WEAK, Drift(kind=DriftKind.GYRO_BIAS, size=0.2, axis="y"))
    world.misfits = iter((9.0, 5.0, 6.0, 6.0))
    while world.run():
        pass
    assert world.robot.drifts == (WEAK,)


def test_no_more_is_compensated_for_than_so_much():
    world = World(USUAL)
    world.changes(10.0)
    world.names(*(replace(WEAK, joints=(name,)) for name in SPEC.joint_names))
    world.misfits = iter(np.arange(20.0, 0.0, -1.0))
    while world.run():
        pass
    assert [drift.joints for drift in world.robot.drifts] == [(name,) for name in SPEC.joint_names[:MOST]]


def test_what_may_keep_the_robot_from_standing_up_is_undone_and_it_is_looked_at_anew():
    world = World(USUAL)
    world.checkups.undo(5.0)
    assert not world.rows
    world.changes(10.0)
    world.names(WEAK)
    assert world.run()
    assert world.robot.drifts == (WEAK,)
    world.checkups.undo(50.0)
    assert world.robot.drifts == ()
    assert world.heard[-1] == ()
    assert (world.rows[-1].robot_s, world.rows[-1].detail["undone"]) == (50.0, [WEAK.to_dict()])
    world.robot_s += APART_S
    world.names(None)
    assert world.run()  # as one that is still changed, and not made up for
    assert world.robot.drifts == ()


class TestRoutine:
    def test_a_robot_that_seems_to_be_what_it_was_is_looked_at_from_time_to_time(self):
        world, came = World(USUAL), []
        world.names(None)
        for _ in range(1000):
            if world.run():
                came.append(world.robot_s)
            world.robot_s += 10.0
        assert came[0] < 30.0  # the first time as a run begins: it may have changed since the last one
        assert len(came) == 1 + 10_000 // round(ROUTINE_S)
        assert (world.rows, world.robot.drifts) == ([], ())

    def test_what_is_named_once_is_not_believed(self):
        world = World(USUAL)
        world.names(WEAK, None)
        assert world.run()
        assert world.run()
        assert not world.run()
        assert (world.rows, world.robot.drifts) == ([], ())

    def test_nor_is_what_is_named_differently_each_time_and_that_is_not_gone_on_with(self):
        world = World(USUAL)
        world.names(*(replace(WEAK, joints=(name,)) for name in SPEC.joint_names))
        assert [world.run() for _ in range(3)] == [True, True, False]
        assert world.rows == []

    def test_what_is_named_twice_in_a_row_is_compensated_for(self):
        world = World(USUAL)
        world.names(WEAK, replace(WEAK, size=0.45), None)
        world.misfits = iter((9.0, 9.0, 1.5))
        while world.run():
            pass
        assert world.robot.drifts == (replace(WEAK, size=0.45),)

    @pytest.mark.parametrize(("size", "followed"), [(0.3, True), (0.8, True), (0.42, False), (0.6, False)])
    def test_what_is_made_up_for_follows_what_grows_or_is_mended_in_part(self, size, followed):
        world = World(USUAL)
        world.changes(10.0)
        world.names(WEAK)
        world.misfits = iter((9.0, 1.0))
        while world.run():
            pass
        world.changes(None)
        world.robot_s += RECHECK_S
        world.names(replace(WEAK, size=size))
        world.misfits = iter((9.0, 9.0, 1.0))
        while world.run():
            pass
        assert world.robot.drifts == ((replace(WEAK, size=size) if followed else WEAK),)

    def test_a_robot_that_has_changed_all_the_same_is_looked_at_sooner_and_believed_at_once(self):
        world = World(USUAL)
        world.changes(10.0)
        world.names(WEAK, None)
        world.misfits = iter((9.0, 5.0))  # better, but not as usual: there is more to it than that
        while world.run():
            pass
        assert world.robot.drifts == (WEAK,)
        world.robot_s += UNSETTLED_S - 30.0
        assert not world.run()
        world.robot_s += 30.0
        assert world.run()  # repaired
        assert world.robot.drifts == ()
        assert not world.run()

    def test_compensation_ends_when_twice_in_a_row_nothing_is_named(self):
        world = World(USUAL)
        world.changes(10.0)
        world.names(WEAK, None, WEAK, None)
        world.misfits = iter((9.0, 1.5))
        while world.run():
            pass
        world.changes(None)  # what it is compensated for is right
        held = []
        for _ in range(3):
            world.robot_s += RECHECK_S
            while world.run():
                pass
            held.append(bool(world.robot.drifts))
        assert held == [True, False, False]  # still there, then gone
        assert world.rows[-1].detail == {}


def test_what_is_not_named_is_looked_at_again_but_not_for_ever():
    world = World((np.zeros(feature_size(SPEC)),))
    world.changes(10.0)
    came = 0
    for _ in range(100):
        came += world.run()
        world.robot_s += 5.0
    assert came == TRIES
    world.changes(world.robot_s)  # another change
    assert world.run()


def times_of_check_ups(world, seconds):
    came, end_s = [], world.robot_s + seconds
    while world.robot_s < end_s:
        if world.run():
            came.append(world.robot_s)
        world.robot_s += 5.0
    return came


class TestSuspicion:
    def test_what_is_suspected_is_looked_at_at_once_and_once(self):
        world = World(USUAL)
        world.names(None)
        world.run()
        world.suspects(world.robot_s)
        assert len(times_of_check_ups(world, 600.0)) == 1
        assert world.robot.drifts == ()
        assert [row.detail for row in world.rows] == [{}]
        world.suspects(None)
        world.suspects(world.robot_s)
        assert len(times_of_check_ups(world, 600.0)) == 1

    def test_once_errors_alarm_again_it_is_looked_at_again_at_once(self):
        world = World(USUAL)
        world.names(None)
        world.suspects(10.0)
        assert world.run()
        assert not world.run()
        world.changes(20.0)
        assert world.run()
        assert not world.run()
        world.robot_s += APART_S
        assert world.run()

    def test_what_is_named_is_made_up_for_and_confirms_it(self):
        world = World(USUAL)
        world.names(WEAK)
        world.suspects(10.0)
        assert world.run()
        assert world.robot.drifts == (WEAK,)
        assert world.watch.changed

    def test_what_a_suspected_robot_is_like_does_not_count_as_usual(self):
        world = World((USUAL[0],))
        world.names(None)
        world.suspects(10.0)
        assert len(times_of_check_ups(world, 300.0)) == 1
        assert [row.kind for row in world.rows] == [DIAGNOSED]
        world.suspects(None)
        assert len(times_of_check_ups(world, 300.0)) == COMPARED - 1

    def test_a_robot_that_is_made_up_for_is_seen_as_it_is_and_left_alone_if_that_names_nothing(self):
        world = World(USUAL)
        world.robot.drifts = (WEAK,)
        world.names(None)
        world.misfits = iter((1.0,))
        world.suspects(10.0)
        assert world.run()
        assert world.robot.drifts == (WEAK,)
        assert not world.run()


def test_a_changed_robot_of_which_nothing_was_named_is_looked_at_from_time_to_time():
    world = World(USUAL)
    world.names(None)
    world.changes(10.0)
    came = times_of_check_ups(world, 1000.0)
    assert np.diff(came)[0] == pytest.approx(APART_S, abs=10.0)
    assert np.diff(came)[1:] == pytest.approx(RECHECK_S, abs=10.0)
    world.names(WEAK)  # meanwhile a motor has weakened
    world.misfits = iter((7.0, 1.0))
    times_of_check_ups(world, RECHECK_S + 10.0)
    assert world.robot.drifts == (WEAK,)


def test_without_anything_to_compare_with_a_changed_robot_is_left_alone():
    world = World()
    world.changes(10.0)
    assert not world.run()


def test_a_fall_in_the_middle_leaves_what_was_known():
    world = World((np.zeros(feature_size(SPEC)),))
    world.robot.drifts = (WEAK,)
    world.changes(10.0)
    world.trouble = Interrupt(Event.FALL_PREDICTED, "fallen")
    with pytest.raises(Interrupt):
        world.run()
    assert world.robot.drifts == (WEAK,)
    assert world.rows == []
    assert world.checkups.due(world.robot_s)


def test_earlier_runs_are_remembered_unless_they_are_of_another_robot(tmp_path):
    home = Home(tmp_path).prepare()
    with Store.open(home.db) as store:
        features = np.arange(feature_size(SPEC)).tolist()
        for motion in ({"motion": MOTION.name}, {"motion": "another"}, {}):  # older versions did not say
            store.add_drift(DriftEvent(kind=CHECKED_UP, robot_s=1.0, detail={**motion, "features": features}))
        (found,) = stored_checkups(store, MOTION)
        assert stored_checkups(store, CheckUp(a1_spec(), 0.02)) == ()
    np.testing.assert_array_equal(found, np.arange(feature_size(SPEC)))


def test_a_daemon_names_a_weak_motor_and_makes_up_for_it(tmp_path):
    """The first run learns what is usual; in the second one a motor is weak, and it is known that something is."""
    settings = {
        "learner.hidden": [16],
        "learner.warmup_steps": 100_000,
        "run.skills": ["walk_forward", "walk_backward"],
        "run.attempts": 1,
        "learner.watch_drift": True,
        "learner.hold_policy": True,
    }
    run_daemon(Config.load(None, settings), tmp_path)
    with Store.open(tmp_path / "perdure.db") as store:
        (usual, *_) = store.rows("SELECT kind, detail FROM drift_events")
        assert usual["kind"] == CHECKED_UP
        end_s = store.rows("SELECT ended_s FROM runs")[0]["ended_s"]
        store.add_drift(DriftEvent(kind=Finding.CHANGED.value, robot_s=end_s, detail={"joints": []}))
    run_daemon(Config.load(None, settings | {"sim.drift": "held_out_motor"}), tmp_path)
    with Store.open(tmp_path / "perdure.db", read_only=True) as store:
        rows = store.rows("SELECT detail FROM drift_events WHERE kind = ? ORDER BY id", (DIAGNOSED,))
    assert rows
    assert all('"motor_strength"' in row["detail"] for row in rows)  # the second may say that it is weaker still
    assert "motor_strength" in read_status(tmp_path).status.drift_cause
