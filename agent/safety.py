"""What no policy can bypass: the gate that every command passes, and the monitors that watch every observation.

Both are small, keep their own state, and take time as part of the observation, so that tests drive them tick by tick.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from agent.collision import LegClearance
from agent.config import SafetyConfig
from agent.hand_box import HandBox
from sim.robot import FORCE_STOP, Array, Command, CommandMode, Observation, RobotSpec
from sim.workspace import Workspace

OVERTRAVEL_RAD = 0.05
"""Further beyond its limits than sensor noise and a compliant stop explain."""


class ActionGate:
    """Makes any command safe to send, or replaces it by damping.

    Limits on joint position, swing and extension of legs, joint speed and torque are the robot's own (`RobotSpec`), and
    so are the distance that its legs keep from each other and the box that its hand stays in. What it changed is
    counted, so that a skill that leans on the gate shows up in the metrics.
    """

    def __init__(self, spec: RobotSpec, dt_s: float) -> None:
        """Guard one robot at a control period of ``dt_s``."""
        self._spec = spec
        self._max_step_rad = spec.velocity_limit_radps * dt_s
        self._legs = LegClearance(spec) if spec.leg_lines is not None else None
        self._box = HandBox(spec) if spec.arm is not None else None
        self._to_leg = np.linalg.inv(spec.leg_to_joint) if spec.leg_to_joint is not None else None
        self._last_target: Array | None = None
        self.replaced = 0
        """Commands replaced by damping because they were not finite or had the wrong shape."""
        self.limited = 0
        """Commands that a limit changed."""

    @property
    def changed(self) -> int:
        """Commands that were not sent as they came."""
        return self.replaced + self.limited

    def reset(self) -> None:
        """Forget the last target: the next one is limited against the measured position."""
        self._last_target = None

    def damping(self) -> Command:
        """The safe command: no target, only damping."""
        return Command(mode=CommandMode.DAMPING, target=np.zeros(self._spec.n_joints), kp=0.0, kd=self._spec.kd)

    def filter(self, command: Command, observation: Observation) -> Command:
        """Return ``command`` within all limits; a command that makes no sense becomes damping."""
        spec = self._spec
        target = np.asarray(command.target, dtype=np.float64)
        usable = target.shape == (spec.n_joints,) and bool(np.isfinite(target).all())
        # Comparisons with NaN are false; a negative gain would drive the joints away from where they should be.
        if not (usable and 0.0 <= command.kp < math.inf and 0.0 <= command.kd < math.inf and self._scales(command)):
            self.replaced += 1
            self._last_target = None
            return self.damping()
        if command.mode is CommandMode.DAMPING:
            self._last_target = None
            return command
        if command.mode is CommandMode.TORQUE:
            self._last_target = None  # the joints move on without it
            safe = np.clip(target, -spec.torque_limit_nm, spec.torque_limit_nm)
        else:
            start = observation.joint_position if self._last_target is None else self._last_target
            safe = self._within_legs(np.clip(target, spec.position_lower_rad, spec.position_upper_rad))
            safe = np.clip(safe, start - self._max_step_rad, start + self._max_step_rad)
            if self._legs is not None:
                safe = self._legs.reach(start, safe)
            if self._box is not None:
                safe = self._box.nearest(start, safe, self._max_step_rad)
            self._last_target = safe
        if not np.array_equal(safe, target):
            self.limited += 1
        return replace(command, target=safe)

    def _scales(self, command: Command) -> bool:
        """Whether the gains' scale, if there is one, makes sense."""
        scale = command.gain_scale
        if scale is None:
            return True
        return scale.shape == (self._spec.n_joints,) and bool(((scale >= 0.0) & (scale < math.inf)).all())

    def _within_legs(self, target: Array) -> Array:
        """The nearest target, leg by leg, at which no leg is longer, shorter or swung further than it can be."""
        spec = self._spec
        if self._to_leg is None or spec.leg_lower_rad is None or spec.leg_upper_rad is None:
            return target
        bounded = len(spec.leg_lower_rad)
        legs = (self._to_leg @ (target - spec.stand_position_rad))[:bounded]
        beyond = np.clip(legs, spec.leg_lower_rad, spec.leg_upper_rad) - legs
        if not beyond.any():
            return target
        assert spec.leg_to_joint is not None
        within: Array = target + spec.leg_to_joint[:, :bounded] @ beyond
        return within


