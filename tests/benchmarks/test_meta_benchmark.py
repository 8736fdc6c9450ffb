"""The benchmark of meta-training: both libraries learn the same, and ours is timed without the other one."""

import pytest
import torch

from benchmarks import meta


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, value in {"STATE": 3, "ACTION": 2, "WIDTH": 8, "TASKS": (2, 5)}.items():
        monkeypatch.setattr(meta, name, value)


@pytest.mark.skipif(meta.package_folder() is None, reason="learn2learn is not installed")
def test_both_learn_the_same_from_the_same_tasks():
    threads = torch.get_num_threads()
    found = meta.run(seed=0, n=4)
    assert torch.get_num_threads() == threads
    assert set(found) == {"2", "5"}
    for times in found.values():
        assert times["ratio"] == pytest.approx(times["learn2learn_ms"] / times["ours_ms"])
        assert times["difference"] < 1e-5


def test_without_learn2learn_it_says_so(monkeypatch):
    monkeypatch.setattr(meta, "package_folder", lambda: None)
    found = meta.run(seed=0, n=1)
    assert "not installed" in found["missing"]
    assert set(found["2"]) == {"ours_ms"}
