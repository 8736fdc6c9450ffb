"""The studies of shaping and of preferences: what is run, and how it is counted."""

import json

import numpy as np
import pytest

from benchmarks import preferences, shaping
from sim.robot import FrameLayout, Frames
from skills.folders import load_folder
from skills.go_to import GOING_SKILLS


def test_thirds_of_the_time_are_counted_by_their_own_attempts(tmp_path, monkeypatch):
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    ran = []
    monkeypatch.setattr(shaping._daemon, "run_until", lambda home, hours, *words: ran.append((hours, words)))
    attempts = [(0.0, "timeout"), (59.0, "success"), (60.0, "success"), (130.0, "success"), (179.0, "fall")]
    monkeypatch.setattr(shaping._daemon, "query", lambda home, sql: [(2,)] if "count" in sql else attempts)
    found = shaping.cell({"reward": "shaped", "minutes": 3}, 5)
    assert found == {"success": [0.5, 1.0, 0.5], "attempts": [2, 1, 2], "final": 0.5, "interventions": 2}
    ((hours, words),) = ran
    assert hours == pytest.approx(0.05)
    assert "shaped_1,shaped_2,shaped_3,shaped_4" in words


def test_the_three_rewards_are_for_the_same_places():
    skills = {skill.name: skill for _, skill in load_folder(shaping.FOLDER)}
    for number, own in enumerate(GOING_SKILLS[:4], 1):
        sparse, shaped = skills[f"sparse_{number}"], skills[f"shaped_{number}"]
        assert own.name == shaping.NAMES["own"].format(number)
        assert sparse.place_m.tolist() == shaped.place_m.tolist() == own.place_m.tolist()


def test_the_person_prefers_what_went_faster_ahead(tmp_path, monkeypatch):
    pairs = [
        {"first": 3, "first_measures": {"speed_mps": 0.1}, "second": 7, "second_measures": {"speed_mps": 0.3}},
        {"first": 5, "first_measures": {"speed_mps": 0.2}, "second": 2, "second_measures": {}},
    ]
    monkeypatch.setattr(preferences, "propose", lambda home, skill, count: pairs)
    said = []
    monkeypatch.setattr(preferences, "learn_from_preferences", lambda home, skill, *lists: said.append(lists))
    preferences._ask(tmp_path, 2)
    assert said == [([7, 5], [3, 2])]


def test_it_asks_after_each_round_but_the_last_and_teaches_nothing_in_the_first(tmp_path, monkeypatch):
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    done = []
    monkeypatch.setattr(preferences._daemon, "run_until", lambda home, hours, *words: done.append((hours, words)))
    monkeypatch.setattr(preferences, "_ask", lambda home, count: done.append(count))
    attempts = [(60.0 * t, json.dumps({"speed_mps": 0.1 * t}), "success" if t > 4 else "timeout") for t in np.arange(6)]
    monkeypatch.setattr(preferences._daemon, "query", lambda home, sql: attempts)
    found = preferences.cell({"asked": True, "minutes": 6}, 0)
    untaught = [any("warmup_steps" in word for word in each[1]) for each in done if not isinstance(each, int)]
    assert untaught == [True, False, False]
    assert [each for each in done if isinstance(each, int)] == [20, 10]
    assert found["speed_mps"] == pytest.approx([0.05, 0.25, 0.45])
    assert (found["success"], found["pairs"], found["held_out_accuracy"]) == (0.5, 0, None)


def test_a_round_that_is_done_is_not_asked_about_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    asked = []
    monkeypatch.setattr(preferences._daemon, "run_until", lambda home, hours, *words: None)
    monkeypatch.setattr(preferences._daemon, "practised_h", lambda home: 4.0 / 60)
    monkeypatch.setattr(preferences._daemon, "query", lambda home, sql: [])
    monkeypatch.setattr(preferences, "_ask", lambda home, count: asked.append(count))
    preferences.cell({"asked": True, "minutes": 6}, 0)
    assert asked == [10]  # after the fourth minute; the question after the second one was answered


def test_the_car_has_no_energy_left_to_gain_on_top():
    sparse, shaped = (skill for _, skill in load_folder(shaping.CAR_FOLDER))
    layout = FrameLayout(n_joints=1, n_feet=0, n_extra=6)
    data = np.zeros((2, layout.width), np.float32)
    data[:, layout.slices()["extra"]] = [(-np.pi / 6, 0, 0, 0, 0, 0), (np.pi / 6, 0, 0, 0, 0, 0)]
    assert shaped.potential(Frames(data, layout)) == pytest.approx([-10.0, 0.0], abs=1e-5)
    assert sparse.potential(Frames(data, layout)) is None
