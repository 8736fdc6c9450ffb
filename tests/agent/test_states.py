"""The state machine against reliability.md (d): every pair, the severity order and the invariants on the pure table."""

import itertools
import random

import pytest

from agent.states import (
    AUTONOMOUS_MOTION,
    LATCHING,
    TABLE,
    TORQUE_ALLOWED,
    Event,
    Limits,
    Severity,
    State,
    is_defined,
    most_severe,
    next_state,
    severity,
    torque_allowed,
)
from skills.registry import skills
from skills.skill import SkillKind

S, E = State, Event

# Row by row as the reference states it, written down independently of the table in the code.
REFERENCE = {
    (S.BOOT, E.BOOT_OK): S.SELF_TEST,
    (S.BOOT, E.BOOT_FAIL): S.SAFE_STOP,
    (S.SELF_TEST, E.SELFTEST_OK): S.STANDBY,
    (S.SELF_TEST, E.SELFTEST_FAIL): S.NEED_HUMAN,
    (S.STANDBY, E.TASK_READY): S.ARMING,
    (S.STANDBY, E.OPERATOR_TAKE): S.ENGINEERING,
    (S.LEARN_ONLY, E.OPERATOR_TAKE): S.ENGINEERING,
    (S.HOLD, E.OPERATOR_TAKE): S.ENGINEERING,
    (S.ARMING, E.ARMED): S.ATTEMPT,
    (S.ARMING, E.ARM_TIMEOUT): S.STANDBY,
    (S.ATTEMPT, E.ATTEMPT_DONE): S.RESET,
    (S.ATTEMPT, E.ATTEMPT_TIMEOUT): S.RESET,
    (S.RESET, E.TASK_READY): S.ARMING,
    (S.RESET, E.RESET_OK): S.STANDBY,
    (S.RESET, E.RESET_FAIL): S.NEED_HUMAN,
    (S.HOLD, E.SOFT_CLEAR): S.RESET,
    (S.ATTEMPT, E.FALL_PREDICTED): S.FALLING,
    (S.RESET, E.FALL_PREDICTED): S.FALLING,
    (S.FALLING, E.BASE_STILL): S.RECOVER,
    (S.RECOVER, E.UPRIGHT): S.RESET,
    (S.RECOVER, E.RECOVER_FAIL): S.NEED_HUMAN,
    (S.ATTEMPT, E.DRIFT): S.DEGRADED,
    (S.DEGRADED, E.PERF_LOW): S.NEED_HUMAN,
    (S.NEED_HUMAN, E.HUMAN_ACK): S.SELF_TEST,
    (S.SAFE_STOP, E.HUMAN_ACK): S.SELF_TEST,
    (S.ESTOP, E.HUMAN_ACK): S.SELF_TEST,
} | {(s, E.SOFT_FAULT): S.HOLD for s in (S.ARMING, S.ATTEMPT, S.RESET, S.RECOVER, S.DEGRADED)}

FAULT_EVENTS = (E.SOFT_FAULT, E.FALL_PREDICTED, E.RECOVER_FAIL, E.DRIFT, E.HARD_FAULT, E.ESTOP)
# What each cause asks for in a running attempt.
CAUSES = {
    E.DRIFT: S.DEGRADED,
    E.SOFT_FAULT: S.HOLD,
    E.FALL_PREDICTED: S.FALLING,
    E.HARD_FAULT: S.SAFE_STOP,
    E.SIGTERM: S.SHUTDOWN,
    E.ESTOP: S.ESTOP,
}


class TestTable:
    def test_has_16_states_and_26_events(self):
        assert (len(State), len(Event)) == (16, 26)

    @pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
    def test_every_pair_gives_a_state_and_undefined_pairs_stay(self, state, event):
        after = next_state(state, event)
        assert after in State
        if not is_defined(state, event):
            assert after is state

    @pytest.mark.parametrize(("pair", "after"), REFERENCE.items())
    def test_follows_the_reference(self, pair, after):
        assert next_state(*pair) is after

    @pytest.mark.parametrize("state", State)
    def test_estop_is_one_event_away_from_everywhere(self, state):
        assert next_state(state, E.ESTOP) is S.ESTOP

    @pytest.mark.parametrize("state", sorted(set(State) - {S.ESTOP, S.SHUTDOWN}))
    def test_hard_fault_stops_everything_else(self, state):
        assert next_state(state, E.HARD_FAULT) is S.SAFE_STOP

    @pytest.mark.parametrize("state", State)
    def test_sigterm_shuts_down_all_but_an_emergency_stop(self, state):
        assert next_state(state, E.SIGTERM) is (S.ESTOP if state is S.ESTOP else S.SHUTDOWN)

    def test_every_state_can_be_reached_from_boot(self):
        assert _reachable(S.BOOT, allowed=set(State)) == set(State)

    def test_shutdown_ends_in_nothing_but_an_emergency_stop(self):
        assert {next_state(S.SHUTDOWN, event) for event in Event} == {S.SHUTDOWN, S.ESTOP}


class TestLatching:
    @pytest.mark.parametrize("state", sorted(LATCHING))
    @pytest.mark.parametrize("event", sorted(set(Event) - {E.HUMAN_ACK, E.SIGTERM}))
    def test_nothing_but_a_person_leads_to_less(self, state, event):
        assert severity(next_state(state, event)) >= severity(state)

    @pytest.mark.parametrize("state", sorted(LATCHING))
    def test_acknowledgement_leads_to_the_self_test_and_never_to_motion(self, state):
        assert next_state(state, E.HUMAN_ACK) is S.SELF_TEST


