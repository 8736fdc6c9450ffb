"""Latches and operation, told as scenarios: what clears a cause, and what does not."""

import itertools
import json
import random

import pytest

from agent.latches import Acknowledgement, Latches, Level
from agent.operation import Operation
from agent.states import AUTONOMOUS_MOTION, LATCHING, Event, State, severity

ACK = Acknowledgement(name="Ada", action="put back on its feet", torque_off=True)
RELEASED = Acknowledgement(name="Ada", action="released the button", torque_off=True, physical_release=True)


def running() -> Operation:
    operation = Operation()
    for event in (Event.BOOT_OK, Event.SELFTEST_OK, Event.START_PERMIT, Event.TASK_READY, Event.ARMED):
        operation = operation.apply(event)
    assert operation.state is State.ATTEMPT
    return operation


class TestLevels:
    def test_l0_clears_with_its_condition(self):
        latches = Latches().add("low_disk", Level.L0, State.STANDBY, 1.0)
        assert not latches.forbids_start
        assert len(latches.condition_gone("low_disk")) == 0

    def test_l1_needs_a_new_attempt_as_well(self):
        latches = Latches().add("soft_fence", Level.L1, State.HOLD, 1.0)
        assert latches.forbids_start
        assert len(latches.new_attempt()) == 1
        gone = latches.condition_gone("soft_fence")
        assert len(gone) == 1
        assert not gone.forbids_start
        assert len(gone.new_attempt()) == 0

    @pytest.mark.parametrize("level", [Level.L2, Level.L3])
    def test_from_l2_on_only_a_person_clears(self, level):
        latches = Latches().add("hot_motor", level, State.SAFE_STOP, 1.0)
        untouched = latches.condition_gone("hot_motor").new_attempt().self_test_passed()
        assert untouched.held_state is State.SAFE_STOP
        assert untouched.forbids_start

    def test_l2_stays_while_its_condition_does(self):
        latches = Latches().add("hot_motor", Level.L2, State.SAFE_STOP, 1.0)
        assert latches.acknowledge(ACK).held_state is State.SAFE_STOP
        assert len(latches.condition_gone("hot_motor").acknowledge(ACK)) == 0

    def test_l3_needs_release_acknowledgement_and_self_test(self):
        latches = Latches().add("estop", Level.L3, State.ESTOP, 1.0, active=False)
        assert latches.acknowledge(ACK).held_state is State.ESTOP
        released = latches.acknowledge(RELEASED)
        assert released.held_state is None
        assert released.forbids_start
        assert len(released.self_test_passed()) == 0

    @pytest.mark.parametrize(
        "bad",
        [
            Acknowledgement(name=" ", action="x", torque_off=True),
            Acknowledgement(name="Ada", action="", torque_off=True),
            Acknowledgement(name="Ada", action="x", torque_off=False),
        ],
    )
    def test_an_incomplete_acknowledgement_is_refused(self, bad):
        with pytest.raises(ValueError, match=r"name|torque"):
            Latches().add("x", Level.L2, State.SAFE_STOP, 0.0).acknowledge(bad)

    def test_a_repeated_cause_stays_one_and_never_weakens(self):
        latches = Latches().add("x", Level.L3, State.ESTOP, 1.0).add("x", Level.L2, State.SAFE_STOP, 2.0)
        (only,) = latches
        assert (only.level, only.state, only.since_s) == (Level.L3, State.ESTOP, 1.0)

    def test_a_cause_that_nobody_could_end_is_refused(self):
        with pytest.raises(ValueError, match="NEED_HUMAN"):
            Latches().add("x", Level.L2, State.HOLD, 0.0)

    @pytest.mark.parametrize("pair", list(itertools.product(sorted(LATCHING), repeat=2)))
    def test_the_most_severe_of_two_holds(self, pair):
        latches = Latches().add("a", Level.L2, pair[0], 0.0).add("b", Level.L2, pair[1], 0.0)
        assert severity(latches.held_state) == max(severity(state) for state in pair)


