"""``perdure bench``: finds benchmarks by name, hands seed and size over, adds machine facts."""

import json

import pytest

from agent import machine
from agent.cli import main


@pytest.fixture
def checkout(monkeypatch, tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "fall_prediction.py").write_text(
        "def run(seed, n=7):\n    return {'recall': seed / 10, 'poses': n, 'worst': float('nan')}\n"
    )
    (folder / "no_size.py").write_text("def run(seed, n):\n    return {}\n")
    (folder / "_helper.py").write_text("def run(seed, n):\n    return {}\n")
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path)
    return tmp_path


def test_prints_figures_with_machine_facts(checkout, capsys):
    assert main(["bench", "fall-prediction", "--seed", "3", "--n", "2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["recall"], facts["poses"], facts["worst"]) == (0.3, 2, None)
    assert (facts["benchmark"], facts["seed"], facts["n"]) == ("fall-prediction", 3, 2)
    assert {"cpu", "cores", "python", "versions", "commit", "utc"} <= set(facts["machine"])
    assert not (checkout / "benchmarks" / "results").exists()


def test_own_size_and_saving(checkout, capsys):
    assert main(["bench", "fall-prediction", "--save"]) == 0
    assert "poses" in capsys.readouterr().out
    saved = json.loads((checkout / "benchmarks" / "results" / "fall-prediction.json").read_text())
    assert saved["n"] == saved["poses"] == 7


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["fall_predicton"], "did you mean 'fall-prediction'? valid: fall-prediction, no-size"),
        (["helper"], "valid: fall-prediction, no-size"),
        (["../secret"], "valid: fall-prediction, no-size"),
        (["no-size"], "--n"),
        (["fall-prediction", "--n", "0"], "--n"),
    ],
)
def test_bad_input_is_one_line(checkout, capsys, words, part):
    assert main(["bench", *words]) != 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert part in err


def test_without_a_checkout_it_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path)
    assert main(["bench", "sim"]) == 1
    assert "checkout" in capsys.readouterr().err
