"""Sensor models: noise, bias, and an external tracker that drops out.

Delay is the robot's matter (`sim.simulated_robot`), since it decides which past state is measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from sim.robot import Array

_BLOCK = 64
"""Readings whose noise is drawn at once."""


@dataclass(frozen=True, kw_only=True)
class SensorParams:
    """Standard deviations and rates of the sensors. Where no source is named the value is an assumption.

    Raises:
        ValueError: a value is negative or not finite, or the tracker's delay is beyond 0.2 s.
    """

    joint_position_rad: float = 0.002
    """A 12-bit encoder resolves 0.0015 rad."""
    joint_velocity_radps: float = 0.1
    """Differentiated and filtered encoder: 0.0015 rad over a 20 ms window is 0.08 rad/s."""
    joint_torque_nm: float = 0.05
    """Half an ampere of current noise."""
    orientation_rad: float = 0.005
    """0.3 degrees, consumer IMU with its own filter, roll and pitch."""
    orientation_bias_rad: float = 0.01
    """Mounting error of the IMU, drawn once per robot."""
    gyro_radps: float = 0.01
    """MPU-6050 data sheet: 0.05 deg/s rms at 100 Hz bandwidth; five times that for vibration of the legs."""
    gyro_bias_radps: float = 0.005
    """Residual after calibration at rest, drawn once per robot."""
    battery_v: float = 0.05
    motor_temperature_c: float = 0.5
    contact_flip_probability: float = 0.002
    tracker_position_m: float = 0.001
    """Marker-based motion capture reaches below 1 mm; a tracking camera some millimetres."""
    tracker_yaw_rad: float = 0.0017
    """0.1 degrees."""
    tracker_delay_s: float = 0.01
    tracker_dropouts_per_s: float = 0.02
    tracker_dropout_s: float = 0.2
    """Mean length of a drop-out; lengths are exponential."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"sensor value {field.name}={value!r} must be finite and not negative; correct it")
        if self.tracker_delay_s > 0.2:
            raise ValueError(
                f"tracker_delay_s={self.tracker_delay_s} must be within [0, 0.2], what the robot remembers"
            )

    @classmethod
    def ideal(cls) -> SensorParams:
        """No noise, bias, delay or drop-outs."""
        return cls(**{field.name: 0.0 for field in fields(cls)})


