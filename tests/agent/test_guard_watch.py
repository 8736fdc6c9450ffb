"""What the guard decides from silence, crashes and latches, told second by second."""

from dataclasses import replace

import pytest

from agent.guard_watch import (
    CRASH_LOOP,
    CRASH_WINDOW_S,
    CRASHES,
    DAMP_AFTER_S,
    ESTOP,
    SILENT_LOOP,
    START_S,
    STOP_AFTER_S,
    GuardWatch,
)
from agent.latches import Acknowledgement, Latches
from agent.permit import Permission

ANNA = Acknowledgement(name="Anna", action="looked at it", torque_off=True, physical_release=True)


def causes(watch: GuardWatch) -> list[str]:
    return [latch.cause for latch in watch.latches]


@pytest.fixture
def watch() -> GuardWatch:
    watch = GuardWatch(Latches())
    watch.heard(100.0)
    return watch


class TestSilence:
    def test_before_the_first_answer_there_is_no_torque_and_no_alarm(self):
        watch = GuardWatch(Latches())
        for second in range(100):
            assert watch.update(float(second)) is Permission.STOP
        assert causes(watch) == []

    @pytest.mark.parametrize(
        ("silence_s", "permission"),
        [
            (0.0, Permission.TORQUE),
            (DAMP_AFTER_S - 0.01, Permission.TORQUE),
            (DAMP_AFTER_S + 0.01, Permission.DAMPING),
            (STOP_AFTER_S - 0.01, Permission.DAMPING),
            (STOP_AFTER_S + 0.01, Permission.STOP),
        ],
    )
    def test_the_longer_the_less(self, watch, silence_s, permission):
        assert watch.update(100.0 + silence_s) is permission

    def test_a_short_one_is_forgiven(self, watch):
        watch.update(100.5)
        watch.heard(100.6)
        assert watch.update(100.6) is Permission.TORQUE
        assert causes(watch) == []

    def test_a_long_one_is_latched_whatever_comes_after_it(self, watch):
        watch.update(101.1)
        for second in range(102, 200):
            watch.heard(float(second))
            assert watch.update(float(second)) is Permission.STOP
        assert causes(watch) == [SILENT_LOOP]

    def test_a_loop_that_ended_as_it_should_is_not_silent(self, watch):
        watch.gone()
        assert watch.update(500.0) is Permission.STOP
        assert causes(watch) == []

    def test_the_loop_is_replaced_once(self, watch):
        watch.update(101.1)
        assert watch.frozen
        watch.crashed(101.2)
        assert not watch.frozen
        watch.heard(104.0)
        watch.update(104.1)
        assert not watch.frozen


class TestLatches:
    def test_an_emergency_stop_cuts_whatever_the_loop_does(self, watch):
        watch.estop(100.1)
        watch.heard(100.2)
        assert watch.update(100.2) is Permission.CUT
        assert causes(watch) == [ESTOP]

    def test_it_outranks_silence(self, watch):
        watch.estop(100.1)
        assert watch.update(150.0) is Permission.CUT

    def test_what_was_latched_before_a_restart_holds(self):
        watch = GuardWatch(Latches())
        watch.estop(1.0)
        again = GuardWatch(Latches.from_json(watch.latches.to_json()))
        again.heard(2.0)
        assert again.update(2.0) is Permission.CUT

    def test_a_person_clears_it_and_nothing_starts_by_that(self, watch):
        watch.estop(100.1)
        watch.gone()
        watch.acknowledge(ANNA)
        assert causes(watch) == []
        assert watch.update(100.2) is Permission.STOP

    def test_a_word_given_before_it_does_not_clear_it(self, watch):
        watch.estop(100.1)
        watch.acknowledge(replace(ANNA, given_s=100.0))
        assert causes(watch) == [ESTOP]
        watch.acknowledge(replace(ANNA, given_s=100.2))
        assert causes(watch) == []

    def test_pressed_again_it_needs_another_word(self, watch):
        watch.estop(100.1)
        watch.estop(100.3)
        watch.acknowledge(replace(ANNA, given_s=100.2))
        assert causes(watch) == [ESTOP]

    def test_not_while_there_is_torque_and_not_without_a_release(self, watch):
        watch.estop(100.1)
        with pytest.raises(ValueError, match="torque must be off"):
            watch.acknowledge(Acknowledgement(name="Anna", action="x", torque_off=False, physical_release=True))
        watch.acknowledge(Acknowledgement(name="Anna", action="x", torque_off=True))
        assert causes(watch) == [ESTOP]


class TestStart:
    def test_a_daemon_whose_loop_never_begins_is_replaced_and_nothing_is_latched(self):
        watch = GuardWatch(Latches())
        watch.begun(10.0)
        for now_s in (11.0, 10.0 + START_S):
            assert watch.update(now_s) is Permission.STOP
            assert not watch.frozen
        watch.update(10.1 + START_S)
        assert watch.frozen
        assert causes(watch) == []
        watch.begun(200.0)
        watch.update(201.0)
        assert not watch.frozen

    def test_one_that_has_answered_may_end(self):
        watch = GuardWatch(Latches())
        watch.begun(10.0)
        watch.heard(12.0)
        watch.gone()
        watch.update(500.0)
        assert not watch.frozen


class TestCrashes:
    def test_a_few_are_answered_by_a_new_daemon(self, watch):
        assert all(watch.crashed(100.0 + second) for second in range(CRASHES - 1))
        assert causes(watch) == []

    def test_too_many_within_the_window_are_not(self, watch):
        started = [watch.crashed(100.0 + second) for second in range(CRASHES)]
        assert started == [True] * (CRASHES - 1) + [False]
        assert causes(watch) == [CRASH_LOOP]

    def test_the_same_number_over_a_longer_time_is(self, watch):
        assert all(watch.crashed(100.0 + second * CRASH_WINDOW_S / 3) for second in range(3 * CRASHES))