class TestMotion:
    @pytest.mark.parametrize("state", sorted(set(State) - AUTONOMOUS_MOTION - {S.STANDBY}))
    def test_starts_from_standby_alone(self, state):
        """Without passing STANDBY, no sequence of events leads from rest to autonomous motion (I3)."""
        reached = _reachable(state, allowed=set(State) - {S.STANDBY})
        assert not reached & AUTONOMOUS_MOTION

    def test_standby_starts_only_by_task_ready(self):
        starts = {event for event in Event if next_state(S.STANDBY, event) in AUTONOMOUS_MOTION}
        assert starts == {E.TASK_READY}

    def test_torque_only_where_allowed(self):
        off = {S.BOOT, S.SELF_TEST, S.STANDBY, S.LEARN_ONLY, S.NEED_HUMAN, S.SAFE_STOP, S.ESTOP, S.SHUTDOWN}
        assert set(State) - TORQUE_ALLOWED == off

    @pytest.mark.parametrize(
        ("state", "seconds", "allowed"),
        [
            (S.ATTEMPT, 1e6, True),
            (S.SAFE_STOP, 2.99, True),
            (S.SAFE_STOP, 3.0, False),
            (S.SHUTDOWN, 9.99, True),
            (S.SHUTDOWN, 10.0, False),
            (S.ESTOP, 0.0, False),
            (S.NEED_HUMAN, 0.0, False),
        ],
    )
    def test_settle_phases_are_bounded(self, state, seconds, allowed):
        assert torque_allowed(state, seconds) is allowed


class TestSeverity:
    def test_order(self):
        order = (S.ATTEMPT, S.DEGRADED, S.HOLD, S.FALLING, S.NEED_HUMAN, S.SAFE_STOP, S.ESTOP)
        assert list(order) == sorted(order, key=severity)
        assert len({severity(state) for state in order}) == len(order)
        assert severity(S.RECOVER) == severity(S.FALLING) == Severity.FALL

    @pytest.mark.parametrize("pair", list(itertools.product(CAUSES, repeat=2)))
    def test_of_two_causes_the_most_severe_wins_in_either_order(self, pair):
        state = S.ATTEMPT
        for event in pair:
            state = next_state(state, event)
        assert state is most_severe(*(CAUSES[event] for event in pair))

    @pytest.mark.parametrize("pair", list(itertools.product(State, repeat=2)))
    def test_most_severe_has_the_highest_severity(self, pair):
        assert severity(most_severe(*pair)) == max(severity(state) for state in pair)

    @pytest.mark.parametrize(("state", "event"), list(itertools.product(State, FAULT_EVENTS)))
    def test_a_fault_never_makes_it_less_severe(self, state, event):
        if (state, event) == (S.RECOVER, E.SOFT_FAULT):
            # The one exception: a robot that lies on the floor is safest damped.
            assert next_state(state, event) is S.HOLD
            return
        assert severity(next_state(state, event)) >= severity(state)

    def test_needs_a_state(self):
        with pytest.raises(ValueError, match="at least one"):
            most_severe()


def test_random_sequences_keep_the_invariants():
    """10,000 sequences of 50 events; what a sequence may never do is written without looking at the table."""
    rng = random.Random(0)
    events = list(Event)
    for _ in range(10_000):
        state, standby_since_rest = S.BOOT, False
        for _ in range(50):
            event = rng.choice(events)
            before, state = state, next_state(state, event)
            if not is_defined(before, event):
                assert state is before
            if state not in AUTONOMOUS_MOTION:
                standby_since_rest = state is S.STANDBY
            assert state not in AUTONOMOUS_MOTION or standby_since_rest
            if before in LATCHING and state not in LATCHING:
                assert event in (E.HUMAN_ACK, E.SIGTERM)
            if event is E.ESTOP:
                assert state is S.ESTOP
            if before is S.ESTOP and state is not S.ESTOP:
                assert event is E.HUMAN_ACK


def test_limits_are_those_of_the_reference():
    limits = Limits()
    assert (limits.hold_window_s, limits.arming_s, limits.arming_tries) == (5.0, 10.0, 3)
    assert (limits.reset_s, limits.reset_tries) == (60.0, 3)
    assert (limits.recover_s, limits.recover_tries, limits.falls_per_hour) == (20.0, 3, 10)
    assert (limits.falling_s, limits.base_still_s, limits.upright_s) == (3.0, 0.5, 1.0)


def test_state_names_are_known_to_the_time_accounting():
    from persistence.records import STATE_TO_E10

    assert {state.value for state in State} <= set(STATE_TO_E10)


def _reachable(start, allowed):
    seen, new = {start}, [start]
    while new:
        state = new.pop()
        for (source, _), target in TABLE.items():
            if source is state and target in allowed and target not in seen:
                seen.add(target)
                new.append(target)
    return seen


@pytest.mark.parametrize(
    ("kind", "longest_s"), [(SkillKind.RESET, Limits().reset_s), (SkillKind.RECOVERY, Limits().recover_s)]
)
def test_no_try_of_a_skill_takes_longer_than_its_state_allows(kind, longest_s):
    found = [skill for skill in skills().values() if skill.kind is kind]
    assert found
    assert all(skill.horizon_s <= longest_s for skill in found)
