"""Random histories told to a store, with heartbeats, late intervals and crashes: no second is lost or doubled."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.home import Home
from persistence.metrics import metrics
from persistence.records import RunStart, StateInterval
from persistence.report import store_report
from persistence.store import Store

STATES = ["ATTEMPT", "STANDBY", "NEED_HUMAN"]
STEPS = st.lists(
    st.tuples(st.sampled_from(["record", "hold", "beat", "crash"]), st.sampled_from(STATES), st.floats(0.01, 50)),
    min_size=1,
    max_size=15,
)


class Teller:
    """Tells a history and keeps the books of what must have been recorded."""

    def __init__(self, store: Store) -> None:
        self.store, self.pending = store, []
        self.now_s = self.known_s = 0.0
        self.books: list[tuple[str, float]] = []
        self.run_id = store.start_run(RunStart(robot="r", started_s=0.0))

    def step(self, action: str, state: str, seconds: float) -> None:
        start_s = self.now_s
        if action == "crash":
            self.store.recover()
            self.now_s, self.pending = self.known_s, []
            self.run_id = self.store.start_run(RunStart(robot="r", started_s=self.now_s))
            return
        self.now_s = start_s + seconds
        row = StateInterval.of(state, start_s, self.now_s)
        if action == "beat":
            self.store.heartbeat(self.run_id, self.now_s, row, self.pending)
        self.pending.append(row)
        if action == "record":
            self.store.record_intervals(self.run_id, self.pending)
            self.pending = []
        if action != "hold":
            self.known_s = self.now_s


@settings(max_examples=20, deadline=None)
@given(STEPS)
def test_recorded_time_is_whole_after_any_history(steps):
    with tempfile.TemporaryDirectory() as name:
        home = Home(Path(name)).prepare()
        with Store.open(home.db) as store:
            teller = Teller(store)
            for step in steps:
                teller.step(*step)
            rows = store.rows("SELECT started_s, ended_s FROM state_intervals ORDER BY started_s")
            ends = [0.0, *(row["ended_s"] for row in rows)]
            assert [row["started_s"] for row in rows] == ends[:-1]
            assert ends[-1] == teller.known_s
            result = metrics(store)
            assert sum(result["state_hours"].values()) == pytest.approx(result["observed_hours"], abs=1e-9)
            assert result["observed_hours"] * 3600 == pytest.approx(teller.known_s, rel=1e-9, abs=1e-9)
            assert result["failures"] <= sum(action == "crash" for action, _, _ in steps)
        assert store_report(home.db).problems == ()
