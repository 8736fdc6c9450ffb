"""The study of the curriculum: what is run, what counts as learned, and what is compared."""

import json

import pytest

from benchmarks import curriculum

SKILLS = ["go_to_01", "go_to_02"]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Runs that only note what they are asked, evaluations that say what they are told."""
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    calls, rates = [], {}
    monkeypatch.setattr(
        curriculum._daemon, "run_until", lambda home, hours, *told: calls.append((home.name, round(60 * hours), told))
    )

    def success_rate(home, robot, skill, seed):
        return rates[skill](calls[-1][1])

    def query(home, sql):
        if "skill.mastered" in sql:
            return [("go_to_01", 300.0), ("go_to_02", 840.0)]
        return [("go_to_01", 7)]

    monkeypatch.setattr(curriculum, "_success_rate", success_rate)
    monkeypatch.setattr(curriculum._daemon, "query", query)
    return calls, rates


def test_all_are_learned_when_each_is_mastered_and_an_evaluation_says_so(world):
    calls, rates = world
    rates |= {"go_to_01": lambda minutes: 1.0, "go_to_02": lambda minutes: {15: 0.7}.get(minutes, 0.8)}
    found = curriculum.cell(curriculum.settings_of("uniform", SKILLS, minutes=60), 4)
    assert [minutes for _, minutes, _ in calls] == [5, 10, 15, 20]
    assert {name for name, _, _ in calls} == {"curriculum-minitaur-uniform-seed4"}
    told = calls[0][2]
    assert told[told.index("--skills") + 1] == "go_to_01,go_to_02"
    assert told[told.index("--set") + 1] == 'run.curriculum="uniform"'
    # The second is mastered in minute 14: nothing is evaluated before.
    assert [minutes for minutes, _ in found["evaluations"]] == [15.0, 20.0]
    assert (found["learned_min"], found["mastered_min"]) == (20.0, 14.0)
    assert found["mastered"] == {"go_to_01": 5.0, "go_to_02": 14.0}
    assert found["attempts"] == {"go_to_01": 7, "go_to_02": 0}


def test_what_was_evaluated_before_it_was_cut_off_is_not_evaluated_again(world, tmp_path):
    _, rates = world
    rates |= dict.fromkeys(SKILLS, lambda minutes: 0.1)
    kept = tmp_path / "curriculum-minitaur-progress-seed0-evaluations.json"
    kept.write_text(json.dumps({"15": {"go_to_01": 1.0, "go_to_02": 0.7}}))
    found = curriculum.cell(curriculum.settings_of("progress", SKILLS, minutes=20), 0)
    assert found["learned_min"] is None
    assert found["evaluations"] == [
        (15.0, {"go_to_01": 1.0, "go_to_02": 0.7}),
        (20.0, {"go_to_01": 0.1, "go_to_02": 0.1}),
    ]


def test_seeds_are_compared_with_each_other_and_one_that_never_got_there_leaves_no_median():
    cells = {
        "progress": [{"seed": seed, "learned_min": minutes} for seed, minutes in ((0, 30.0), (1, 20.0), (2, 50.0))],
        "uniform": [{"seed": seed, "learned_min": minutes} for seed, minutes in ((1, 40.0), (0, 40.0))],
    }
    found = curriculum.conclude(cells)
    assert (found["time_share"], found["time_share_median"]) == ([0.75, 0.5], 0.625)
    cells["uniform"][0]["learned_min"] = None
    assert curriculum.conclude(cells)["time_share_median"] is None
    assert curriculum.conclude({"progress": cells["progress"]}) == {}


@pytest.mark.slow
def test_a_short_run_of_real_skills(tmp_path, monkeypatch):
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    monkeypatch.setattr(curriculum, "ATTEMPTS", 1)
    for mode in ("progress", "uniform"):
        found = curriculum.cell(curriculum.settings_of(mode, SKILLS, minutes=0.5), 0)
        assert found["learned_min"] is None
        assert set(found["mastered"]) == set(SKILLS)
        assert sum(found["attempts"].values()) >= 1
