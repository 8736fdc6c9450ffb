"""What the studies of random search and of the population read from a home and conclude from their cells."""

import json
import sqlite3

import pytest

from agent.config import Config, parse_assignment
from agent.learner_job import changed
from benchmarks import ars, population
from skills.learners.population import MEMBER_STRIDE


def home(folder, *attempts):
    """A home with attempts of (skill, robot minutes at the end, m/s, evaluation, policy version, steps)."""
    connection = sqlite3.connect(folder / "perdure.db")
    connection.execute(
        "CREATE TABLE attempts "
        "(id INTEGER PRIMARY KEY, skill, ended_s, measures, evaluation, policy_version, steps, state)"
    )
    for skill, at_min, speed, evaluation, version, steps in attempts:
        measures = json.dumps({} if speed is None else {"speed_mps": speed})
        row = (skill, 60 * at_min, measures, evaluation, version, steps, "finished")
        columns = "skill, ended_s, measures, evaluation, policy_version, steps, state"
        connection.execute(f"INSERT INTO attempts ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    return folder


def test_progress_is_that_of_the_forward_walk_in_equal_parts_of_the_time(tmp_path):
    made = home(
        tmp_path,
        ("walk_forward", 0.5, 0.1, 0, 3, 100),
        ("walk_forward", 0.9, 0.3, 1, 4, 100),
        ("walk_backward", 11.0, -9.0, 0, 4, 100),
        ("walk_forward", 11.0, 0.5, 0, 5, 100),
        ("walk_forward", 11.5, 0.7, 1, 5, 100),
        ("walk_forward", 11.6, 9.0, 0, 5, 10),
        ("walk_forward", 11.7, None, 0, 5, 100),
    )
    got = ars.progress(made, 12)
    assert got["attempts"] == [(0.5, 0.1, False, 3), (0.9, 0.3, True, 4), (11.0, 0.5, False, 5), (11.5, 0.7, True, 5)]
    assert got["curve_mps"] == [pytest.approx(0.2), *[None] * 10, pytest.approx(0.6)]
    assert (got["final_mps"], got["acting_mps"]) == (0.7, 0.5)
    assert got["mean_mps"] == pytest.approx(0.4)


def test_a_run_without_an_attempt_has_no_speed(tmp_path):
    got = ars.progress(home(tmp_path), 12)
    assert got["final_mps"] is got["acting_mps"] is got["mean_mps"] is None


@pytest.mark.parametrize("variant", [*ars.VARIANTS.values(), *population.VARIANTS.values()], ids=str)
def test_the_settings_of_every_variant_are_valid(variant):
    config = Config.load(overrides=dict(parse_assignment(text) for text in variant["set"]))
    assert all(changed(config.learner, text) != config.learner for text in config.learner.population)


def test_a_cell_of_the_population_counts_who_acted(monkeypatch):
    attempts = [(1.0, 0.1, False, 7), (2.0, 0.1, False, MEMBER_STRIDE), (11.0, 0.1, True, MEMBER_STRIDE + 3)]
    monkeypatch.setattr(ars, "cell", lambda settings, seed: {"attempts": attempts})
    facts = population.cell({"minutes": 12}, 0)
    assert facts["acted"] == {"member0": 1, "member1": 2}
    assert facts["acted_late"] == {"member1": 1}


class TestConclusion:
    def test_the_population_stands_beside_the_best_and_the_worst_member(self):
        speeds = {"population": (0.7, 0.9), "member0": (0.5, 0.5), "member1": (1.0, 1.0), "member2": (0.2, None)}
        cells = {name: [{"acting_mps": speed} for speed in pair] for name, pair in speeds.items()}
        assert population.conclude(cells) == {
            "best_member": "member1",
            "population_to_best": pytest.approx(0.8),
            "population_to_mean": pytest.approx(0.8 / (1.7 / 3)),
            "worst_to_best": pytest.approx(0.2),
        }

    def test_it_waits_for_all_members(self):
        assert population.conclude({"population": [{"acting_mps": 1.0}], "member0": [{"acting_mps": 1.0}]}) == {}