class TestStorage:
    def test_json_round_trip(self):
        latches = Latches().add("a", Level.L2, State.NEED_HUMAN, 1.5).add("b", Level.L3, State.ESTOP, 2.5, active=False)
        assert Latches.from_json(json.loads(json.dumps(latches.to_json()))) == latches

    @pytest.mark.parametrize("data", [[{}], [{"cause": "x"}], [None], [{"cause": "x", "level": 9, "state": "ESTOP"}]])
    def test_damage_is_an_error_and_not_an_empty_list(self, data):
        with pytest.raises(ValueError, match=r"stored|Level"):
            Latches.from_json(data)

    @pytest.mark.parametrize("event", [Event.HARD_FAULT, Event.ESTOP])
    def test_survives_a_hundred_restarts(self, event):
        stopped = running().apply(event)
        operation = stopped
        for _ in range(100):
            stored = json.dumps(operation.latches.to_json())
            operation = Operation(latches=Latches.from_json(json.loads(stored))).apply(Event.BOOT_OK)
            assert operation.state is stopped.state


class TestOperation:
    def test_an_attempt_needs_a_permit(self):
        standby = Operation(state=State.STANDBY)
        assert standby.apply(Event.TASK_READY).state is State.STANDBY
        assert standby.apply(Event.START_PERMIT).apply(Event.TASK_READY).state is State.ARMING

    def test_after_an_acknowledgement_it_waits_for_a_new_permit(self):
        """P11: a reset permits restart, it does not restart."""
        stopped = running().apply(Event.HARD_FAULT, cause="hot_motor", robot_s=3.0)
        assert stopped.state is State.SAFE_STOP
        standby = stopped.acknowledge(ACK).apply(Event.SELFTEST_OK)
        assert standby.state is State.STANDBY
        assert standby.apply(Event.TASK_READY).state is State.STANDBY

    def test_an_estop_without_release_stays(self):
        stopped = running().apply(Event.ESTOP)
        assert stopped.acknowledge(ACK).state is State.ESTOP
        assert stopped.acknowledge(RELEASED).state is State.SELF_TEST

    def test_an_acknowledgement_that_leaves_a_cause_does_not_release(self):
        stopped = running().apply(Event.HARD_FAULT, cause="a", active=True).apply(Event.HARD_FAULT, cause="b")
        waiting = stopped.acknowledge(ACK)
        assert waiting.state is State.SAFE_STOP
        assert [latch.cause for latch in waiting.latches] == ["a"]

    def test_a_bare_ack_event_clears_nothing(self):
        stopped = running().apply(Event.HARD_FAULT)
        assert stopped.apply(Event.HUMAN_ACK) == stopped

    def test_a_fault_during_shutdown_is_kept_for_the_next_start(self):
        ending = running().apply(Event.SIGTERM).apply(Event.HARD_FAULT, cause="dead_motor")
        assert ending.state is State.SHUTDOWN
        assert Operation(latches=ending.latches).apply(Event.BOOT_OK).state is State.SAFE_STOP

    def test_exhausted_recovery_latches_once(self):
        operation = running().apply(Event.FALL_PREDICTED).apply(Event.BASE_STILL)
        waiting = operation.apply(Event.RECOVER_FAIL, cause="stand_up_failed", robot_s=9.0)
        assert waiting.waits_for_human
        assert [(item.cause, item.level, item.since_s) for item in waiting.latches] == [
            ("stand_up_failed", Level.L2, 9.0)
        ]

    def test_undefined_events_change_nothing(self):
        operation = running()
        assert not operation.accepts(Event.BOOT_OK)
        assert operation.apply(Event.BOOT_OK) == operation

    def test_random_sequences_never_move_without_permit_nor_clear_a_latch(self):
        rng = random.Random(1)
        events = list(Event)
        for _ in range(2_000):
            operation = Operation()
            for _ in range(50):
                event = rng.choice(events)
                before, operation = operation, operation.apply(event)
                if operation.state in AUTONOMOUS_MOTION:
                    assert operation.permitted
                if before.state not in AUTONOMOUS_MOTION and operation.state in AUTONOMOUS_MOTION:
                    assert (before.state, event) == (State.STANDBY, Event.TASK_READY)
                if operation.state in LATCHING:
                    assert operation.latches.held_state is not None
                assert {item.cause for item in before.latches} <= {item.cause for item in operation.latches}
