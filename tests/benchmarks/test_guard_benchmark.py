"""The benchmark of the guard."""

from __future__ import annotations

from benchmarks.guard import CAUSES, WAYS, _latch_trials


def test_nothing_but_a_person_clears_what_the_guard_latched():
    trials = _latch_trials()
    assert len(trials) == len(CAUSES) * len(WAYS)
    assert not any(trials)
