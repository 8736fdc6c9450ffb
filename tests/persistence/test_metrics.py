"""Metrics of hand-computed lives; rules R1 to R6 that remove ambiguity each have a test."""

import math

import pytest

from persistence.metrics import metrics
from persistence.records import InterruptClass, Intervention, Outcome, StateInterval
from persistence.reliability import crow_amsaa, mtbf_interval

KEYS = {
    "productive_hours", "observed_hours", "attempts", "success_rate", "failures", "assists", "interventions",
    "mtbf_hours", "mtbf_lower_hours", "mtbf_upper_hours", "confidence", "mtbi_hours", "mttr_minutes", "availability",
    "falls", "falls_per_hour", "self_recoveries", "self_recovery_rate", "growth", "state_hours", "causes",
}  # fmt: skip
HOUR = 3600.0


def test_empty_store_has_every_key(store):
    result = metrics(store)
    assert set(result) == KEYS
    assert (result["attempts"], result["success_rate"], result["mtbf_hours"], result["growth"]) == (0, None, None, None)
    assert result["observed_hours"] == 0


def test_a_day_computed_by_hand(life, store):
    life.spend("BOOT", 0.1 * HOUR)
    life.attempt(1.9 * HOUR)
    life.help_comes_after(0.2 * HOUR, "stuck", "failure")
    life.attempt(0.9 * HOUR, Outcome.FALL, fall=True)
    life.help_comes_after(0.1 * HOUR, "left_pen", "assist")
    life.attempt(1.2 * HOUR, Outcome.FALL, fall=False)
    life.help_comes_after(0.4 * HOUR, "fall", "failure")
    life.spend("STANDBY", 0.2 * HOUR)
    result = metrics(store, confidence=0.9)
    assert set(result) == KEYS
    assert result["productive_hours"] == pytest.approx(4.0)
    assert result["observed_hours"] == pytest.approx(5.0)
    assert (result["attempts"], result["success_rate"]) == (3, pytest.approx(1 / 3))
    assert (result["failures"], result["assists"], result["interventions"]) == (2, 1, 3)
    assert result["mtbf_hours"] == pytest.approx(2.0)
    assert result["mtbf_lower_hours"] == pytest.approx(4.0 * 0.3177 / 2, abs=1e-4)
    assert result["mtbf_upper_hours"] == pytest.approx(4.0 * 5.6281 / 2, abs=2e-4)
    assert result["mtbi_hours"] == pytest.approx(4.0 / 3)
    assert result["mttr_minutes"] == pytest.approx(0.3 * 60)
    assert result["availability"] == pytest.approx(4.3 / 5.0)
    assert (result["falls"], result["falls_per_hour"]) == (2, pytest.approx(0.5))
    assert (result["self_recoveries"], result["self_recovery_rate"]) == (1, 0.5)
    assert result["causes"] == {"stuck": 1, "left_pen": 1, "fall": 1}
    assert result["growth"] is None
    hours = result["state_hours"]
    assert list(hours) == [
        "productive", "standby", "engineering", "scheduled_down", "unscheduled_down", "non_scheduled",
    ]  # fmt: skip
    assert hours["unscheduled_down"] == pytest.approx(0.7)
    assert hours["standby"] == pytest.approx(0.3)


def test_without_a_failure_only_a_one_sided_lower_bound_is_given(life, store):
    life.attempt(2 * HOUR)
    result = metrics(store, confidence=0.9)
    assert (result["mtbf_hours"], result["mtbf_upper_hours"]) == (None, None)
    assert result["mtbf_lower_hours"] == pytest.approx(2 / -math.log(0.1))


def test_aborted_attempts_count_but_are_not_judged(life, store):
    life.attempt(outcome=Outcome.SUCCESS)
    life.attempt(outcome=Outcome.ABORTED)
    result = metrics(store)
    assert (result["attempts"], result["success_rate"]) == (2, 1.0)


def test_off_time_is_no_downtime(life, store):
    life.spend("ATTEMPT", 60.0)
    life.spend("OFF", 600.0)
    assert metrics(store)["availability"] == 1.0


def test_r1_state_times_sum_to_observed_time(life, store):
    states = ("ATTEMPT", "RESET", "STANDBY", "NEED_HUMAN")
    store.record_intervals(life.run_id, [life.interval(states[i % 4], 0.1 + i / 7) for i in range(1000)])
    result = metrics(store)
    assert abs(sum(result["state_hours"].values()) - result["observed_hours"]) <= 1e-6 * result["observed_hours"]
    assert result["observed_hours"] * HOUR == pytest.approx(life.now_s, rel=1e-12)


