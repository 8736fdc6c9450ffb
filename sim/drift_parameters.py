"""What has drifted, as a row of numbers of about one: what estimators learn to tell, and policies to heed.

Each number is a difference from the nominal robot over a unit, the most that is drawn in training (`sim.drift_ranges`).
What acts alike counts together: a heavier body and a load strapped to it, a load off the middle and a shifted centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.drift import Drifted, DriftSubject
from sim.dynamics import DynamicsParams

PER_JOINT = ("strength", "friction", "viscous", "offset")
"""Kinds of numbers of which each joint has one, in this order."""
BODY = (
    "load",
    "ahead",
    "left",
    "battery",
    "resistance",
    "latency",
    "grip",
    "gyro_x",
    "gyro_y",
    "gyro_z",
    "lean_x",
    "lean_y",
)
"""Numbers of the whole robot, after those of the joints."""
SENSORS = frozenset({"offset", "gyro_x", "gyro_y", "gyro_z", "lean_x", "lean_y"})
"""Of these a sensor is wrong, not the robot."""
STRENGTH, OFFSET_RAD, LOAD, BATTERY, RESISTANCE_OHM = 0.3, 0.08, 0.25, 0.12, 0.04
LATENCY_S, GRIP, GYRO_RADPS, LEAN_RAD = 0.015, 0.5, 0.1, 0.05
"""Units of those whose unit is the same for all robots; load and battery are shares."""


def names(joint_names: Sequence[str]) -> tuple[str, ...]:
    """Names of the numbers, such as ``strength/front_left_knee``."""
    return (*(f"{kind}/{joint}" for kind in PER_JOINT for joint in joint_names), *BODY)


def size(n_joints: int) -> int:
    """How many numbers there are."""
    return len(PER_JOINT) * n_joints + len(BODY)


@dataclass(frozen=True, kw_only=True)
class DriftUnits:
    """Makes the row of one robot."""

    subject: DriftSubject

    def of(self, drifted: Drifted) -> NDArray[np.float32]:
        """What has drifted. Shape: (`size`,)."""
        subject, now, nominal = self.subject, drifted.dynamics, self.subject.nominal
        ranges, n = subject.ranges, len(nominal.motor_strength)
        joints = (
            (np.array(now.motor_strength) - nominal.motor_strength) / STRENGTH,
            (_friction_nm(now, n) - _friction_nm(nominal, n)) / ranges.joint_friction_nm[1],
            (_viscous_nms(now, n) - _viscous_nms(nominal, n)) / ranges.viscous_friction_nms[1],
            np.array(drifted.joint_offset_rad or (0.0,) * n) / OFFSET_RAD,
        )
        late_s = now.action_latency_s + now.observation_latency_s
        usual_s = nominal.action_latency_s + nominal.observation_latency_s
        kg = subject.mass_kg * (now.base_mass_ratio - nominal.base_mass_ratio) + now.payload_kg - nominal.payload_kg
        shift_m = self._centre_m(now) - self._centre_m(nominal)
        body = (
            kg / subject.mass_kg / LOAD,
            *(shift_m / ranges.com_offset_m[1]),
            (now.battery_v / nominal.battery_v - 1.0) / BATTERY,
            (now.battery_resistance_ohm - nominal.battery_resistance_ohm) / RESISTANCE_OHM,
            (late_s - usual_s) / LATENCY_S,
            (now.foot_friction / nominal.foot_friction - 1.0) / GRIP,
            *(np.array(drifted.gyro_bias_radps) / GYRO_RADPS),
            *(np.array(drifted.tilt_bias_rad[:2]) / LEAN_RAD),
        )
        return np.concatenate((*joints, body), dtype=np.float32)

    def _centre_m(self, params: DynamicsParams) -> NDArray[np.float64]:
        """Where the centre of mass is, by load and shift."""
        share = params.payload_kg / (self.subject.mass_kg + params.payload_kg)
        return np.array(params.com_offset_m) + share * np.array(params.payload_offset_m)


def _friction_nm(params: DynamicsParams, n: int) -> NDArray[np.float64]:
    return params.joint_friction_nm + np.array(params.extra_friction_nm or (0.0,) * n)


def _viscous_nms(params: DynamicsParams, n: int) -> NDArray[np.float64]:
    return params.viscous_friction_nms + np.array(params.extra_viscous_nms or (0.0,) * n)
