"""The study of the trotting policy under drifts: what counts as survived, and that alone it is the shipped policy."""

import numpy as np
import pytest

from agent.config import Config
from benchmarks import trotting, trotting_drifts
from sim.drift_presets import TABLE

CONFIG = Config.load(None, {"run.robot": "minitaur_trotting", **trotting_drifts.SETTINGS})


def test_what_survives_a_drift_and_is_worth_it():
    found = {name: {"return": 5.0, "speed_mps": 0.9, "falls": 0} for name in TABLE}
    found[TABLE[0]] = {"return": 4.0, "speed_mps": 0.8, "falls": 1}
    found[TABLE[1]] = {"return": 2.4, "speed_mps": 0.4, "falls": 0}
    figures = trotting_drifts.summary(found, 5.0)
    assert (figures["survived"], figures["kept"]) == (8, 7)
    assert figures["return_share"] == pytest.approx((4.0 + 2.4 + 7 * 5.0) / 45.0)


def test_alone_it_trots_as_shipped_and_a_drift_is_there_from_the_start(monkeypatch):
    monkeypatch.setattr(trotting, "ATTEMPT_S", 1.5)
    found = trotting_drifts.judge(CONFIG, None, ("nominal", "table_leg_fifth"), starts=1)
    driver = trotting.Driver()
    with driver.robot:
        shipped = driver.walk(trotting.ShippedWalker(residual=True), trotting.start_offsets_rad(1)[0])
    assert found["nominal"]["falls"] == 0
    assert found["nominal"]["speed_mps"] == pytest.approx(shipped.speed_mps, abs=0.15)
    assert found["nominal"]["return"] == pytest.approx(shipped.return_, abs=0.25)
    assert found["table_leg_fifth"]["falls"] == 1
    assert np.isfinite(found["table_leg_fifth"]["return"])
