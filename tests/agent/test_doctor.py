"""``perdure doctor``: each check reports, none breaks the report, a failing one sets the exit code."""

import json
import os
import shutil
import sqlite3
import sys
from types import SimpleNamespace

import pytest

from agent import doctor
from agent.cli import main
from agent.doctor import CHECKS, Outcome, examine, release
from persistence.home import Home, HomeLock
from persistence.records import RunStart, StateInterval
from persistence.store import Store


@pytest.fixture
def home(tmp_path):
    with Store.open(tmp_path / "perdure.db") as store:
        run = store.start_run(RunStart(robot="minitaur", started_s=0.0))
        store.heartbeat(run, 60.0, StateInterval.of("ATTEMPT", 0.0, 60.0))
    return tmp_path


def finding(name, home):
    outcome, text = CHECKS[name](home)
    assert text
    return outcome, text


@pytest.mark.parametrize(
    ("version", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("3.40.1", (3, 40, 1)), ("2.10rc1", (2,)), ("", ())]
)
def test_release_numbers(version, numbers):
    assert release(version) == numbers


@pytest.mark.parametrize(
    ("version", "outcome"),
    [
        ("3.40.1", Outcome.WARN),
        ("3.51.2", Outcome.WARN),
        ("3.50.6", Outcome.WARN),
        ("3.51.3", Outcome.OK),
        ("3.52.0", Outcome.OK),
        ("3.50.7", Outcome.OK),
        ("3.44.6", Outcome.OK),
        ("3.44.5", Outcome.WARN),
    ],
)
def test_sqlite_with_the_wal_reset_bug_is_warned_of(monkeypatch, tmp_path, version, outcome):
    monkeypatch.setattr(sqlite3, "sqlite_version", version)
    assert finding("sqlite", tmp_path)[0] is outcome


@pytest.mark.parametrize(
    ("version", "outcome"), [(None, Outcome.FAIL), ("2.9.1", Outcome.FAIL), ("2.10.0", Outcome.OK)]
)
def test_torch(monkeypatch, tmp_path, version, outcome):
    monkeypatch.setattr(doctor, "package_version", lambda name: version)
    assert finding("torch", tmp_path)[0] is outcome


def test_python(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    assert finding("python", tmp_path)[0] is Outcome.FAIL


@pytest.mark.parametrize(("free", "outcome"), [(4.9e9, Outcome.FAIL), (5.1e9, Outcome.OK)])
def test_disk(monkeypatch, tmp_path, free, outcome):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    assert finding("disk", tmp_path / "not" / "yet")[0] is outcome


def test_home_is_looked_at_and_not_made(monkeypatch, tmp_path):
    assert finding("home", tmp_path / "a" / "b") == (Outcome.OK, f"{tmp_path / 'a' / 'b'} (will be created)")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    assert finding("home", tmp_path / "file")[0] is Outcome.FAIL
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert finding("home", tmp_path)[0] is Outcome.FAIL


def test_a_running_daemon_is_named(tmp_path):
    with HomeLock(Home(tmp_path)):
        assert f"pid {os.getpid()}" in finding("home", tmp_path)[1]


@pytest.mark.parametrize(("cores", "outcome"), [(1, Outcome.WARN), (2, Outcome.OK)])
def test_cores(monkeypatch, tmp_path, cores, outcome):
    monkeypatch.setattr(doctor, "usable_cores", lambda: cores)
    assert finding("cores", tmp_path)[0] is outcome


def test_a_check_that_breaks_is_a_finding(monkeypatch, tmp_path):
    def broken(home):
        raise KeyError("x")

    monkeypatch.setitem(CHECKS, "clock", broken)
    found = {item.name: item for item in examine(tmp_path)}
    assert set(found) == set(CHECKS)
    assert found["clock"].outcome is Outcome.FAIL


class TestCommand:
    def test_report(self, capsys, home):
        assert main(["doctor", "--home", str(home), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["ok"]
        assert [check["name"] for check in facts["checks"]] == list(CHECKS)

    def test_a_failing_check_sets_the_exit_code(self, monkeypatch, capsys, tmp_path):
        monkeypatch.setitem(CHECKS, "disk", lambda home: (Outcome.FAIL, "full"))
        assert main(["doctor", "--home", str(tmp_path)]) == 1
        out, err = capsys.readouterr()
        assert "fail  disk" in out
        assert err == "Error: failed: disk\n"

    def test_a_sound_store(self, capsys, home):
        assert main(["doctor", "--store", "--home", str(home), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["ok"], facts["events"], facts["problems"]) == (True, 1, [])
        assert len(bytes.fromhex(facts["chain_head"])) == 32

    def test_an_edited_store(self, capsys, home):
        with sqlite3.connect(home / "perdure.db") as conn:
            conn.execute("DROP TRIGGER events_no_update")
            conn.execute("UPDATE events SET data = json_set(data, '$.robot', 'cat')")
        conn.close()
        assert main(["doctor", "--store", "--home", str(home), "--json"]) == 1
        facts = json.loads(capsys.readouterr().out)
        assert not facts["ok"]
        assert facts["problems"]
