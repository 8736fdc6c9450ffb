"""The robot's own joint controller: commands with delay, sequence numbers, limits, and damping when none comes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from sim.motors import Motors
from sim.robot import Command, CommandMode, RobotSpec

COMMAND_TIMEOUT_S = 0.2
"""Without a new command for this long the robot damps its joints by itself."""
STOP_DAMPING_S = 0.5
"""A stop damps for this long, then the motors carry no current."""
_NEVER = 1 << 62


class JointController:
    """Turns commands into what the motors do at each physics step.

    Attributes:
        motors: The motors it drives.
        mode: What the motors do now; None when they carry no current.
        latency_ticks: Physics steps between a command being sent and coming into force.
        next_tick: Physics step at which something changes next.
    """

    def __init__(self, spec: RobotSpec, direction: tuple[float, ...], physics_hz: int, motors: Motors) -> None:
        """No command yet, no current.

        Args:
            spec: Limits and default gains.
            direction: 1 or -1 per joint: the motor's own angle is the joint angle times it.
            physics_hz: Physics steps per second.
            motors: What it drives.
        """
        self._spec = spec
        self._direction = direction
        lower, upper = spec.position_lower_rad.tolist(), spec.position_upper_rad.tolist()
        torque = spec.torque_limit_nm.tolist()
        self._limits = {
            CommandMode.POSITION: (lower, upper),
            CommandMode.TORQUE: ([-t for t in torque], torque),
        }
        self._extension_limits = _extension_limits(spec)
        self._timeout_ticks = round(COMMAND_TIMEOUT_S * physics_hz)
        self._stop_ticks = round(STOP_DAMPING_S * physics_hz)
        self.motors = motors
        self.latency_ticks = 0
        self._sequence = -1
        self._zeros = [0.0] * spec.n_joints
        self._ones = [1.0] * spec.n_joints
        self._pending: deque[tuple[int, CommandMode, list[float], float, float, list[float]]] = deque()
        self._zero = self._zeros
        self.mode: CommandMode | None = None
        self.offset: list[float] = self._zeros
        """Offset, position gain and velocity gain of `Motors.step`."""
        self.kp = 0.0
        self.kd = 0.0
        self.release()

    def release(self) -> None:
        """Forget all commands and take the current off; sequence numbers go on."""
        self._pending.clear()
        self._torque: list[float] = self._zeros
        self._target: list[float] = self._zeros
        self._expires_to: CommandMode | None = None
        self._damp(0.0)
        self.mode = None
        self._expiry = self.next_tick = _NEVER

    def send(self, command: Command, tick: int) -> None:
        """Take a command sent at a physics step; one that is not newer than the last is dropped.

        Raises:
            ValueError: the target or the gains' scale have the wrong shape, or a number is not finite, or a gain is
                negative.
        """
        if command.sequence <= self._sequence:
            return
        n = self._spec.n_joints
        target = command.target
        if target.shape != (n,):
            raise ValueError(f"command target has shape {target.shape}, the robot needs ({n},)")
        values = target.tolist()
        kp, kd = float(command.kp), float(command.kd)
        if not (math.isfinite(sum(values)) and math.isfinite(kp) and math.isfinite(kd)):
            raise ValueError(f"command {command.sequence} has a value that is not finite; the robot refused it")
        if kp < 0.0 or kd < 0.0:
            raise ValueError(f"gains kp={kp}, kd={kd} must not be negative")
        mode = CommandMode(command.mode)
        scale = self._scale(command)
        if mode is not CommandMode.DAMPING:
            lower, upper = self._limits[mode]
            values = [a if v < a else b if v > b else v for v, a, b in zip(values, lower, upper, strict=True)]
            if mode is CommandMode.POSITION:
                self._keep_legs_open(values)
        raw = [v * sign for v, sign in zip(values, self._direction, strict=True)]
        self._sequence = command.sequence
        self._pending.append((tick + self.latency_ticks, mode, raw, kp, kd, scale))
        self.next_tick = min(self._pending[0][0], self._expiry)

    def stop(self, tick: int) -> None:
        """Damping now, no current later; commands under way are dropped."""
        self._pending.clear()
        self._damp(self._spec.kd)
        self._expiry, self._expires_to = tick + self._stop_ticks, None
        self.next_tick = self._expiry

    def update(self, tick: int) -> None:
        """Bring into force what is due at a physics step."""
        while self._pending and self._pending[0][0] <= tick:
            start, mode, values, kp, kd, scale = self._pending.popleft()
            self._begin(mode, values, kp, kd)
            self.motors.gain_scale = scale
            self._expiry, self._expires_to = start + self._timeout_ticks, CommandMode.DAMPING
        if tick >= self._expiry:
            self._expiry = _NEVER
            if self._expires_to is None:
                self.mode = None
            else:
                self._damp(self._spec.kd)
        self.next_tick = min(self._pending[0][0], self._expiry) if self._pending else self._expiry

    def shift_zero(self, zero_rad: Sequence[float]) -> None:
        """What the encoders read where the joints are at 0, from now on; in the robot's joint convention."""
        self._zero = [zero * sign for zero, sign in zip(zero_rad, self._direction, strict=True)]
        if self.mode is CommandMode.POSITION:
            self.offset = self._pull()

    def refresh(self) -> None:
        """Adapt a torque command to the present supply voltage; call at the control rate."""
        if self.mode is CommandMode.TORQUE:
            self.offset, self.kd = self.motors.torque_offsets(self._torque)

    def damp(self) -> None:
        """Damping from now on, whatever was sent; used while a robot that was put down comes to rest."""
        self._damp(self._spec.kd)

    def _scale(self, command: Command) -> list[float]:
        n, gain_scale = self._spec.n_joints, command.gain_scale
        if gain_scale is None or command.mode is CommandMode.TORQUE:
            return self._ones
        if gain_scale.shape != (n,) or not (np.isfinite(gain_scale) & (gain_scale >= 0.0)).all():
            raise ValueError(f"a command's gain_scale needs {n} finite numbers that are not negative, got {gain_scale}")
        scale: list[float] = gain_scale.tolist()
        return scale

    def _keep_legs_open(self, values: list[float]) -> None:
        """Shift the motors of a leg together so that its extension stays in range and its linkage never folds."""
        for joints, low, high in self._extension_limits:
            extension = sum([share * values[i] for i, share, _ in joints])
            if not low <= extension <= high:
                shift = min(max(extension, low), high) - extension
                for i, _, reach in joints:
                    values[i] += reach * shift

    def _begin(self, mode: CommandMode, values: list[float], kp: float, kd: float) -> None:
        if mode is CommandMode.POSITION:
            self._target, self.kp, self.kd = values, kp, kd
            self.offset = self._pull()
        elif mode is CommandMode.TORQUE:
            self._torque, self.kp = values, 0.0
            self.offset, self.kd = self.motors.torque_offsets(values)
        else:
            self._damp(kd)
        self.mode = mode

    def _pull(self) -> list[float]:
        """The controllers compare targets with what the encoders read: they aim off by what those are off."""
        kp = self.kp
        return [kp * (v - zero) for v, zero in zip(self._target, self._zero, strict=True)]

    def _damp(self, kd: float) -> None:
        self.mode = CommandMode.DAMPING
        self.offset = self._zeros
        self.kp, self.kd = 0.0, kd
        self.motors.gain_scale = self._ones


_LegLimit = tuple[list[tuple[int, float, float]], float, float]
"""Joints of a leg, each with its share in the extension and its reach (how it moves with the extension), and the
lowest and highest extension."""


def _extension_limits(spec: RobotSpec) -> list[_LegLimit]:
    """Limits of the extensions of all legs, for robots that have such limits."""
    if spec.leg_lower_rad is None or spec.leg_upper_rad is None or spec.leg_to_joint is None:
        return []
    reach, share = spec.leg_to_joint, np.linalg.inv(spec.leg_to_joint)
    out: list[_LegLimit] = []
    for row in range(spec.n_feet, 2 * spec.n_feet):
        joints = [(int(i), float(share[row, i]), float(reach[i, row])) for i in np.flatnonzero(reach[:, row])]
        nominal = sum(s * float(spec.stand_position_rad[i]) for i, s, _ in joints)
        out.append((joints, nominal + float(spec.leg_lower_rad[row]), nominal + float(spec.leg_upper_rad[row])))
    return out