class SensorModel:
    """Noise of one robot's sensors, from its own random stream.

    Channels, in order: joint positions, velocities, motor currents, motor temperatures (one per joint each), tilt (3),
    gyroscope (3), tracker position (3), tracker heading, battery voltage.
    """

    def __init__(
        self,
        params: SensorParams,
        motor_direction: Sequence[float],
        torque_per_a_nm: float,
        n_feet: int,
        rng: np.random.Generator,
    ) -> None:
        """Draw the biases of this robot.

        Args:
            params: Sizes of noise and biases.
            motor_direction: 1 or -1 per joint: the reading is the true value times it.
            torque_per_a_nm: Makes readings of torque out of motor currents.
            n_feet: Number of contact sensors.
            rng: Stream that all later noise comes from.
        """
        self.params = params
        self._rng = rng
        n = len(motor_direction)
        direction = np.asarray(motor_direction, dtype=np.float64)
        ones = np.ones(n + 11)
        self._gain: Array = np.concatenate((direction, direction, direction * torque_per_a_nm, ones))
        self._scale: Array = np.concatenate(
            (
                np.full(n, params.joint_position_rad),
                np.full(n, params.joint_velocity_radps),
                np.full(n, params.joint_torque_nm),
                np.full(n, params.motor_temperature_c),
                np.full(3, params.orientation_rad),
                np.full(3, params.gyro_radps),
                np.full(3, params.tracker_position_m),
                (params.tracker_yaw_rad, params.battery_v),
            )
        )
        self._bias: Array = np.zeros(4 * n + 11)
        self._bias[4 * n : 4 * n + 3] = rng.normal(0.0, params.orientation_bias_rad, 3)
        self._bias[4 * n + 3 : 4 * n + 6] = rng.normal(0.0, params.gyro_bias_radps, 3)
        self._shift: Array | None = None
        self._n_feet = n_feet
        self._row = _BLOCK
        self._blind_until_s = -1.0
        self._next_blind_s = self._draw_gap(0.0)

    def shift(self, joint_rad: Sequence[float], tilt_rad: Sequence[float], gyro_radps: Sequence[float]) -> None:
        """Read so much more from now on, beside the biases that the robot was made with; all 0: what it was made with.

        Args:
            joint_rad: Positions, one per joint.
            tilt_rad: About the body's axes. Shape: (3,).
            gyro_radps: Shape: (3,).
        """
        n = len(joint_rad)
        shift = np.zeros(4 * n + 11)
        shift[:n] = joint_rad
        shift[4 * n : 4 * n + 3] = tilt_rad
        shift[4 * n + 3 : 4 * n + 6] = gyro_radps
        self._shift = shift if shift.any() else None

    def measure(self, true_values: Sequence[float]) -> Array:
        """One reading of all continuous channels from their true values (currents for torques), biases included.

        Noise is drawn for many readings at a time. Returns shape: (4 * n_joints + 11,), a fresh array.
        """
        if self._row == _BLOCK:
            self._offsets: Array = self._rng.standard_normal((_BLOCK, self._scale.size))
            self._offsets *= self._scale
            self._offsets += self._bias
            chance = self.params.contact_flip_probability
            self._flips: list[list[bool]] = (self._rng.random((_BLOCK, self._n_feet)) < chance).tolist()
            self._row = 0
        out: Array = np.array(true_values)
        out *= self._gain
        out += self._offsets[self._row]
        self._row += 1
        if self._shift is not None:
            out += self._shift
        return out

    def contacts(self, true_contacts: Sequence[float]) -> list[float]:
        """Contacts of the same reading, each turned over with the configured probability."""
        return [1.0 - c if flip else c for c, flip in zip(true_contacts, self._flips[self._row - 1], strict=True)]

    def tracker_sees(self, now_s: float) -> bool:
        """Whether the tracker sees the robot now; call with rising times."""
        if now_s < self._blind_until_s:
            return False
        if now_s >= self._next_blind_s:
            self._blind_until_s = now_s + self._rng.exponential(self.params.tracker_dropout_s)
            self._next_blind_s = self._draw_gap(self._blind_until_s)
            return False
        return True

    def _draw_gap(self, start_s: float) -> float:
        rate = self.params.tracker_dropouts_per_s
        return math.inf if rate == 0.0 else start_s + float(self._rng.exponential(1.0 / rate))


def rotate_small(quaternion: tuple[float, float, float, float], rotation: Sequence[float]) -> Array:
    """Multiply an xyzw quaternion by a small rotation vector in the body frame, renormalised. Returns shape: (4,)."""
    x, y, z, w = quaternion
    a, b, c = 0.5 * rotation[0], 0.5 * rotation[1], 0.5 * rotation[2]
    out = (w * a + x + y * c - z * b, w * b + y + z * a - x * c, w * c + z + x * b - y * a, w - x * a - y * b - z * c)
    norm = math.hypot(*out)
    return np.array([v / norm for v in out])


def to_body(quaternion: tuple[float, float, float, float], vector: tuple[float, float, float]) -> tuple[float, ...]:
    """Turn a world vector into the body frame of an xyzw quaternion."""
    x, y, z, w = quaternion
    vx, vy, vz = vector
    # v' = v - 2 w (q x v) + 2 q x (q x v), the rotation by the conjugate.
    cx, cy, cz = y * vz - z * vy, z * vx - x * vz, x * vy - y * vx
    return (
        vx + 2 * (-w * cx + y * cz - z * cy),
        vy + 2 * (-w * cy + z * cx - x * cz),
        vz + 2 * (-w * cz + x * cy - y * cx),
    )


def yaw_of(quaternion: tuple[float, float, float, float]) -> float:
    """Heading of the body's x axis, rad."""
    x, y, z, w = quaternion
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
