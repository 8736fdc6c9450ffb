"""Getting up by a learned policy: the task that it was learned from, and the skill that uses it.

Learned in simulation from poses that a robot cannot take by itself to practise (`benchmarks.get_up`); the script of
`skills.stand_up` is what is left where the policy does not manage.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, FloatArray, Observation, RobotSpec, Transition
from skills.decisions import DecisionController
from skills.policy import PolicyWeights
from skills.policy_control import policy_controller
from skills.pose_control import BODY
from skills.skill import LearnedSkill, Progress, ScriptedSkill, SkillKind
from skills.stand import UPRIGHT_TILT_RAD, Stand

LIBRARY = Path(__file__).resolve().parent / "library"
DECISIONS_HZ = 25.0
UPRIGHT_GATE, STANCE_GATE = 0.9, 0.7
"""What a part of the reward must exceed for the next one to count."""
UPRIGHT_WEIGHT, STANCE_WEIGHT, STILL_WEIGHT, CHANGE_WEIGHT = 0.3, 0.4, 0.3, 0.02
STANCE_REACH_RAD = 1.0
"""Distance of a joint from the stance at which it earns nothing."""
STILL_RATE_RADPS = 2.0
"""Rate of the body at which it earns nothing for being still."""


def policy_path(robot: str) -> Path:
    """Where the policy of a robot lies in the library, if it has one."""
    return LIBRARY / f"{robot}-get_up.safetensors"


class GetUp(ScriptedSkill):
    """Get up by the library's policy; the robot learns nothing from it."""

    name = "get_up"
    kind = SkillKind.RECOVERY
    summary = "get up from any fallen pose by a policy learned in simulation"
    horizon_s = 6.0

    def problem(self, spec: RobotSpec) -> str | None:
        """Why a robot cannot have it: the library has no policy for it, or one that cannot be read.

        Who asks before a run has the policy in memory when the robot falls.
        """
        try:
            _library(spec.name)
        except FileNotFoundError:
            return f"the library has no policy for {spec.name!r}; train one: python -m benchmarks.get_up"
        except (OSError, ValueError) as error:
            return f"the library's policy for {spec.name!r} is damaged ({error}); install perdure anew"
        return super().problem(spec)

    def controller(self, spec: RobotSpec, dt_s: float) -> DecisionController:
        """The policy, until the robot stands.

        Raises:
            ValueError: the library's policy cannot be read.
        """
        return get_up_controller(spec, dt_s, _library(spec.name))

    def success(self, transition: Transition) -> bool:
        """Never by its transitions: only the controller has watched the robot stand for long enough."""
        del transition
        return False


def get_up_controller(
    spec: RobotSpec, dt_s: float, weights: PolicyWeights, rng: np.random.Generator | None = None
) -> DecisionController:
    """A policy that gets up, until the robot stands; it explores when there is a random generator."""
    stand = Stand(spec, dt_s)

    def judge(observation: Observation) -> Progress:
        return Progress.SUCCEEDED if stand.update(observation) else Progress.RUNNING

    decimation = max(1, round(1.0 / (DECISIONS_HZ * dt_s)))
    return policy_controller(GettingUp(spec), spec, dt_s, weights, rng, decimation=decimation, judge=judge)


@cache
def _library(robot: str) -> PolicyWeights:
    return PolicyWeights.from_bytes(policy_path(robot).read_bytes())


class GettingUp(LearnedSkill):
    """Get up from lying anyhow, take up the stance and keep it; one robot's, whose stance it knows.

    With u the world's up along the body's z axis, q the joints, w the body's rate and a the action::

        upright = (1 + u) / 2
        stance  = [upright > 0.9] mean(1 - |q - stance| / 1 rad)
        still   = [stance > 0.7] (1 - max |w| / 2 rad/s)
        reward  = 0.3 upright + 0.4 stance + 0.3 still - 0.02 mean (a - a before)^2

    each part within [0, 1].
    """

    name = "getting_up"
    kind = SkillKind.RECOVERY
    summary = "learn to get up from any fallen pose"
    family = BODY
    command = ()
    horizon_s = 6.0
    on_request = True
    lies_down = True

    def __init__(self, spec: RobotSpec) -> None:
        """Learn it on one robot."""
        self._stance = spec.stand_position_rad

    def prior_action(self, spec: RobotSpec) -> Array:
        """The stance."""
        return np.zeros(self.family.action_size(spec))

    def reward_terms(self, transition: Transition) -> dict[str, FloatArray]:
        """The parts of the reward, judged after each step. Each shape: (batch,)."""
        after = transition.next_frame
        distance = np.abs(after.joint_position - self._stance) / STANCE_REACH_RAD
        upright = 0.5 + 0.5 * after.up[..., 2]
        stance = (upright > UPRIGHT_GATE) * (1.0 - np.minimum(distance, 1.0).mean(axis=-1))
        rate = np.abs(after.angular_velocity).max(axis=-1) / STILL_RATE_RADPS
        still = (stance > STANCE_GATE) * (1.0 - np.minimum(rate, 1.0))
        change = np.square(transition.action - transition.previous_action).mean(axis=-1)
        return {
            "upright": UPRIGHT_WEIGHT * upright,
            "stance": STANCE_WEIGHT * stance,
            "still": STILL_WEIGHT * still,
            "change": -CHANGE_WEIGHT * change,
        }

    def trusted(self, transition: Transition) -> NDArray[np.bool_]:
        """Every step: nothing of the reward comes from the tracker. Shape: (batch,)."""
        return np.ones(len(transition), dtype=np.bool_)

    def terminated(self, transition: Transition) -> NDArray[np.bool_]:
        """Never: who stands goes on standing."""
        return np.zeros(len(transition), dtype=np.bool_)

    def success(self, transition: Transition) -> bool:
        """Whether the last frame is upright."""
        return bool(transition.next_frame.up[-1, 2] > np.cos(UPRIGHT_TILT_RAD))
