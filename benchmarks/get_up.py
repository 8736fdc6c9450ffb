"""Learns to get up from any fallen pose, in simulation, and puts the policy into the library.

    python -m benchmarks.get_up --robot a1 [--seed 0] [--attempts 400]

Every attempt begins in another fallen pose, with other dynamics, one in four with a motor at half its torque. What the
script does from such poses, sent through the same actuator as the policy's actions, is prior data from the first update
on (section 4.4 of Ibarz et al. 2021; Ball et al. 2023, arXiv 2302.02948). The policy that did best in evaluations is
kept; ``skills/library/<robot>-get_up.json`` says what it does from poses, and in dynamics, that it was not chosen by.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent.machine import machine_facts
from agent.recorder import AttemptRecorder
from agent.robots import load_robot
from agent.safety import ActionGate
from persistence.replay import MixedReplay, ReplayBuffer
from sim.dynamics import DynamicsParams
from sim.robot import FloatArray, FrameLayout, Observation, RobotSpec
from sim.simulated_robot import SimulatedRobot
from skills.decisions import DecisionController
from skills.experience import AttemptArrays, experience
from skills.features import HISTORY
from skills.get_up import DECISIONS_HZ, GettingUp, get_up_controller, policy_path
from skills.learners.config import SacConfig
from skills.learners.sac import SacLearner
from skills.policy import PolicyWeights
from skills.pose_control import BODY, PoseActuator
from skills.skill import Progress
from skills.stand_up import StandUp

DT_S = 0.02
DECIMATION = round(1.0 / (DECISIONS_HZ * DT_S))
ATTEMPT_S = 5.0
SCRIPTED_ATTEMPTS = 150
PRIOR_SHARE = 0.25
UPDATES_PER_STEP = 2.0
NOMINAL_SHARE, WEAK_SHARE, WEAK_STRENGTH = 0.3, 0.25, 0.5
EVALUATE_EVERY, EVALUATED_POSES, JUDGED_POSES = 200, 40, 100
SETTINGS = SacConfig(
    hidden=(128, 128),
    batch=128,
    discount=0.98,
    learning_rate=1e-3,
    layer_norm=True,
    initial_temperature=0.1,
    initial_std=0.6,
    target_entropy=-0.5,
)


class Floor:
    """A robot that is put down in one fallen pose after the other."""

    def __init__(self, name: str, seed: int) -> None:
        """Make the robot."""
        robot = load_robot(name, seed)
        assert isinstance(robot, SimulatedRobot)
        self.robot = robot
        self.spec: RobotSpec = robot.spec
        self._nominal = robot.dynamics
        self.randomiser = robot.body.randomiser(seed)
        self._layout = FrameLayout.of(robot.spec)
        self._sequence = 0

    def practise(self, rng: np.random.Generator) -> None:
        """A pose to practise from."""
        dynamics = self._nominal if rng.random() < NOMINAL_SHARE else self.randomiser.training()
        weak = int(rng.integers(self.spec.n_joints)) if rng.random() < WEAK_SHARE else None
        self._place(rng, dynamics, weak)

    def evaluate(self, rng: np.random.Generator, *, weak: bool, held_out: bool) -> None:
        """A pose to be judged from."""
        dynamics = self.randomiser.held_out() if held_out else self._nominal
        self._place(rng, dynamics, int(rng.integers(self.spec.n_joints)) if weak else None)

    def attempt(self, controller: DecisionController, *, judged: bool = False) -> tuple[AttemptArrays, float | None]:
        """One attempt from where the robot lies.

        Args:
            controller: what drives it.
            judged: as on the robot, where the gate keeps legs apart, and until the robot stands. Whoever explores with
                such a gate is soon stuck with a leg on the wrong side of another.

        Returns:
            What was recorded, and after how many seconds it stood; None if it did not.
        """
        robot, gate = self.robot, ActionGate(self.spec if judged else replace(self.spec, leg_lines=None), DT_S)
        recorder = AttemptRecorder(self._layout, BODY.name, controller.resting_action)
        observation, stood_s = robot.read(), None
        controller.start(observation)
        begun_s = robot.time_s
        while robot.time_s < begun_s + ATTEMPT_S - 0.5 * DT_S:
            command = controller.act(observation)
            if controller.decision is not None:
                recorder.decided(observation, controller.decision)
            self._sequence += 1
            robot.write(replace(gate.filter(command, observation), sequence=self._sequence))
            robot.step(DT_S)
            observation = robot.read()
            if controller.progress(observation) is Progress.SUCCEEDED and stood_s is None:
                stood_s = robot.time_s - begun_s
                if judged:
                    break
        arrays = recorder.finish(observation, controller.phase_rad)
        assert arrays is not None
        return arrays, stood_s

    def _place(self, rng: np.random.Generator, dynamics: DynamicsParams, weak: int | None) -> None:
        if weak is not None:
            strength = list(dynamics.motor_strength)
            strength[weak] *= WEAK_STRENGTH
            dynamics = replace(dynamics, motor_strength=tuple(strength))
        self.robot.set_dynamics(dynamics)
        self.robot.cool()
        self.robot.place(self.robot.random_fallen_pose(rng))


class Scripted:
    """The script's targets as actions of the body family."""

    def __init__(self, spec: RobotSpec) -> None:
        """Begin a try."""
        self._script = StandUp().controller(spec, DT_S)
        self._actuator = PoseActuator(spec, DT_S)
        self._begun = False

    def __call__(self, observation: Observation, phase_rad: float, last: NDArray[np.float32]) -> FloatArray:
        """The action that leads to where the script wants to be by the next decision."""
        del phase_rad, last
        if not self._begun:
            self._script.start(observation)
            self._begun = True
        target = [self._script.act(observation).target for _ in range(DECIMATION)][-1]
        self._script.progress(observation)
        return self._actuator.action_of(target)


