"""Random lives against a brute-force count, second by second."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.ledger import TimeAxis, merge_interrupts
from persistence.records import STATE_TO_E10, E10State, InterruptClass

STATES = ["ATTEMPT", "RESET", "STANDBY", "ENGINEERING", "MAINTENANCE", "NEED_HUMAN", "OFF"]
INTERVALS = st.lists(st.tuples(st.sampled_from(STATES), st.integers(1, 9)), min_size=1, max_size=30)
MARKS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["assist", "failure"]), st.booleans()), min_size=0, max_size=8
)


@dataclass
class Clock:
    """State of each whole second."""

    seconds: list[E10State] = field(default_factory=list)

    def productive(self, start_s: int, end_s: int) -> int:
        return sum(state is E10State.PRODUCTIVE for state in self.seconds[start_s:end_s])


def build(rows: list[tuple[str, int]]) -> tuple[TimeAxis, Clock]:
    clock, starts, ends = Clock(), [], []
    for state, length in rows:
        starts.append(float(len(clock.seconds)))
        clock.seconds += [STATE_TO_E10[state]] * length
        ends.append(float(len(clock.seconds)))
    return TimeAxis(starts, ends, [STATE_TO_E10[state].value for state, _ in rows]), clock


@settings(max_examples=150, deadline=None)
@given(INTERVALS, st.floats(0, 1), st.floats(0, 1))
def test_state_times_and_exposure_match_a_count_of_seconds(rows, low, high):
    axis, clock = build(rows)
    total = len(clock.seconds)
    since, until = sorted((int(low * total), int(high * total)))
    seconds = axis.state_seconds(since, until)
    for state in E10State:
        assert seconds[state] == pytest.approx(clock.seconds[since:until].count(state), abs=1e-9)
    assert sum(seconds.values()) == pytest.approx(until - since, abs=1e-9)
    assert axis.productive_before(until) - axis.productive_before(since) == pytest.approx(
        clock.productive(since, until), abs=1e-9
    )


@settings(max_examples=150, deadline=None)
@given(INTERVALS, MARKS)
def test_interrupts_match_a_count_of_stops(rows, marks):
    axis, clock = build(rows)
    total = len(clock.seconds)
    opened = sorted((int(share * total), kind, closed) for share, kind, closed in marks)
    groups: list[list[tuple[int, str, bool]]] = []
    for mark in opened:
        worked = not groups or clock.productive(groups[-1][-1][0], mark[0]) > 0
        # exactly one position per stop: two marks at the same second belong together as well
        if worked:
            groups.append([mark])
        else:
            groups[-1].append(mark)
    data = [("stuck", kind, float(at_s), at_s + 1.0 if closed else None) for at_s, kind, closed in opened]
    merged = merge_interrupts(data, axis)
    assert [item.opened_s for item in merged] == [float(group[0][0]) for group in groups]
    for item, group in zip(merged, groups, strict=True):
        assert (item.e10_class is InterruptClass.FAILURE) == any(kind == "failure" for _, kind, _ in group)
        assert (item.closed_s is None) == any(not closed for _, _, closed in group)
