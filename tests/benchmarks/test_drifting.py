"""Learning on a robot that drifts: what the daemon is told."""

import tomllib

import pytest

from benchmarks import _daemon, _drifting


@pytest.mark.parametrize("drifts", [True, False])
def test_the_daemon_is_told_of_faults_that_come_and_go(tmp_path, monkeypatch, drifts):
    told = []
    monkeypatch.setattr(_daemon, "run_until", lambda *arguments: told.append(arguments))
    home = tmp_path / "not there yet" / "home"
    _drifting.learn(home, "a1", 30.0, 4, {"learner.history": 12}, drifts=drifts)
    ((where, hours, *words),) = told
    assert (where, hours) == (home, 0.5)
    assert words[: words.index("--set")] == ["--speed", "max", "--seed", "4", "--robot", "a1"]
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    assert settings["learner.history"] == "12"
    assert ("sim.drift" in settings) is drifts
    if drifts:
        file = home.parent / "home-drift.toml"
        assert settings["sim.drift"] == f'"{file}"'
        assert tomllib.loads(file.read_text()) == {"random": {"seed": 4, **_drifting.FAULTS}}


def test_more_faults_come_where_a_study_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(_daemon, "run_until", lambda *arguments: None)
    _drifting.learn(tmp_path / "home", "a1", 30.0, 4, {}, drifts=True, faults_per_hour=400)
    assert tomllib.loads((tmp_path / "home-drift.toml").read_text())["random"]["faults_per_hour"] == 400