class SensorFilter:
    """Replaces unusable readings by the last good one and says when there were too many (fault catalogue 1-3, 13)."""

    def __init__(self, limits: SafetyConfig) -> None:
        """Start with no reading."""
        self._limits = limits
        self._last: Observation | None = None
        self._bad = 0
        self.rejected = 0
        """Readings rejected so far."""

    @property
    def faulty(self) -> bool:
        """Whether the last readings have been unusable for too long."""
        return self._bad >= self._limits.bad_reading_limit

    def reset(self) -> None:
        """Forget the last reading: a person has changed the scene, or the robot was restarted."""
        self._last = None
        self._bad = 0

    def clean(self, observation: Observation) -> Observation:
        """The observation to act on."""
        if self._usable(observation):
            self._bad = 0
            self._last = observation
            return observation
        self._bad += 1
        self.rejected += 1
        return self._last if self._last is not None else observation

    def _usable(self, observation: Observation) -> bool:
        o = observation
        total = (
            o.joint_position.sum()
            + o.joint_velocity.sum()
            + o.joint_torque.sum()
            + o.orientation_xyzw.sum()
            + o.motor_temperature_c.sum()
            + o.battery_v
        )
        if not math.isfinite(total) or not math.isfinite(o.base_position.sum() + o.base_yaw):
            return False
        rate = float(np.abs(o.angular_velocity).max())
        if not rate <= self._limits.max_rate_radps:  # also false for NaN
            return False
        return self._last is None or o.stamp_s > self._last.stamp_s


class FallDetector:
    """A fall: tilted beyond the limit for a while, or flipped."""

    def __init__(self, limits: SafetyConfig) -> None:
        """Start upright."""
        self._limits = limits
        self._since_s: float | None = None

    def reset(self) -> None:
        """Start anew, after a recovery."""
        self._since_s = None

    def update(self, observation: Observation) -> bool:
        """Whether the robot has fallen, given the newest observation."""
        tilt = observation.tilt_rad
        if tilt >= self._limits.flipped_tilt_rad:
            return True
        if tilt < self._limits.fall_tilt_rad:
            self._since_s = None
            return False
        if self._since_s is None:
            self._since_s = observation.stamp_s
        return observation.stamp_s - self._since_s >= self._limits.fall_hold_s


class SaturationMonitor:
    """A joint that stays at its torque limit is stuck or overloaded (fault catalogue 17)."""

    def __init__(self, spec: RobotSpec, limits: SafetyConfig, window: int) -> None:
        """Watch over ``window`` control periods."""
        self._limit_nm = 0.98 * spec.torque_limit_nm
        self._most = limits.saturation_share * window
        self._seen = np.zeros((window, spec.n_joints), dtype=np.bool_)
        self._counts = np.zeros(spec.n_joints, dtype=np.int64)
        self._next = 0

    def reset(self) -> None:
        """Start anew with the next attempt."""
        self._seen[:] = False
        self._counts[:] = 0

    def update(self, observation: Observation) -> bool:
        """Whether any joint has been at its limit in more than the allowed share of the window."""
        at_limit = np.abs(observation.joint_torque) >= self._limit_nm
        self._counts += at_limit
        self._counts -= self._seen[self._next]
        self._seen[self._next] = at_limit
        self._next = (self._next + 1) % len(self._seen)
        return bool(self._counts.max() > self._most)


class PowerMonitor:
    """Mechanical power of all joints together, as a mean over half a second: more than the supply was made for."""

    WINDOW_S = 0.5

    def __init__(self, spec: RobotSpec, rate_hz: float) -> None:
        """Watch at a control rate."""
        self._limit_w = spec.power_limit_w
        self._powers_w: deque[float] = deque(maxlen=max(1, round(self.WINDOW_S * rate_hz)))

    def reset(self) -> None:
        """Start anew with the next attempt."""
        self._powers_w.clear()

    def update(self, observation: Observation) -> bool:
        """Whether the mean of a full window is above the limit."""
        self._powers_w.append(float(np.abs(observation.joint_torque * observation.joint_velocity).sum()))
        full = len(self._powers_w) == self._powers_w.maxlen
        return full and sum(self._powers_w) > self._limit_w * len(self._powers_w)