def test_r2_crash_counts_from_the_last_heartbeat(life, store):
    life.heartbeat("ATTEMPT", HOUR)
    store.recover()
    result = metrics(store)
    assert (result["failures"], result["causes"]) == (1, {"daemon_crash": 1})
    assert result["productive_hours"] == pytest.approx(1.0)
    assert result["mttr_minutes"] is None


def test_r3_one_cause_is_one_interrupt_at_the_store(life, store):
    life.attempt(HOUR)
    first = life.help_comes_after(60.0, "stuck", "assist")
    life.spend("SELF_TEST", 5.0)
    second = life.help_comes_after(60.0, "motor_hot", "failure")
    assert first == second
    result = metrics(store)
    assert (result["interventions"], result["failures"], result["causes"]) == (1, 1, {"stuck": 1})
    assert result["mttr_minutes"] == pytest.approx(125 / 60)
    life.attempt(HOUR)
    life.help_comes_after(60.0)
    assert metrics(store)["interventions"] == 2


def test_r3_holds_even_when_intervals_came_late(life, store):
    life.spend("ATTEMPT", HOUR)
    rows = [life.interval("NEED_HUMAN", 60.0), life.interval("SELF_TEST", 5.0), life.interval("NEED_HUMAN", 60.0)]
    for row in (rows[0], rows[2]):
        new = Intervention(cause="stuck", e10_class=InterruptClass.FAILURE, opened_s=row.started_s)
        opened = store.open_intervention(new)
        store.close_intervention(opened, row.ended_s)
    assert store.rows("SELECT count(*) AS n FROM interventions") == [{"n": 2}]
    store.record_intervals(life.run_id, rows)
    assert metrics(store)["interventions"] == 1


def test_r3_intervals_given_at_opening_tell_two_stops_apart(life, store):
    life.spend("ATTEMPT", HOUR)
    life.ask_for_help()
    rows = [life.interval("NEED_HUMAN", 60.0), life.interval("ATTEMPT", 60.0)]
    new = Intervention(cause="stuck", e10_class=InterruptClass.FAILURE, opened_s=life.now_s)
    assert store.open_intervention(new, rows) == 2


def test_r4_exposure_ignores_the_wall_clock(life, store, monkeypatch):
    life.attempt(HOUR)
    before = metrics(store)
    monkeypatch.setattr("persistence.events.wall_utc", lambda: "1999-01-01T00:00:00.000+00:00")
    life.spend("STANDBY", 1.0)
    assert metrics(store)["productive_hours"] == before["productive_hours"]


def test_r5_a_clock_step_back_never_yields_negative_exposure(life, store):
    life.heartbeat("ATTEMPT", 100.0)
    life.heartbeat("ATTEMPT", 40.0)
    assert metrics(store)["productive_hours"] * HOUR == pytest.approx(100.0)
    with pytest.raises(ValueError, match="never goes back"):
        StateInterval.of("ATTEMPT", 10.0, 5.0)


def test_r6_a_running_observation_is_time_terminated(life, store):
    life.attempt(2 * HOUR)
    life.ask_for_help()
    result = metrics(store)
    want = mtbf_interval(2.0, 1, 0.9, termination="time")
    assert (result["mtbf_lower_hours"], result["mtbf_upper_hours"]) == (want.lower, want.upper)


def live_through_failures(life, gaps_h):
    for gap_h in gaps_h:
        life.attempt(gap_h * HOUR)
        life.help_comes_after(600.0)


def test_growth_is_fitted_on_productive_time(life, store):
    live_through_failures(life, [1, 2, 3, 4])
    life.attempt(5 * HOUR)
    growth = metrics(store)["growth"]
    fit = crow_amsaa([1, 3, 6, 10], end=15)
    assert set(growth) == {"beta", "lambda", "mtbf_now_hours", "lower", "upper", "trend_p"}
    assert growth["beta"] == pytest.approx(fit.beta, rel=1e-9)
    assert growth["lambda"] == pytest.approx(fit.lambda_, rel=1e-9)
    assert growth["mtbf_now_hours"] == pytest.approx(fit.mtbf, rel=1e-9)
    assert (growth["lower"], growth["upper"]) == (pytest.approx(fit.lower), pytest.approx(fit.upper))