def learn(name: str, seed: int, attempts: int) -> dict[str, Any]:
    """Learn from so many attempts; the best policy is put into the library.

    Returns:
        What the library says about it.
    """
    begun_s, floor, rng = time.monotonic(), Floor(name, seed), np.random.default_rng((seed, 1))
    spec, skill = floor.spec, GettingUp(floor.spec)
    own, prior = (
        ReplayBuffer(steps, BODY.feature_size(spec), BODY.action_size(spec), history=HISTORY)
        for steps in (600_000, 100_000)
    )

    def keep(buffer: ReplayBuffer, arrays: AttemptArrays) -> int:
        steps = experience(spec, [skill], arrays)
        buffer.add_episode(steps.features, steps.actions, steps.rewards, steps.terminated, steps.valid)
        return len(steps)

    for _ in range(SCRIPTED_ATTEMPTS):
        floor.practise(rng)
        script = DecisionController(
            BODY, PoseActuator(spec, DT_S), Scripted(spec), skill.prior_action(spec), decimation=DECIMATION
        )
        keep(prior, floor.attempt(script)[0])
    learner = SacLearner(
        MixedReplay(own, prior, PRIOR_SHARE),
        np.zeros((1, 0)),
        skill.prior_action(spec)[None],
        SETTINGS,
        seed,
        mirrors=BODY.mirrors(spec, [skill.command]),
    )
    best, about = -1.0, dict[str, Any]()
    for attempt in range(1, attempts + 1):
        floor.practise(rng)
        arrays, _ = floor.attempt(get_up_controller(spec, DT_S, learner.snapshot(), rng))
        learner.update(round(UPDATES_PER_STEP * keep(own, arrays)))
        if attempt % EVALUATE_EVERY and attempt < attempts:
            continue
        weights = learner.snapshot()
        found = {
            kind: judge(floor, weights, EVALUATED_POSES, seed=1, weak=weak, held_out=False)
            for kind, weak in (("nominal", False), ("weak", True))
        }
        print(attempt, own.steps_added, round(time.monotonic() - begun_s), found, flush=True)
        score = found["nominal"]["rate"] + 0.5 * found["weak"]["rate"]
        if score >= best:
            best, about = score, {"attempts": attempt, "robot_s": attempt * ATTEMPT_S, "updates": learner.updates}
            policy_path(name).write_bytes(weights.to_bytes())
    return publish(floor, seed, attempts, about)


def publish(floor: Floor, seed: int, attempts: int, about: dict[str, Any]) -> dict[str, Any]:
    """Judge the library's policy by poses that it was not chosen by, and write its page."""
    path = policy_path(floor.spec.name)
    data = path.read_bytes()
    page = {
        "robot": floor.spec.name,
        "command": f"python -m benchmarks.get_up --robot {floor.spec.name} --seed {seed} --attempts {attempts}",
        **about,
        "sha256": hashlib.sha256(data).hexdigest(),
        "evaluation": {
            kind: judge(floor, PolicyWeights.from_bytes(data), JUDGED_POSES, seed=2, **which)
            for kind, which in {
                "nominal": {"weak": False, "held_out": False},
                "held_out": {"weak": False, "held_out": True},
                "one_weak_motor": {"weak": True, "held_out": False},
            }.items()
        },
        "machine": machine_facts(),
    }
    path.with_suffix(".json").write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")
    return page


def judge(floor: Floor, weights: PolicyWeights, poses: int, *, seed: int, weak: bool, held_out: bool) -> dict[str, Any]:
    """How often one try without exploration ends in a stand.

    Returns:
        ``rate``, ``poses``, and ``seconds_median`` of the successes.
    """
    rng, took_s = np.random.default_rng((seed, 2)), []
    for _ in range(poses):
        floor.evaluate(rng, weak=weak, held_out=held_out)
        _, stood_s = floor.attempt(get_up_controller(floor.spec, DT_S, weights), judged=True)
        took_s += [stood_s] if stood_s is not None else []
    median = round(float(np.median(took_s)), 3) if took_s else None
    return {"rate": len(took_s) / poses, "poses": poses, "seconds_median": median}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attempts", type=int, default=400, help="with those of the script not counted")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(learn(arguments.robot, arguments.seed, arguments.attempts), indent=1))


if __name__ == "__main__":
    main()
