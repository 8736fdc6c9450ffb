"""A learned policy as the decision function of a controller."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.robot import FloatArray, FrameLayout, Frames, Observation, RobotSpec
from skills.decisions import DecisionController, Judge
from skills.features import HISTORY, FeatureHistory
from skills.policy import MlpPolicy, PolicyWeights
from skills.shield import Shield
from skills.skill import LearnedSkill


class PolicyDecision:
    """Features, history and network of one attempt; explores when it has a random generator."""

    def __init__(
        self,
        skill: LearnedSkill,
        spec: RobotSpec,
        policy: MlpPolicy,
        rng: np.random.Generator | None,
        history: int = HISTORY,
        past_actions: bool = True,
        shield: Shield | None = None,
    ) -> None:
        """Act as ``skill`` with one policy version.

        Args:
            skill: gives command and prior action.
            spec: the robot.
            policy: network of the skill's family.
            rng: draws the exploration noise; None acts with the mean.
            history: feature rows that the network sees.
            past_actions: whether the network sees what was sent before.
            shield: what judges the network's actions, and acts in their place.
        """
        self._spec = spec
        self._family = skill.family
        self._past_actions = past_actions
        self._layout = FrameLayout.of(spec)
        self._policy = policy
        self._rng = rng
        self._command = np.asarray(skill.command, dtype=np.float32)
        self._told: FloatArray = self._command
        self._prior = skill.prior_action(spec).astype(np.float32)
        self._history = FeatureHistory(skill.family.feature_size(spec), history)
        self._shield = shield
        self._march = np.zeros_like(self._prior)
        self._obs: NDArray[np.float32] = np.zeros(0, np.float32)

    def __call__(self, observation: Observation, phase_rad: float, last: NDArray[np.float32]) -> FloatArray:
        """One decision."""
        frame = Frames(self._layout.pack(observation)[None], self._layout)
        seen = last if self._past_actions else np.zeros_like(last)
        row = self._family.features(self._spec, frame, np.array([phase_rad]), seen[None])[0]
        noise = None if self._rng is None else self._rng.standard_normal(len(self._prior), dtype=np.float32)
        self._obs = self._history.push(row)
        self._told = self._family.aim(row, self._command)
        return self._policy.act(self._obs, self._told, self._prior, noise)

    def safer(self, proposed: NDArray[np.float32]) -> FloatArray | None:
        """What to do instead of the decision just made; None: follow it."""
        if self._shield is None:
            return None
        judged = self._shield.judge(self._obs, self._told, self._march, proposed)
        return judged.action if judged.recovered else None


def policy_controller(
    skill: LearnedSkill,
    spec: RobotSpec,
    dt_s: float,
    weights: PolicyWeights,
    rng: np.random.Generator | None,
    *,
    decimation: int,
    history: int = HISTORY,
    past_actions: bool = True,
    shield: Shield | None = None,
    judge: Judge | None = None,
) -> DecisionController:
    """A controller for one attempt of a learned skill.

    A ``shield`` takes over, where the family can march on the spot, when what the policy proposes is too risky.
    """
    shield = shield if skill.family.marches else None
    decide = PolicyDecision(skill, spec, MlpPolicy(weights), rng, history, past_actions, shield)
    actuator = skill.family.actuator(spec, dt_s)
    resting = skill.prior_action(spec)
    return DecisionController(
        skill.family, actuator, decide, resting, decimation=decimation, safer=decide.safer, judge=judge
    )
