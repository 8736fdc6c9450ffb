"""The books: intervals that join, attempts that are never lost, and an error that is not swallowed."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from agent.ledger import Ledger
from persistence.episodes import read_episode
from persistence.home import Home
from persistence.metrics import metrics
from persistence.records import CANNOT_BE_UNDONE, AttemptEnd, Outcome, RunStart, SelfRecovery, SkillKind, SkillRow
from persistence.store import Store
from persistence.writer import StoreWriter
from skills.experience import AttemptArrays


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home").prepare()


@pytest.fixture
def writer(home):
    with StoreWriter(home.db) as opened:
        yield opened


def books(home, writer, *, unplanned: bool = False) -> Ledger:
    def begin(store: Store) -> int:
        now_s = store.recover().robot_time_s
        run_id = store.start_run(RunStart(robot="fake", started_s=now_s, seed=0))
        store.register_skill(SkillRow(name="walk", kind=SkillKind.TASK), now_s)
        return run_id

    return Ledger(home, writer, writer.submit(begin).result(), "BOOT", 0.0, unplanned=unplanned)


def rows(writer, sql: str):
    return writer.submit(lambda store: [tuple(row.values()) for row in store.rows(sql)]).result()


def intervals(writer):
    return rows(writer, "SELECT state, e10, started_s, ended_s, attempt_id FROM state_intervals ORDER BY started_s")


def ended(attempt_id: int, ended_s: float, outcome: Outcome = Outcome.TIMEOUT) -> AttemptEnd:
    return AttemptEnd(attempt_id=attempt_id, ended_s=ended_s, outcome=outcome)


def arrays() -> AttemptArrays:
    return AttemptArrays(
        family="walk",
        frames=np.zeros((3, 5), np.float32),
        stamps_s=np.array([0.0, 0.04, 0.08]),
        actions=np.full((2, 12), 0.5, np.float32),
        proposed=np.full((2, 12), 0.7, np.float32),
        resting=np.zeros(12, np.float32),
        phase_rad=np.zeros(3, np.float32),
    )


def test_intervals_join_and_sum_to_the_observed_time(home, writer):
    ledger = books(home, writer)
    times = [0.02 * n for n in (1, 4, 150, 151, 400)]
    for state, now_s in zip(("SELF_TEST", "STANDBY", "ARMING", "ATTEMPT", "RESET"), times, strict=True):
        ledger.enter(state, now_s)
    ledger.end_run(9.0, "test")
    found = intervals(writer)
    assert [row[0] for row in found] == ["BOOT", "SELF_TEST", "STANDBY", "ARMING", "ATTEMPT", "RESET"]
    assert all(before[3] == after[2] for before, after in itertools.pairwise(found))
    assert sum(row[3] - row[2] for row in found) == pytest.approx(9.0, abs=1e-9)
    assert found[-1][3] == 9.0


def test_the_time_of_an_attempt_belongs_to_it(home, writer):
    ledger = books(home, writer)
    ledger.enter("ATTEMPT", 1.0)
    attempt_id = ledger.start_attempt("walk", 1.5, 7, evaluation=False, could_start=("walk",)).result()
    ledger.attempt_started(attempt_id)
    ledger.finish_attempt(ended(attempt_id, 4.0), "walk", 7, None).result()
    ledger.end_run(5.0, "test")
    assert [(row[4], row[3] - row[2]) for row in intervals(writer)] == [(None, 1.0), (None, 0.5), (1, 2.5), (None, 1.0)]
    assert rows(writer, "SELECT state, outcome, policy_version FROM attempts") == [("finished", "timeout", 7)]


def test_an_episode_is_on_disk_before_its_row_says_so(home, writer):
    ledger = books(home, writer)
    attempt_id = ledger.start_attempt("walk", 0.0, 3, evaluation=False, could_start=()).result()
    path = ledger.finish_attempt(ended(attempt_id, 1.0), "walk", 3, arrays()).result()
    (stored,) = rows(writer, "SELECT episode_file, episode_sha256 FROM attempts")
    episode = read_episode(home.episodes / stored[0], stored[1])
    assert path == home.episodes / stored[0]
    assert (episode.skill, episode.policy_version, episode.steps) == ("walk", "3", 2)
    np.testing.assert_array_equal(episode.proposed, arrays().proposed)
    assert not episode.cut_short


def test_an_episode_says_that_its_attempt_was_cut_short(home, writer):
    ledger = books(home, writer)
    attempt_id = ledger.start_attempt("walk", 0.0, 3, evaluation=False, could_start=()).result()
    end = replace(ended(attempt_id, 1.0), end_reason=CANNOT_BE_UNDONE)
    assert read_episode(ledger.finish_attempt(end, "walk", 3, arrays()).result()).cut_short


def test_an_attempt_without_steps_has_no_file(home, writer):
    ledger = books(home, writer)
    attempt_id = ledger.start_attempt("walk", 0.0, None, evaluation=False, could_start=()).result()
    assert ledger.finish_attempt(ended(attempt_id, 1.0), "walk", None, None).result() is None
    assert list(home.episodes.iterdir()) == []


@pytest.mark.parametrize("unplanned", [False, True])
def test_after_a_crash_the_time_to_the_passed_self_test_is_downtime(home, writer, unplanned):
    ledger = books(home, writer, unplanned=unplanned)
    for state, now_s in (("SELF_TEST", 1.0), ("STANDBY", 2.0), ("SELF_TEST", 3.0)):
        ledger.enter(state, now_s)
    ledger.end_run(4.0, "test")
    down = "unscheduled_down" if unplanned else "standby"
    assert [row[1] for row in intervals(writer)] == [down, down, "standby", "standby"]


def test_an_intervention_makes_the_next_self_test_downtime(home, writer):
    ledger = books(home, writer)
    ledger.enter("STANDBY", 1.0)
    ledger.enter("NEED_HUMAN", 2.0)
    ledger.open_intervention("stand_up_failed", 2.0, failure=False).result()
    ledger.enter("SELF_TEST", 10.0)
    ledger.close_interventions(10.0, operator="Ada", note="put back")
    ledger.enter("STANDBY", 11.0)
    ledger.end_run(12.0, "test")
    assert [row[:2] for row in intervals(writer)][2:] == [
        ("NEED_HUMAN", "unscheduled_down"),
        ("SELF_TEST", "unscheduled_down"),
        ("STANDBY", "standby"),
    ]
    found = rows(writer, "SELECT cause, class, opened_s, closed_s, operator FROM interventions")
    assert found == [("stand_up_failed", "assist", 2.0, 10.0, "Ada")]


def test_a_heartbeat_says_how_far_time_is_known_and_what_follows_replaces_it(home, writer):
    ledger = books(home, writer)
    ledger.enter("STANDBY", 1.0)
    ledger.heartbeat(1.7)
    assert [row[:4] for row in intervals(writer)] == [
        ("BOOT", "standby", 0.0, 1.0),
        ("STANDBY", "standby", 1.0, 1.7),
    ]
    ledger.heartbeat(2.5)
    ledger.enter("ARMING", 3.0)
    ledger.end_run(4.0, "test")
    assert [row[:4] for row in intervals(writer)] == [
        ("BOOT", "standby", 0.0, 1.0),
        ("STANDBY", "standby", 1.0, 3.0),
        ("ARMING", "productive", 3.0, 4.0),
    ]


def test_a_fall_is_one_row_whether_it_stood_up_or_not(home, writer):
    ledger = books(home, writer)
    ledger.enter("ATTEMPT", 1.0)
    for recovered in (True, False):
        ledger.fell(SelfRecovery(kind="fall", started_s=1.0, ended_s=2.0, recovered=recovered))
    ledger.end_run(3600.0, "test")
    assert (ledger.totals.falls, ledger.totals.self_recoveries) == (2, 1)
    found = writer.submit(metrics).result()
    assert (found["falls"], found["self_recoveries"], found["self_recovery_rate"]) == (2, 1, 0.5)


def test_the_first_failed_write_is_kept(home, writer):
    ledger = books(home, writer)
    assert ledger.error is None
    with pytest.raises(Exception, match="unknown skill 'fly'"):
        ledger.start_attempt("fly", 0.0, None, evaluation=False, could_start=()).result()
    first = ledger.error
    assert "fly" in str(first)
    with pytest.raises(Exception, match="swim"):
        ledger.start_attempt("swim", 0.0, None, evaluation=False, could_start=()).result()
    assert ledger.error is first
