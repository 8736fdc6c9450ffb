"""Evaluates one skill: attempts without exploration, on fresh simulated robots whose dynamics training never saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from agent.attempts import SIMULATION, AttemptResult, AttemptRunner, Interrupt
from agent.balance import Balance
from agent.clock import SimulatedClock, Steppable
from agent.config import Config
from agent.estimates import interquartile_mean, iqm_interval
from agent.loop import ControlLoop, Tick
from agent.person import Placeable
from agent.policies import find_policy, zoo_settings
from agent.robots import GYM_PREFIX, delayed, load_robot
from agent.safety import ActionGate, Monitors
from agent.states import Event
from agent.stored_config import stored_config
from persistence.proportions import proportion_interval
from persistence.records import Outcome
from sim.dynamics import DynamicsRandomiser
from sim.robot import Command, CommandMode, Observation, Robot
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose, SimulationError
from sim.workspace import Workspace
from skills.policy import PolicyWeights
from skills.policy_control import policy_controller
from skills.registry import get
from skills.skill import Controller, LearnedSkill, ScriptedSkill, Skill

CORNER_MARGIN_M = 0.5
"""A walking attempt starts this far inside a corner of the workspace, along its diagonal: the longest straight way."""
FARTHEST_START_M = 5.0
"""On a large floor it starts no farther out than this along either axis, so that one that strays is not at a fence."""
SETTLE_S = 0.5
"""How long things lie before an attempt, once they were put somewhere."""
DYNAMICS = ("held-out", "nominal")


class Subject(Robot, Steppable, Placeable, Protocol):
    """A robot whose time can be run and that can be put where an attempt starts."""


@runtime_checkable
class Fallible(Protocol):
    """A robot that can be laid down in any way."""

    def random_fallen_pose(self, rng: np.random.Generator) -> Pose:
        """A pose in which it has fallen."""


@runtime_checkable
class Scattering(Protocol):
    """A robot whose things can be put anywhere."""

    def scatter(self, rng: np.random.Generator) -> None:
        """Put what it handles somewhere."""


def evaluate_skill(
    skill: str,
    robot: str,
    policy: str,
    attempts: int,
    seed: int,
    home: Path,
    dynamics: str = "held-out",
) -> dict[str, Any]:
    """Evaluate a skill.

    Args:
        skill: name of the skill.
        robot: name of an installed simulated robot, or ``gym:ID``.
        policy: ``zoo``, ``latest`` or a version; ignored by scripted skills.
        attempts: how many.
        seed: of dynamics, starts and sensor noise.
        home: where stored policies are looked for.
        dynamics: ``held-out`` draws robots from ranges that training never reaches; ``nominal`` is the robot that
            the daemon trains on.

    Returns:
        ``skill``, ``robot``, ``policy_version``, ``dynamics`` (``own`` where a robot has no others), ``attempts``,
        ``success_rate`` with its ``success_interval``, ``falls``, ``fence_exits`` (of the hard fence; an attempt that
        reaches the soft one on the far side is over and counts as it is), ``return_mean``, ``return_iqm`` with its
        ``return_iqm_interval``, ``measures`` (means over attempts), ``per_attempt`` (outcome, reason and measures of
        each). Intervals are of 95 %.

    Raises:
        ValueError: unknown skill, robot, policy or dynamics.
    """
    chosen = get(skill)
    with closing(load_robot(robot, seed)) as made:
        if problem := chosen.problem(made.spec):
            raise ValueError(f"{robot} cannot have the skill {skill}: {problem}")
    weights = find_policy(policy, robot, chosen, home) if isinstance(chosen, LearnedSkill) else None
    config = stored_config(home)
    if policy == "zoo" and isinstance(chosen, LearnedSkill):
        config = Config.load(None, zoo_settings(robot, chosen.family.name))
    results = attempts_of(chosen, robot, weights, attempts, seed, dynamics, config=config)
    return {
        "skill": skill,
        "robot": robot,
        "policy_version": weights.version if weights else None,
        "dynamics": "own" if robot.startswith(GYM_PREFIX) else dynamics,
        "attempts": attempts,
        "seed": seed,
        **summary(results),
    }


def attempts_of(
    skill: Skill,
    robot: str,
    weights: PolicyWeights | None,
    attempts: int,
    seed: int,
    dynamics: str = "held-out",
    workspace: Workspace | None = None,
    config: Config | None = None,
) -> list[AttemptResult]:
    """Run evaluation attempts, each on a robot of its own.

    Args:
        skill: what to attempt.
        robot: name of an installed simulated robot, or ``gym:ID``.
        weights: the policy; None for a scripted skill.
        attempts: how many.
        seed: of dynamics, starts and sensor noise.
        dynamics: one of `DYNAMICS`.
        workspace: the floor; None is the configuration's.
        config: rates, history and limits that the policy was trained with; None means the defaults.

    Raises:
        ValueError: unknown robot or dynamics, or the robot cannot be put where an attempt of the skill starts.
    """
    if dynamics not in DYNAMICS:
        raise ValueError(f"unknown dynamics {dynamics!r}; valid: {', '.join(DYNAMICS)}")
    randomiser: DynamicsRandomiser | None = None
    config = config or Config()
    floor = workspace or Workspace(size_m=config.workspace.size_m, soft_margin_m=config.workspace.soft_margin_m)
    slope_deg = max(config.sim.slope_deg, skill.ground.slope_deg)
    results = []
    for index in range(attempts):
        machine = load_robot(robot, seed * 10_007 + index, slope_deg=slope_deg)
        if not (isinstance(machine, Steppable) and isinstance(machine, Placeable)):
            raise ValueError(f"robot {robot!r} is no simulated robot; its skills are evaluated by the daemon")
        try:
            if isinstance(machine, SimulatedRobot):
                randomiser = randomiser or machine.body.randomiser(seed)
                params = randomiser.held_out() if dynamics == "held-out" else machine.dynamics
                machine.set_dynamics(delayed(params, config.sim.latency_ms))
            results.append(_one(machine, skill, weights, config, floor, np.random.default_rng((seed, index))))
        finally:
            machine.close()
    return results


def _one(
    robot: Subject,
    skill: Skill,
    weights: PolicyWeights | None,
    config: Config,
    workspace: Workspace,
    rng: np.random.Generator,
) -> AttemptResult:
    config = config.for_robot(robot.spec)
    dt_s = config.control.dt_s
    robot.place(start_pose(robot, skill, workspace, rng))
    if isinstance(robot, Scattering):
        while True:
            robot.scatter(rng)
            robot.step(SETTLE_S)
            if skill.start_problem(robot.read()) is None:
                break
    monitors = Monitors(robot.spec, workspace, config.safety, 1.0 / dt_s)
    loop = ControlLoop(robot, SimulatedClock(robot, dt_s), ActionGate(robot.spec, dt_s), monitors)

    # Who gets up leans; the daemon catches no fall there either.
    down = skill.lies_down or skill.kind == "recovery"
    balance = Balance(robot.spec, None) if down else Balance.configured(robot.spec, config.safety)

    def tick(act: Callable[[Observation], Command]) -> Tick:
        try:
            now = loop.tick(lambda observation: balance.command(observation) or act(observation))
        except SimulationError as error:
            raise Interrupt(Event.HARD_FAULT, SIMULATION) from error
        if isinstance(skill, LearnedSkill) and now.alerts.fallen and not skill.lies_down:
            raise Interrupt(Event.FALL_PREDICTED, "fallen")
        if balance.failed(now.observation):
            raise Interrupt(Event.FALL_PREDICTED, "leaning")
        if now.alerts.hard_fence:
            raise Interrupt(Event.HARD_FAULT, "hard_fence")
        return now

    def stand(_: Observation) -> Command:
        spec = robot.spec
        return Command(mode=CommandMode.POSITION, target=spec.stand_position_rad, kp=spec.kp, kd=spec.kd)

    controller: Controller
    if isinstance(skill, ScriptedSkill):
        controller = skill.controller(robot.spec, dt_s)
    elif isinstance(skill, LearnedSkill) and weights is not None:
        controller = policy_controller(
            skill,
            robot.spec,
            dt_s,
            weights,
            None,
            decimation=config.control.decimation,
            history=config.learner.history,
            past_actions=config.learner.past_actions,
        )
        for _ in range(0 if skill.lies_down else round(0.5 / dt_s)):  # stand, as the daemon does before an attempt
            loop.tick(stand)
    else:
        raise ValueError(f"skill {skill.name!r} is neither scripted nor has it a policy")
    return AttemptRunner(loop, workspace, tick).run(skill, controller)


def start_pose(robot: Subject, skill: Skill, workspace: Workspace, rng: np.random.Generator) -> Pose:
    """Where an evaluation attempt starts: fallen for a recovery, with the longest free way ahead for a walk."""
    if skill.kind == "recovery" or skill.lies_down:
        if not isinstance(robot, Fallible):
            raise ValueError(f"{robot.spec.name!r} is no simulated robot that can be laid down to {skill.name!r}")
        return robot.random_fallen_pose(rng)
    forward = skill.displacement.forward_m
    if abs(forward) < 0.5:
        return Pose.standing(0.0, skill.ground.y_m, float(rng.uniform(-math.pi, math.pi)))
    corner = min(workspace.hard_half_m - CORNER_MARGIN_M, FARTHEST_START_M)
    quarter = int(rng.integers(4))
    yaw = math.pi / 4 + quarter * math.pi / 2
    sign = -math.copysign(1.0, forward)
    # The corner lies behind the robot in the direction of motion.
    x = sign * corner * math.copysign(1.0, math.cos(yaw))
    y = sign * corner * math.copysign(1.0, math.sin(yaw))
    return Pose.standing(x, y, yaw)


def summary(results: Sequence[AttemptResult]) -> dict[str, Any]:
    """Figures over attempts."""
    returns = [result.return_ for result in results if result.return_ is not None]
    names = sorted({name for result in results for name in result.measures})
    successes = sum(result.outcome is Outcome.SUCCESS for result in results)
    return {
        "success_rate": successes / len(results),
        "success_interval": list(proportion_interval(successes, len(results), 0.95)),
        "falls": sum(result.outcome is Outcome.FALL for result in results),
        "fence_exits": sum(result.end_reason == "hard_fence" for result in results),
        "return_mean": float(np.mean(returns)) if returns else None,
        "return_iqm": float(interquartile_mean(returns)) if returns else None,
        "return_iqm_interval": list(iqm_interval(returns)) if returns else None,
        "measures": {
            name: float(np.mean([result.measures[name] for result in results if name in result.measures]))
            for name in names
        },
        "per_attempt": [{"outcome": r.outcome.value, "end_reason": r.end_reason, **r.measures} for r in results],
    }
