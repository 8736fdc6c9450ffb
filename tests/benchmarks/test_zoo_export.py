"""What an entry of the zoo says of the one that it learned on from."""

import json

import pytest

from benchmarks import zoo

OLDER = {"policy_version": 5, "command": "older", "robot_s": 1.0, "settings": {}}
OLD = {"policy_version": 10, "command": "old", "robot_s": 2.0, "learned_on_from": OLDER, "evaluation": {}}


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "about.json").write_text(json.dumps(OLD))
    return tmp_path


def began_with(monkeypatch, *versions):
    monkeypatch.setattr(zoo._daemon, "query", lambda home, sql: [(version,) for version in versions])


def test_a_home_that_began_with_nothing_went_on_from_no_entry(directory, monkeypatch):
    began_with(monkeypatch)
    assert zoo._before(directory, directory) is None


@pytest.mark.parametrize(("version", "named"), [(10, "old"), (5, "older")])
def test_it_is_the_entry_that_is_there_or_was_there_before(directory, monkeypatch, version, named):
    began_with(monkeypatch, version)
    before = zoo._before(directory, directory)
    assert (before["policy_version"], before["command"]) == (version, named)
    assert not {"evaluation", "settings"} & set(before)


def test_an_entry_that_is_gone_is_named(directory, monkeypatch):
    began_with(monkeypatch, 7)
    with pytest.raises(ValueError, match="version 7"):
        zoo._before(directory, directory)
