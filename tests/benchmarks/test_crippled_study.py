"""The study of runners without a motor: what it plans for, what it counts, and that it runs."""

import numpy as np
import pytest
import torch

from benchmarks import crippled
from meta.planning_model import PlanningModel
from meta.transitions import AttemptSteps, Scales

STATE, ACTION = 17, 6


def still():
    """A model of a world in which nothing changes."""
    zeros, ones = np.zeros(STATE + ACTION, np.float32), np.ones(STATE + ACTION, np.float32)
    scales = Scales(input_mean=zeros, input_std=ones, delta_mean=zeros[:STATE], delta_std=2.0 * ones[:STATE])
    layers = [(torch.zeros(1, STATE + ACTION, STATE), torch.zeros(1, 1, STATE))]
    return PlanningModel(layers, scales), scales


def steps(speeds, action=0.0):
    states = np.zeros((len(speeds), STATE), np.float32)
    states[:, crippled.FORWARD] = speeds
    actions = np.full((len(speeds) - 1, ACTION), action, np.float32)
    return AttemptSteps(attempt=0, states=states, actions=actions, valid=np.ones(len(actions), bool))


def test_return_and_cost_are_speed_and_effort():
    one = steps([9.0, 1.0, 2.0], action=0.5)
    effort = crippled.EFFORT * ACTION * 0.25
    assert crippled._return(one) == pytest.approx(3.0 - 2 * effort)
    states, actions = torch.from_numpy(one.states), torch.from_numpy(one.actions)
    cost = crippled._cost(states[:-1], actions, states[1:])
    assert float(cost.sum()) == pytest.approx(-crippled._return(one))


def test_error_is_in_usual_steps_and_begins_once_there_is_a_past():
    model, scales = still()
    speeds = np.zeros(crippled.GRBAL.past + 3)
    speeds[1] = 100.0  # too early to count
    speeds[-1] = 4.0  # two usual steps in one of 17 numbers, in one of two transitions
    found = crippled._error(lambda states, actions: model, [steps(speeds)], scales)
    assert found == pytest.approx(np.sqrt(2.0**2 / STATE / 2))


def test_a_small_study_runs_and_is_the_same_again(monkeypatch):
    small = {"DECISIONS": 20, "ROUNDS": 2, "TESTS": 1, "AT_RANDOM": 2, "PLANNED": 1, "JUDGED": ("fshin",)}
    small["PLANNER"] = crippled.PlannerConfig(horizon=3, candidates=24, iterations=2, elites=4, kept=2)
    small["GRBAL"] = crippled.GrbalConfig(hidden=(8,), past=4, future=4, meta=crippled.GRBAL.meta)
    small["ALL_DATA"] = crippled.DynamicsConfig(members=1, hidden=(8,), most_updates=20)
    for name, value in small.items():
        monkeypatch.setattr(crippled, name, value)
    found = crippled.run(0, 3)
    assert found["transitions"] == 20 * 4 * 3
    for name in crippled.MODELS:
        assert found[name]["by_motor"].keys() == {"fshin"}
        assert found[name]["error"] > 0.0
    gain = found["gain"]["unadapted"]
    assert gain["return"] == pytest.approx(found["adapted"]["return"] - found["unadapted"]["return"])
    assert gain["error"] == pytest.approx(found["unadapted"]["error"] - found["adapted"]["error"])
    assert crippled.run(0, 3) == found
