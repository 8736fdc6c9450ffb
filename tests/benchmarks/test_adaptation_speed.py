"""The benchmark of adaptation and planning: its figures are there, and its arithmetic is right."""

import torch

from benchmarks import adaptation_speed


def test_figures():
    threads = torch.get_num_threads()
    figures = adaptation_speed.run(seed=0, n=2)
    assert torch.get_num_threads() == threads
    assert set(figures["adapt"]) == {"128", "256"}
    assert set(figures["plan"]) == {f"{method}_{members}" for method in ("cem", "mppi") for members in (1, 2, 5)}
    for times in (*figures["adapt"].values(), *figures["plan"].values()):
        assert 0.0 < times["ms_p50"] <= times["ms_p99"]
        assert times["thread_ms_p99"] > 0.0
    assert 0.0 < figures["plan_matmul_ms"] < figures["plan"]["mppi_1"]["ms_p99"]


def test_products_by_hand(monkeypatch):
    for name, value in {"STATE": 3, "ACTION": 2, "WIDTHS": (4,), "CANDIDATES": 5, "HORIZON": 6}.items():
        monkeypatch.setattr(adaptation_speed, name, value)
    assert adaptation_speed._plan_flop() == 2 * 5 * 6 * (5 * 4 + 4 * 4 + 4 * 3)
