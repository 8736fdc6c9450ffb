"""``perdure drift``: what it prints, what it asks of a daemon, and what it refuses."""

import json
import threading

import pytest

from agent.cli import main
from agent.config import SimConfig
from agent.drifts import DriftBook
from agent.inbox import serve
from persistence.home import Home, HomeLock
from persistence.records import DriftEvent, RunStart
from persistence.store import Store
from sim.drift import DriftKind
from sim.drift_presets import PRESETS
from sim.minitaur import MINITAUR, minitaur_spec

SUBJECT = MINITAUR.drift_subject(minitaur_spec())


@pytest.fixture
def home(tmp_path):
    with Store.open(tmp_path / "perdure.db") as store:
        store.start_run(RunStart(robot="minitaur", started_s=0.0))
    return tmp_path


@pytest.fixture
def fails(capsys):
    def run(*words):
        assert main([str(word) for word in words]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("Error: ")
        assert err.count("\n") == 1
        return err

    return run


def ask(home, config, *words):
    """Run a command while a daemon serves the home. Returns its exit code."""
    codes = []
    with HomeLock(Home(home)), Store.open(home / "perdure.db") as store:
        book = DriftBook(store, config, SUBJECT)
        asking = threading.Thread(target=lambda: codes.append(main([*map(str, words), "--home", str(home)])))
        asking.start()
        while asking.is_alive():
            serve(home, store, 900.0, drifts=book)
        asking.join()
    return codes[0]


def listed(home, capsys):
    assert main(["drift", "list", "--home", str(home), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


class TestInject:
    def test_a_daemon_takes_everything_that_was_said(self, home, capsys):
        words = ["drift", "inject", "payload", "--size", 0.5, "--left", 0.08, "--over", 3, "--for", 60, "--json"]
        assert ask(home, SimConfig(drift_commands=True), *words) == 0
        assert json.loads(capsys.readouterr().out) == {"ids": [1]}
        (row,) = listed(home, capsys)
        assert (row["kind"], row["source"], row["robot_s"]) == ("payload", "injected", 900.0)
        assert row["detail"] == {"size": 0.5, "at_m": [0.0, 0.08], "begins_s": 900.0, "over_s": 3.0, "ends_s": 960.0}

    def test_joints_and_axes(self, home, capsys):
        allowed = SimConfig(drift_commands=True)
        joints = ["--joint", "front_left_left", "--joint", "front_left_right"]
        assert ask(home, allowed, "drift", "inject", "motor_strength", "--size", 0.5, *joints) == 0
        assert ask(home, allowed, "drift", "inject", "gyro_bias", "--size", 0.1, "--axis", "z") == 0
        assert capsys.readouterr().out == "injected motor_strength as drift 1\ninjected gyro_bias as drift 2\n"
        one, other = listed(home, capsys)
        assert one["detail"]["joints"] == ["front_left_left", "front_left_right"]
        assert other["detail"]["axis"] == "z"

    def test_repair(self, home, capsys):
        allowed = SimConfig(drift_commands=True)
        ask(home, allowed, "drift", "inject", "dead_motor", "--joint", "front_left_left")
        ask(home, allowed, "drift", "inject", "half_motor")
        assert ask(home, allowed, "drift", "repair", 2) == 0
        assert ask(home, allowed, "drift", "repair", "--json") == 0
        assert capsys.readouterr().out.endswith('repaired 2\n{\n  "repaired": [\n    1\n  ]\n}\n')

    def test_it_is_refused_unless_the_configuration_allows_it(self, home, capsys):
        assert ask(home, SimConfig(), "drift", "inject", "half_motor") == 1
        assert "start perdure with --set sim.drift_commands=true" in capsys.readouterr().err
        assert listed(home, capsys) == []

    def test_without_a_daemon_there_is_nothing_to_tell(self, home, fails):
        assert "no daemon runs" in fails("drift", "inject", "half_motor", "--home", home)
        assert "no daemon runs" in fails("drift", "repair", "--home", home)

    @pytest.mark.parametrize("option", ["--size", "--ahead", "--over", "--for"])
    def test_numbers_that_are_none(self, home, fails, option):
        assert f"{option} nan" in fails("drift", "inject", "payload", option, "nan", "--home", home)


class TestList:
    def test_what_was_injected_and_what_was_detected(self, home, capsys):
        with Store.open(home / "perdure.db") as store:
            store.add_drift(DriftEvent(kind="motor_strength", robot_s=3600.0, detail={"joint": "knee"}))
            detail = {"joints": ["hip"], "size": 0.5, "over_s": 3.0}
            store.add_drift(DriftEvent(kind="motor_strength", robot_s=7200.0, source="injected", detail=detail))
        assert [row["source"] for row in listed(home, capsys)] == ["detected", "injected"]
        assert main(["drift", "list", "--home", str(home)]) == 0
        head, one, other = capsys.readouterr().out.splitlines()
        assert head.split() == ["id", "kind", "source", "hour", "joints", "size", "detail"]
        assert one.split() == ["1", "motor_strength", "detected", "1", "-", "-", "joint=knee"]
        assert other.split() == ["2", "motor_strength", "injected", "2", "hip", "0.5", "over_s=3"]

    def test_a_home_without_a_database(self, tmp_path, fails):
        assert "perdure.db" in fails("drift", "list", "--home", tmp_path)


def test_kinds_names_all_that_can_be_injected(capsys):
    assert main(["drift", "kinds", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts["kinds"]) == {kind.value for kind in DriftKind}
    assert set(facts["presets"]) == set(PRESETS)
    assert main(["drift", "kinds"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*facts["kinds"], *facts["presets"]))
