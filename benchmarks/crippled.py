"""A runner that loses a motor which no training has lost: GrBAL's crippled-joint protocol on PyBullet's half cheetah.

    python -m benchmarks.crippled [--seeds 0 1 2]
    perdure bench crippled --seed 0 --n 300              # n: meta-steps after each round; a small one ends soon

After Nagabandi, Clavera et al. 2019 (arXiv 1803.11347): models learn from a whole runner and from runners without one
motor of the back leg, first moved at random, then by planning on what has been learned. They are judged on runners
without one motor of the front leg. ``adapted``: the meta-learned model after one inner step on the last 16 transitions;
``unadapted``: the same without; ``all_data``: an ordinary model that learned from the same transitions. Each is
`MEMBERS` networks, and a plan costs more where these disagree: with one network a planner finds what that one alone
believes, and hardly moves. All have the same planner, the same starts and the same transitions to be tested on. The
runner is driven through the Gymnasium adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks._study import Study, main
from meta.coloured_noise import colouring
from meta.dynamics_learner import DynamicsConfig, DynamicsLearner
from meta.grbal import Grbal, GrbalConfig
from meta.meta_learner import MetaConfig
from meta.planner import Planner, PlannerConfig
from meta.planning_model import PlanningModel
from meta.transitions import AttemptSteps, Float32, Scales, Steps
from sim.gym_robot import TASK_CHANNELS, GymRobot
from sim.half_cheetah import EFFORT, EPISODE_STEPS, FORWARD, JOINTS, env_id
from sim.robot import Command, CommandMode

DEFAULT_N = 2000
TRAINED: tuple[str | None, ...] = (None, "bthigh", "bshin", "bfoot")
JUDGED = ("fthigh", "fshin", "ffoot")
AT_RANDOM, PLANNED = 40, 4
"""Attempts of each runner in the first round, and in each later one."""
ROUNDS = 8
TESTS = 6
"""Attempts of each judged runner by each model."""
REPEAT = 3
"""Steps of the environment per decision: 20 a second, so that a plan reaches 0.75 s ahead."""
DECISIONS = EPISODE_STEPS // REPEAT
MODELS = ("adapted", "unadapted", "all_data")
GRBAL = GrbalConfig(meta=MetaConfig(inner_rate=0.05, learn_rates=True))
PLANNER = PlannerConfig(horizon=15)
MEMBERS = 3
ALL_DATA = DynamicsConfig(members=MEMBERS, hidden=GRBAL.hidden)
Model = Callable[[list[Float32], list[Float32]], PlanningModel]
"""States so far, actions so far (one fewer), to the model to plan with."""
Choose = Callable[[list[Float32], list[Float32]], Float32]
"""The same, to the next action."""


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Learn with ``n`` meta-steps after each round, then judge.

    Returns:
        For each of `MODELS`: ``return`` (mean of a judged attempt's rewards), ``error`` (root mean square of one-step
        predictions on the same transitions of judged runners, in usual steps), and ``by_motor`` with both for each
        motor that was lost. ``gain``: by how much ``adapted`` is better than each other one. ``transitions`` learned
        from.
    """
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    attempts = [
        _attempt(motor, rng, _at_random(rng), number)
        for number, motor in enumerate(motor for motor in TRAINED for _ in range(AT_RANDOM))
    ]
    scales = Scales.of(Steps(attempts))
    learners = [Grbal(scales, GRBAL, MEMBERS * seed + member) for member in range(MEMBERS)]
    for _ in range(ROUNDS - 1):
        for learner in learners:
            learner.learn(attempts, n)
        for motor in TRAINED:
            for _ in range(PLANNED):
                choose = _planned(_adapted(learners), int(rng.integers(2**31)))
                attempts.append(_attempt(motor, rng, choose, len(attempts)))
    for learner in learners:
        learner.learn(attempts, 2 * n)
    ordinary = DynamicsLearner(attempts[0].states.shape[1], len(JOINTS), ALL_DATA, seed)
    ordinary.fit(attempts)
    models = {"adapted": _adapted(learners), "unadapted": _unadapted(learners), "all_data": _ordinary(ordinary)}
    return _judge(models, seed, scales) | {"transitions": sum(len(each.actions) for each in attempts)}


def _judge(models: dict[str, Model], seed: int, scales: Scales) -> dict[str, Any]:
    """Returns and errors of each model on runners that it has not seen."""
    returns: dict[str, dict[str, float]] = {name: {} for name in models}
    errors: dict[str, dict[str, float]] = {name: {} for name in models}
    for motor in JUDGED:
        made: list[AttemptSteps] = []
        for name, model in models.items():
            gained = []
            for test in range(TESTS):
                # The same starts, and the same draws of the planner, for each model.
                rng = np.random.default_rng((seed, test))
                attempt = _attempt(motor, rng, _planned(model, test), test)
                gained.append(_return(attempt))
                made.append(attempt)
            returns[name][motor] = float(np.mean(gained))
        for name, model in models.items():
            errors[name][motor] = _error(model, made, scales)
    out: dict[str, Any] = {
        name: {
            "return": float(np.mean(list(returns[name].values()))),
            "error": float(np.mean(list(errors[name].values()))),
            "by_motor": {motor: {"return": returns[name][motor], "error": errors[name][motor]} for motor in JUDGED},
        }
        for name in models
    }
    out["gain"] = {
        other: {
            "return": out["adapted"]["return"] - out[other]["return"],
            "error": out[other]["error"] - out["adapted"]["error"],
        }
        for other in MODELS[1:]
    }
    return out


