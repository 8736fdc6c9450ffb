"""The four walking skills: forward, backward, turn left, turn right. They share one network (`skills.gait`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, FloatArray, Observation, RobotSpec, Transition, body_velocity
from skills.family import Family
from skills.gait import GAIT, START_TILT_RAD
from skills.skill import Displacement, LearnedSkill, SkillKind
from skills.trajectory_generator import action_size

RESTING_STRIDE = 0.5
"""Stride action of the prior: the plain generator walks with half of its longest stride."""

FALLEN_UP_Z = math.cos(math.radians(50.0))


@dataclass(frozen=True, kw_only=True)
class WalkReward:
    """Weights of the walking rewards; a good step is worth about 1."""

    forward_reference_mps: float = 0.5
    """Forward speed worth a reward of 1."""
    forward_cap: float = 2.5
    """Progress beyond this many references is not rewarded, to keep gaits calm."""
    turn_reference_radps: float = 0.7
    turn_cap: float = 2.5
    """As ``forward_cap``: skills of a family share critics, and one that earns several times more drowns the others."""
    setback_cap: float = 4.0
    """Motion against the command counts up to this many references. Wider than the caps on progress, since a robot that
    rocks to and fro could otherwise earn on the slow way what the fast way back does not cost."""
    drift: float = 0.5
    """Per m/s of motion that the skill does not ask for."""
    yaw_drift: float = 0.5
    """Per rad/s of turning that the skill does not ask for."""
    drift_cap: float = 4.0
    """Drifts beyond this many m/s or rad/s do not cost more: the tracker jumped, not the robot."""
    roughness: float = 0.2
    """Per mean squared change of the action."""
    alive: float = 0.1
    fall: float = 20.0
    """Once, at the step that tips over; more than a dive can earn, so that a fall never pays."""
    caught: float = 5.0
    """Once, at the step after which a fall had to be caught, which costs a second besides."""


@dataclass(frozen=True, kw_only=True)
class WalkLimits:
    """What a calm walk stays within; exceeding it costs, apart from the reward (review, section 4.11.4)."""

    roll_rad: float = 0.20
    pitch_rad: float = 0.20
    power_w_per_kg: float = 20.0
    """Mechanical power that the joints put out, per mass of the robot."""
    torque_rate_per_s: float = 17.0
    """Mean rate of change of the joint torques over a policy step, in full torques of the motors. A mechanism feels it
    as jerk: torque goes with acceleration, so its rate goes with jerk, and unlike jerk it is measured."""


COST_CAP = 10.0
"""A knock counts at most this many times its limit."""


def walking_costs(transition: Transition, spec: RobotSpec, limits: WalkLimits) -> dict[str, FloatArray]:
    """By how much roll, pitch, power and jerk exceed their limits, relative to them. Each shape: (batch,)."""
    after = transition.next_frame
    up = after.up
    power_w = np.sum(np.maximum(after.joint_torque * after.joint_velocity, 0.0), axis=-1)
    torque_step = np.mean(np.abs(after.joint_torque - transition.frame.joint_torque) / spec.torque_limit_nm, axis=-1)
    measured = {
        "roll": np.abs(np.arctan2(up[..., 1], up[..., 2])) / limits.roll_rad,
        "pitch": np.abs(np.arctan2(up[..., 0], up[..., 2])) / limits.pitch_rad,
        "power": power_w / (limits.power_w_per_kg * spec.mass_kg),
        "jerk": torque_step / transition.dt_s / limits.torque_rate_per_s,
    }
    return {name: np.minimum(np.maximum(ratio - 1.0, 0.0), COST_CAP) for name, ratio in measured.items()}


class Walk(LearnedSkill):
    """Move in one direction, as fast as the reward asks, without drifting; tilt, power and jerk are costs."""

    kind = SkillKind.TASK
    family: Family = GAIT
    horizon_s = 10.0
    fallen_up_z = FALLEN_UP_Z
    """Height of the body's up vector below which the robot has tipped, and walking is over."""

    def __init__(
        self,
        name: str,
        summary: str,
        *,
        forward: float = 0.0,
        turn: float = 0.0,
        success_at: float,
        displacement: Displacement,
    ) -> None:
        """Define one direction.

        Args:
            name: identifier of the skill.
            summary: one line for lists.
            forward: +1 forward, -1 backward, 0 neither.
            turn: +1 left, -1 right, 0 neither.
            success_at: mean speed (m/s, or rad/s when turning) in the asked direction that counts as success.
            displacement: what one attempt is expected to do.
        """
        self.name = name
        self.summary = summary
        self.command = (forward, turn)
        self.displacement = displacement
        self.success_at = success_at
        self.weights = WalkReward()
        self.caught_reward = -self.weights.caught
        self.limits = WalkLimits()

    def prior_action(self, spec: RobotSpec) -> Array:
        """The plain generator walking (or turning on the spot) in the skill's direction."""
        forward, turn = self.command
        action = np.zeros(action_size(spec))
        action[1] = RESTING_STRIDE * (forward - turn)
        action[2] = RESTING_STRIDE * (forward + turn)
        return action

    def start_problem(self, observation: Observation) -> str | None:
        """Walking starts upright."""
        tilt = observation.tilt_rad
        return None if tilt < START_TILT_RAD else f"tilted {math.degrees(tilt):.0f} deg"

    def reward_terms(self, transition: Transition) -> dict[str, FloatArray]:
        """progress, drift, yaw_drift, roughness, alive, fall. What a calm gait keeps to is in `costs`."""
        w = self.weights
        forward, turn = self.command
        velocity = body_velocity(transition)
        vx, vy, yaw_rate = velocity[..., 0], velocity[..., 1], velocity[..., 2]
        if turn:
            progress = np.clip(turn * yaw_rate / w.turn_reference_radps, -w.setback_cap, w.turn_cap)
            drift, yaw_drift = np.hypot(vx, vy), np.zeros_like(vx)
        else:
            progress = np.clip(forward * vx / w.forward_reference_mps, -w.setback_cap, w.forward_cap)
            drift, yaw_drift = np.abs(vy), np.abs(yaw_rate)
        change = transition.action - transition.previous_action
        return {
            "progress": progress,
            "drift": -w.drift * np.minimum(drift, w.drift_cap),
            "yaw_drift": -w.yaw_drift * np.minimum(yaw_drift, w.drift_cap),
            "roughness": -w.roughness * np.mean(change**2, axis=-1),
            "alive": np.full_like(progress, w.alive),
            "fall": -w.fall * self.terminated(transition),
        }

    def terminated(self, transition: Transition) -> NDArray[np.bool_]:
        """Walking is over once the robot has tipped."""
        fallen: NDArray[np.bool_] = transition.next_frame.up[..., 2] < self.fallen_up_z
        return fallen

    def costs(self, transition: Transition, spec: RobotSpec) -> dict[str, FloatArray]:
        """roll, pitch, power and jerk beyond their limits, relative to them."""
        return walking_costs(transition, spec, self.limits)

    def measures(self, transition: Transition) -> dict[str, float]:
        """Mean ``speed_mps`` forward and mean ``yaw_rate_radps``, over the steps that the tracker saw."""
        seen = transition.frame.base_valid & transition.next_frame.base_valid
        if not seen.any():
            return {}
        mean = body_velocity(transition)[seen].mean(axis=0)
        return {"speed_mps": float(mean[0]), "yaw_rate_radps": float(mean[2])}

    def success(self, transition: Transition) -> bool:
        """Fast enough in the asked direction on average, and never fallen."""
        measures = self.measures(transition)
        if not measures or bool(self.terminated(transition).any()):
            return False
        forward, turn = self.command
        return forward * measures["speed_mps"] + turn * measures["yaw_rate_radps"] >= self.success_at


WALKING_SKILLS = (
    Walk("walk_forward", "walk straight ahead", forward=1.0, success_at=0.4, displacement=Displacement(forward_m=4.0)),
    Walk(
        "walk_backward", "walk straight back", forward=-1.0, success_at=0.35, displacement=Displacement(forward_m=-3.5)
    ),
    Walk("turn_left", "turn left on the spot", turn=1.0, success_at=0.5, displacement=Displacement(turn_rad=4.0)),
    Walk("turn_right", "turn right on the spot", turn=-1.0, success_at=0.5, displacement=Displacement(turn_rad=-4.0)),
)
"""Speeds that count as success lie above what the plain generator reaches."""