def test_growth_is_fitted_within_the_last_phase(life, store):
    store.start_phase("v1", 0.0)
    live_through_failures(life, [1, 1, 1])
    store.start_phase("v2", life.now_s)
    live_through_failures(life, [1, 2])
    assert metrics(store)["growth"] is None
    live_through_failures(life, [3])
    life.attempt(HOUR)
    assert metrics(store)["growth"]["beta"] == pytest.approx(crow_amsaa([1, 3, 6], end=7).beta, rel=1e-9)


def test_windows_cut_exposure_and_events(life, store):
    life.attempt(HOUR)
    life.help_comes_after(HOUR)
    life.attempt(HOUR)
    first, second = metrics(store, until=1.5 * HOUR), metrics(store, since=1.5 * HOUR)
    assert (first["observed_hours"], first["productive_hours"], first["interventions"]) == (1.5, 1.0, 1)
    assert (second["observed_hours"], second["productive_hours"], second["interventions"]) == (1.5, 1.0, 0)
    assert (first["attempts"], second["attempts"]) == (1, 1)
    assert metrics(store, since=str(1.5 * HOUR)) == second


def test_wall_clock_times_stand_for_the_last_event(life, store, monkeypatch):
    monkeypatch.setattr("persistence.events.wall_utc", lambda: "2030-01-01T00:00:00.000+00:00")
    life.attempt(HOUR)
    monkeypatch.setattr("persistence.events.wall_utc", lambda: "2030-01-02T00:00:00.000+00:00")
    life.attempt(HOUR)
    assert metrics(store, until="2030-01-01T12:00")["observed_hours"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="cannot read 'yesterday' as a time"):
        metrics(store, since="yesterday")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"confidence": 1.0}, "confidence=1.0"),
        ({"by": "colour"}, "unknown breakdown 'colour'; valid: skill, cause, day, phase"),
        ({"since": 5.0, "until": 5.0}, "window is empty"),
        ({"since": float("nan")}, "finite robot seconds"),
    ],
)
def test_bad_options_are_named(store, options, says):
    with pytest.raises(ValueError, match=says):
        metrics(store, **options)


def test_by_skill(life, store):
    life.attempt(HOUR)
    life.attempt(HOUR, Outcome.FALL, fall=True)
    life.attempt(0.5 * HOUR, skill="stand_up")
    result = metrics(store, by="skill")
    assert result["by"] == "skill"
    stand_up, walk = result["groups"]
    assert (stand_up["skill"], stand_up["attempts"], stand_up["productive_hours"]) == ("stand_up", 1, 0.5)
    assert (walk["success_rate"], walk["falls"], walk["falls_per_hour"]) == (0.5, 1, 0.5)


def test_by_cause(life, store):
    for cause in ("stuck", "stuck", "motor_hot"):
        life.attempt(HOUR)
        life.help_comes_after(60.0, cause)
    groups = metrics(store, by="cause")["groups"]
    assert [(group["cause"], group["interventions"], group["minutes"]) for group in groups] == [
        ("stuck", 2, pytest.approx(2.0)),
        ("motor_hot", 1, pytest.approx(1.0)),
    ]
    assert groups[0]["mtbf_hours"] == pytest.approx(1.5)


@pytest.mark.parametrize("by", ["day", "phase"])
def test_parts_add_up_to_the_whole(life, store, by):
    life.attempt(10 * HOUR)
    life.help_comes_after(HOUR)
    store.start_phase("v1", life.now_s)
    life.attempt(20 * HOUR, fall=True)
    life.help_comes_after(HOUR)
    store.start_phase("v2", life.now_s)
    life.attempt(30 * HOUR)
    life.ask_for_help()
    result = metrics(store, by=by)
    assert len(result["groups"]) == 3
    for key in ("productive_hours", "observed_hours", "attempts", "interventions", "failures", "falls"):
        assert sum(group[key] for group in result["groups"]) == pytest.approx(result[key]), key


def test_a_path_will_do(life, store, home):
    life.attempt(HOUR)
    assert metrics(home.db) == metrics(store)


def test_a_failure_before_any_work_of_the_phase_counts_but_has_no_place_on_the_curve(life, store):
    store.start_phase("v1", 0.0)
    life.help_comes_after(600.0)
    live_through_failures(life, [1, 2, 3])
    life.attempt(HOUR)
    result = metrics(store)
    assert result["failures"] == 4
    assert result["growth"]["beta"] == pytest.approx(crow_amsaa([1, 3, 6], end=7).beta, rel=1e-9)