class JoltMonitor:
    """The body's angular rate changes faster from one reading to the next than any motion of its own makes it."""

    def __init__(self, spec: RobotSpec) -> None:
        """Watch one robot."""
        self._limit_radps2 = spec.jolt_limit_radps2
        self._last: Observation | None = None

    def reset(self) -> None:
        """Start anew with the next attempt."""
        self._last = None

    def update(self, observation: Observation) -> bool:
        """Whether the body has been hit since the last reading."""
        last, self._last = self._last, observation
        if last is None or observation.stamp_s <= last.stamp_s:
            return False
        change = float(np.abs(observation.angular_velocity - last.angular_velocity).max())
        return change > self._limit_radps2 * (observation.stamp_s - last.stamp_s)


@dataclass(frozen=True, slots=True)
class Alerts:
    """What the monitors found in one observation."""

    fallen: bool = False
    sensor_fault: bool = False
    hard_fence: bool = False
    soft_fence: bool = False
    saturated: bool = False
    overpowered: bool = False
    jolted: bool = False
    overtravelled: bool = False
    """A joint is beyond its limits: whatever it was told, something has pushed it there."""
    pressed: bool = False
    """A force at its hand has stopped the robot."""
    hot: bool = False


class Monitors:
    """All monitors of one robot behind one call."""

    def __init__(self, spec: RobotSpec, workspace: Workspace, limits: SafetyConfig, rate_hz: float) -> None:
        """Watch one robot in one workspace."""
        self._sensors = SensorFilter(limits)
        self._falls = FallDetector(limits)
        self._saturation = SaturationMonitor(spec, limits, round(rate_hz))
        self._power = PowerMonitor(spec, rate_hz)
        self._jolts = JoltMonitor(spec)
        self._lower_rad = spec.position_lower_rad - OVERTRAVEL_RAD
        self._upper_rad = spec.position_upper_rad + OVERTRAVEL_RAD
        self._force_stop = spec.extra_names.index(FORCE_STOP) if FORCE_STOP in spec.extra_names else None
        self._workspace = workspace
        self._hot_c = spec.motor_temperature_limit_c
        self._cool_c = spec.motor_temperature_limit_c - limits.temperature_margin_c
        self._hot = False

    @property
    def rejected_readings(self) -> int:
        """Readings that the sensor filter replaced so far."""
        return self._sensors.rejected

    def reset(self) -> None:
        """Begin a new stretch: falls, saturation, power and jolts before it do not count."""
        self._falls.reset()
        self._saturation.reset()
        self._power.reset()
        self._jolts.reset()

    def restart(self) -> None:
        """Forget everything, readings too, after a person has moved the robot."""
        self.reset()
        self._sensors.reset()

    def update(self, raw: Observation) -> tuple[Observation, Alerts]:
        """Clean one reading and judge it."""
        observation = self._sensors.clean(raw)
        hottest = float(observation.motor_temperature_c.max())
        self._hot = hottest > (self._cool_c if self._hot else self._hot_c)
        x, y = float(observation.base_position[0]), float(observation.base_position[1])
        joints = observation.joint_position
        return observation, Alerts(
            fallen=self._falls.update(observation),
            sensor_fault=self._sensors.faulty,
            hard_fence=not self._workspace.inside_hard(x, y),
            soft_fence=not self._workspace.inside_soft(x, y),
            saturated=self._saturation.update(observation),
            overpowered=self._power.update(observation),
            jolted=self._jolts.update(observation),
            overtravelled=bool(((joints < self._lower_rad) | (joints > self._upper_rad)).any()),
            pressed=self._force_stop is not None and bool(observation.extra[self._force_stop] > 0.5),
            hot=self._hot,
        )
