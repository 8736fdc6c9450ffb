"""The navigation study: what each variant is given, and that a short run counts what happened."""

from __future__ import annotations

import pytest

from benchmarks import navigation
from benchmarks.navigation import LEARNERS, run


@pytest.fixture(autouse=True)
def little(monkeypatch):
    monkeypatch.setattr(navigation, "OFFLINE_STEPS", 200)
    monkeypatch.setattr(navigation, "PRETRAINING_UPDATES", 5)
    monkeypatch.setattr(navigation, "TASK_UPDATES_PER_STEP", 0.1)
    monkeypatch.setattr(navigation, "RISK_UPDATES_PER_STEP", 0.1)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("course", navigation.COURSES)
def test_every_variant_runs_and_counts_its_episodes(course, learner):
    figures = run(0, 2, {"course": course, **LEARNERS[learner]})
    assert len(figures["outcomes"]) == 2
    assert figures["violations"] == figures["outcomes"].count("v")
    assert figures["successes"] == figures["outcomes"].count("s")
    assert figures["recoveries"] == 0 if not LEARNERS[learner]["critic"] else figures["recoveries"] <= figures["steps"]
