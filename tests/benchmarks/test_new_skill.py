"""The study of new skills: what is run, in which order, and what counts as learned."""

from pathlib import Path

import pytest

from benchmarks import new_skill
from skills.registry import get, use_folders


def test_learned_is_what_two_evaluations_in_a_row_show():
    curve = [[2.0, 5.0, 0.0], [4.0, 9.5, 1.0], [6.0, 4.0, 0.5], [8.0, 9.5, 1.0], [10.0, 9.9, 1.0]]
    assert new_skill._reached(curve, 9.0) == 8.0
    assert new_skill._reached(curve, 10.0) is None
    assert new_skill._reached(curve[:2], 9.0) == 4.0  # the last one has none after it


def test_a_cell_learns_the_others_first_and_judges_before_the_first_attempt(tmp_path, monkeypatch):
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    learned, returns = [], {"prior": (30.0, 0.0), "offline": (60.0, 0.5), "data": (95.0, 1.0), "nothing": (20.0, 0.1)}

    def learn(home, robot, skills, minutes, seed, changes=None):
        learned.append((home.name, tuple(skills), minutes, dict(changes or {})))

    def evaluate(home, robot, skill, seed):
        assert skill == "turn_left"
        kind = home.name.rsplit("-", 1)[-1]
        if kind == "nothing":
            return (100.0, 1.0) if learned[-1][2] >= 8.0 else returns[kind]
        return returns[kind]

    monkeypatch.setattr(new_skill, "_learn", learn)
    monkeypatch.setattr(new_skill, "_evaluate", evaluate)
    found = new_skill.cell({**new_skill.ROBOTS["minitaur"], "minutes": 12}, 3)
    assert learned[0] == ("new-skill-minitaur-turn_left-seed3-others", ("walk_forward", "walk_backward"), 12.0, {})
    others = str(tmp_path / "new-skill-minitaur-turn_left-seed3-others")
    name, skills, _, changes = learned[1]
    assert (name, skills) == ("new-skill-minitaur-turn_left-seed3-offline", ("turn_left",))
    assert changes["learner.prior_data"] == [others]
    assert changes["learner.warmup_steps"] >= 100_000  # its one attempt teaches nothing
    name, _, _, changes = learned[2]
    assert name.endswith("-prior") and "learner.prior_data" not in changes, "nothing but the prior"
    with_data = [each for each in learned if each[0].endswith("-data")]
    assert [minutes for _, _, minutes, _ in with_data] == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    assert all(changes == {"learner.prior_data": [others]} for *_, changes in with_data)
    assert all(changes == {} for name, *_, changes in learned if name.endswith("-nothing"))
    assert (found["prior_share"], found["offline_share"]) == pytest.approx((0.3, 0.6))
    assert (found["learned_min"], found["from_nothing_min"], found["time_share"]) == (2.0, 8.0, 0.25)


def test_what_was_evaluated_before_it_was_cut_off_is_not_evaluated_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    monkeypatch.setattr(new_skill, "_learn", lambda *_: None)
    monkeypatch.setattr(new_skill, "_evaluate", lambda *_: (10.0, 1.0))
    settings = {**new_skill.ROBOTS["a1"], "minutes": 6}
    first = new_skill.cell(settings, 0)
    monkeypatch.setattr(new_skill, "_evaluate", lambda *_: (99.0, 0.0))  # policies are other ones by now
    assert new_skill.cell(settings, 0) == first
    assert new_skill.cell(settings, 1)["online_return"] == 99.0


def test_a_skill_that_is_good_before_its_first_attempt_takes_no_time(tmp_path, monkeypatch):
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    monkeypatch.setattr(new_skill, "_learn", lambda *_: None)
    monkeypatch.setattr(new_skill, "_evaluate", lambda *_: (10.0, 1.0))
    found = new_skill.cell({**new_skill.ROBOTS["a1"], "minutes": 6}, 0)
    assert (found["learned_min"], found["time_share"]) == (0.0, 0.0)


def test_the_circle_is_written_as_a_user_would_and_found_by_every_run_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    learned = []

    def learn(home, robot, skills, minutes, seed, changes=None):
        learned.append((skills, changes))

    monkeypatch.setattr(new_skill, "_learn", learn)
    monkeypatch.setattr(new_skill, "_evaluate", lambda *_: (10.0, float(get("circle").name == "circle")))
    try:
        new_skill.cell({**new_skill.ROBOTS["minitaur-circle"], "minutes": 4}, 0)
    finally:
        use_folders([])
    (folder,) = learned[1][1]["run.skill_folders"]
    assert (Path(folder) / "circle.py").is_file()
    assert all(changes["run.skill_folders"] == [folder] for skills, changes in learned if skills == ["circle"])
