"""Two policies against each other: they meet the same attempts, and it ends when it is clear."""

from types import SimpleNamespace

import numpy as np
import pytest

from agent import comparison
from agent.comparison import compare_policies
from persistence.records import Outcome


@pytest.fixture
def world(monkeypatch):
    """Policies that succeed where a number drawn for the attempt is below their version's share."""
    made = SimpleNamespace(calls=[], shares={"zoo": 0.9, "latest": 0.9, "3": 0.3})

    def attempts_of(skill, robot, policy, n, seed, dynamics, config):
        made.calls.append((policy.version, n, seed, dynamics))
        drawn = np.random.default_rng(seed).random(n)
        outcomes = [Outcome.SUCCESS if each < made.shares[policy.version] else Outcome.TIMEOUT for each in drawn]
        return [SimpleNamespace(outcome=each, return_=1.0, measures={}, end_reason="time") for each in outcomes]

    monkeypatch.setattr(comparison, "attempts_of", attempts_of)
    monkeypatch.setattr(comparison, "find_policy", lambda which, *_: SimpleNamespace(version=which))
    return made


def compare(tmp_path, one, other, attempts=100):
    return compare_policies("walk_forward", "minitaur", (one, other), attempts, 4, tmp_path)


@pytest.mark.parametrize(("one", "other", "sign"), [("zoo", "3", 1.0), ("3", "zoo", -1.0)])
def test_the_better_one_is_named_as_soon_as_it_is_clear(world, tmp_path, one, other, sign):
    found = compare(tmp_path, one, other)
    assert found["better"] == "zoo"
    assert found["pairs"] < 60
    assert sign * found["difference"] > 0.4
    assert abs(found["z"]) >= found["bound"]
    assert [each["policy"] for each in found["policies"]] == [one, other]
    rates = [each["success_rate"] for each in found["policies"]]
    assert rates[0] - rates[1] == pytest.approx(found["difference"])


def test_equals_are_compared_to_the_end_in_the_same_attempts(world, tmp_path):
    found = compare(tmp_path, "zoo", "latest", attempts=35)
    assert (found["better"], found["pairs"], found["difference"]) == (None, 35, 0.0)
    first, second = ([call[1:] for call in world.calls if call[0] == which] for which in ("zoo", "latest"))
    assert first == second
    assert [n for n, *_ in first] == [3] * 9 + [8]
    assert len({seed for _, seed, _ in first}) == 10


def test_what_cannot_be_compared_says_why(world, tmp_path):
    with pytest.raises(ValueError, match="at least 10"):
        compare(tmp_path, "zoo", "3", attempts=9)
    with pytest.raises(ValueError, match="scripted"):
        compare_policies("stand_up", "minitaur", ("zoo", "3"), 10, 0, tmp_path)