def _attempt(motor: str | None, rng: np.random.Generator, choose: Choose, number: int) -> AttemptSteps:
    """One attempt of a runner without a motor, through the Gymnasium adapter."""
    robot = GymRobot(f"sim.half_cheetah:{env_id(motor)}", int(rng.integers(2**31)))
    try:
        states: list[Float32] = [_state(robot)]
        actions: list[Float32] = []
        sequence = 0
        for _ in range(DECISIONS):
            action = choose(states, actions)
            actions.append(action)
            target = action.astype(np.float64)
            for _ in range(REPEAT):
                sequence += 1
                robot.write(Command(mode=CommandMode.TORQUE, target=target, kp=0.0, kd=0.0, sequence=sequence))
                robot.step(1.0 / robot.spec.control_rate_hz)
            states.append(_state(robot))
    finally:
        robot.close()
    return AttemptSteps(
        attempt=number, states=np.array(states), actions=np.array(actions), valid=np.ones(len(actions), np.bool_)
    )


def _state(robot: GymRobot) -> Float32:
    return robot.read().extra[: -len(TASK_CHANNELS)].astype(np.float32)


def _return(attempt: AttemptSteps) -> float:
    """Of what the reward is made of, in the states that follow: speed ahead less effort."""
    return float((attempt.states[1:, FORWARD] - EFFORT * np.square(attempt.actions).sum(axis=1)).sum())


def _at_random(rng: np.random.Generator) -> Choose:
    """Smooth noise."""
    colour = colouring(DECISIONS, PLANNER.colour)
    noise = np.clip(colour @ rng.standard_normal((DECISIONS, len(JOINTS))), -1.0, 1.0).astype(np.float32)
    return lambda states, actions: noise[len(actions)]


def _planned(model: Model, seed: int) -> Choose:
    """The first action of a plan that is made anew at each decision."""
    ones = np.ones(len(JOINTS), np.float32)
    planner = Planner(-ones, ones, PLANNER, seed)

    def choose(states: list[Float32], actions: list[Float32]) -> Float32:
        first: Float32 = planner.plan(model(states, actions), _cost, states[-1]).actions[0]
        return first

    return choose


def _cost(states: Tensor, actions: Tensor, following: Tensor) -> Tensor:
    del states
    return EFFORT * actions.square().sum(-1) - following[..., FORWARD]


def _adapted(learners: Sequence[Grbal]) -> Model:
    unadapted = _unadapted(learners)

    def model(states: list[Float32], actions: list[Float32]) -> PlanningModel:
        if len(actions) < GRBAL.past:
            return unadapted(states, actions)
        seen, done = np.array(states[-GRBAL.past - 1 :]), np.array(actions[-GRBAL.past :])
        members = [learner.adapt(seen[:-1], done, seen[1:]) for learner in learners]
        return learners[0].planning_model(*members)

    return model


def _unadapted(learners: Sequence[Grbal]) -> Model:
    return lambda states, actions: learners[0].planning_model(*(learner.learner.parameters for learner in learners))


def _ordinary(learner: DynamicsLearner) -> Model:
    model = learner.ensemble.planning_model()
    return lambda states, actions: model


def _error(model: Model, attempts: Sequence[AttemptSteps], scales: Scales) -> float:
    """Root mean square of one-step predictions, once there is a past to adapt to, in usual steps."""
    squares = []
    for attempt in attempts:
        states, actions = list(attempt.states), list(attempt.actions)
        for step in range(GRBAL.past, len(actions)):
            now = model(states[: step + 1], actions[:step])
            here = torch.from_numpy(states[step]).expand(now.members, 1, -1)
            foretold = now.next_states(here, torch.from_numpy(actions[step])[None])
            off = (foretold.mean(dim=0)[0].numpy() - states[step + 1]) / scales.delta_std
            squares.append(np.square(off).mean())
    return float(np.sqrt(np.mean(squares)))


def cell(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """One seed."""
    return run(seed, settings["meta_steps"])


STUDY = Study(
    name="crippled",
    module="benchmarks.crippled",
    variants={"half-cheetah": {"meta_steps": DEFAULT_N}},
    cell=cell,
    figures={
        **{f"{name}.return": "higher" for name in MODELS},
        **{f"{name}.error": "lower" for name in MODELS},
        **{f"gain.{other}.{what}": "higher" for other in MODELS[1:] for what in ("return", "error")},
    },
    seeds=(0, 1, 2),
)

if __name__ == "__main__":
    main(STUDY)
