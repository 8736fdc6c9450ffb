"""What the daemon makes of its guard's decisions."""

import shutil
import threading
import time

import pytest

from agent.attempts import Interrupt
from agent.guard import Guard, permit_path
from agent.guard_link import GONE, LATE, GuardLink
from agent.guard_watch import ESTOP
from agent.latches import Acknowledgement
from agent.permit import GUARD_SILENCE_S, Permission, PermitMemory, runtime_dir
from agent.states import LATCHING, TORQUE_ALLOWED, Event, State


@pytest.fixture
def home(tmp_path):
    runtime_dir(tmp_path)
    yield tmp_path
    shutil.rmtree(runtime_dir(tmp_path))


@pytest.fixture
def heard(home):
    """What a daemon in a state hears of a guard that allows something, or has shown no sign of life for a while."""
    guard, link = PermitMemory(permit_path(home)), GuardLink(home)

    def hear(state: State, permission: Permission, *, latched: bool = False, silent_s: float = 0.0):
        guard.allow(permission, latched=latched)
        guard._reals[2] -= silent_s
        try:
            link.look(state)
        except Interrupt as interrupt:
            return interrupt.event, interrupt.cause
        return None

    yield hear
    guard.close()


@pytest.mark.parametrize("state", State)
def test_with_torque_it_hears_nothing(heard, state):
    assert heard(state, Permission.TORQUE) is None


@pytest.mark.parametrize("state", State)
def test_a_cut_is_an_emergency_stop(heard, state):
    assert heard(state, Permission.CUT, latched=True) == (None if state is State.ESTOP else (Event.ESTOP, ESTOP))


@pytest.mark.parametrize("state", State)
def test_what_is_latched_is_a_hard_fault_until_the_state_says_so(heard, state):
    got = heard(state, Permission.STOP, latched=True)
    assert got is None if state in LATCHING else got[0] is Event.HARD_FAULT


@pytest.mark.parametrize("state", State)
def test_damping_is_a_soft_fault_where_the_robot_would_do_more(heard, state):
    moves = state in TORQUE_ALLOWED and state not in (State.HOLD, State.FALLING)
    assert heard(state, Permission.DAMPING) == ((Event.SOFT_FAULT, LATE) if moves else None)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("permission", [Permission.TORQUE, Permission.STOP])
def test_without_its_guard_no_robot_goes_on(heard, state, permission):
    got = heard(state, permission, silent_s=1.1)
    assert got == ((Event.HARD_FAULT, GONE) if state in TORQUE_ALLOWED else None)


def test_a_guard_that_is_late_once_is_not_gone(heard):
    got = heard(State.ATTEMPT, Permission.TORQUE, silent_s=1.5 * GUARD_SILENCE_S)
    assert got == (Event.SOFT_FAULT, LATE)


def test_without_a_guard_nobody_takes_an_acknowledgement(home):
    by = Acknowledgement(name="Anna", action="looked", torque_off=True)
    begun_s = time.monotonic()
    assert not GuardLink(home).acknowledge(by)
    assert time.monotonic() - begun_s < 0.5


def test_a_guard_that_holds_nothing_lets_go_at_once(home):
    guard, over = Guard(home), threading.Event()

    def turn() -> None:
        while not over.is_set():
            guard.turn()

    turning = threading.Thread(target=turn)
    turning.start()
    try:
        link = GuardLink(home)
        given_s = time.monotonic()
        link.acknowledge(Acknowledgement(name="Anna", action="looked", torque_off=True, given_s=given_s))
        guard.watch.estop(time.monotonic())
        stale = Acknowledgement(name="Anna", action="looked", torque_off=True, physical_release=True, given_s=given_s)
        assert not link.acknowledge(stale)
    finally:
        over.set()
        turning.join()
        guard.close()
