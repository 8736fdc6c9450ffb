"""What the motors of any robot share: strengths, a battery that sags and empties, and heat.

A motor model adds `Motors.step`, which runs once per physics step. Plain floats in one loop take about a third of the
time that the same formulas take in NumPy for eight motors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from sim.dynamics import DynamicsParams

SUPPLY_TIME_CONSTANT_S = 0.01
"""Assumed: the capacitors of the power board smooth the supply over about 10 ms."""

JointStates = Sequence[Sequence[float]]
"""Per joint: position in rad, velocity in rad/s, then anything."""


@dataclass(frozen=True, kw_only=True)
class MotorConstants:
    """What is fixed about a robot's motors and battery, whatever their model."""

    torque_per_a_nm: float
    """Makes the robot's own estimate of a torque out of a current."""
    loss_w: float
    """Heat in W per squared unit of what the model sums up as loss: ohms per A^2, or W per (N m)^2."""
    heat_capacity_j_per_k: float
    thermal_resistance_k_per_w: float
    empty_drop_v: float
    """Open-circuit voltage of a full battery less that of an empty one."""


class Motors(ABC):
    """All motors of a robot, their battery and their heat.

    Attributes:
        constants: What is fixed about them.
        torque_nm: Torque applied in the last step, one per motor.
        current_a: Winding current of the last step, one per motor.
        temperature_c: One per motor, brought up to date by `settle_heat`.
        supply_v: Voltage at the motor drivers.
        charge_used_ah: Charge taken from the battery.
        energy_j: Electrical energy taken from the battery.
        enabled: False where a driver switched its motor off.
        gain_scale: What the controllers' gains are multiplied by, one per motor.
    """

    def __init__(self, n_motors: int, dt_s: float, constants: MotorConstants) -> None:
        """Cold motors, full battery; call `configure` before the first step.

        Args:
            n_motors: Number of motors.
            dt_s: Length of a physics step in s.
            constants: What is fixed about the motors.
        """
        self.constants = constants
        self._n = n_motors
        self._dt = dt_s
        self._smoothing = min(1.0, dt_s / SUPPLY_TIME_CONSTANT_S)
        self.torque_nm = [0.0] * n_motors
        self.current_a = [0.0] * n_motors
        self.enabled = [True] * n_motors
        self.gain_scale = [1.0] * n_motors
        self.charge_used_ah = 0.0
        self.energy_j = 0.0
        self._loss = [0.0] * n_motors
        self._steps_since_heat = 0
        self._charge_as = 0.0
        self.configure(
            strength=(1.0,) * n_motors,
            viscous_nms=0.0,
            battery_v=16.0,
            battery_ohm=0.02,
            capacity_ah=None,
            ambient_c=25.0,
        )
        self.supply_v = 16.0
        self.temperature_c = [25.0] * n_motors

    def configure(
        self,
        *,
        strength: Sequence[float],
        viscous_nms: float,
        battery_v: float,
        battery_ohm: float,
        capacity_ah: float | None,
        ambient_c: float,
        extra_viscous_nms: Sequence[float] = (),
    ) -> None:
        """Change the motors' and the battery's parameters from the next step on.

        Raises:
            ValueError: there is not one strength per motor, or not one viscous friction if there is any extra.
        """
        if len(strength) != self._n:
            raise ValueError(f"motor_strength has {len(strength)} values, the robot has {self._n} motors")
        extra = extra_viscous_nms or (0.0,) * self._n
        if len(extra) != self._n:
            raise ValueError(f"extra_viscous_nms has {len(extra)} values, the robot has {self._n} motors")
        self._strength = [float(s) for s in strength]
        self._update_gain()
        self._viscous = [viscous_nms + more for more in extra]
        self._battery_v = battery_v
        self._battery_ohm = battery_ohm
        self._capacity_ah = capacity_ah
        self._ambient_c = ambient_c
        self._open_circuit_v = self.open_circuit_v

    def obey(self, params: DynamicsParams) -> None:
        """Take everything that is theirs from the robot's dynamics, from the next step on.

        Raises:
            ValueError: as `configure`.
        """
        self.configure(
            strength=params.motor_strength,
            viscous_nms=params.viscous_friction_nms,
            battery_v=params.battery_v,
            battery_ohm=params.battery_resistance_ohm,
            capacity_ah=params.battery_capacity_ah,
            ambient_c=params.ambient_c,
            extra_viscous_nms=params.extra_viscous_nms,
        )

    def cool(self) -> None:
        """Set all motors to ambient temperature and switch them on again."""
        self.power_cycle()
        self.temperature_c = [self._ambient_c] * self._n

    def power_cycle(self) -> None:
        """Switch drivers that tripped on again and let the supply rest at its open-circuit voltage."""
        self.settle_heat()
        self.enabled = [True] * self._n
        self._update_gain()
        self.torque_nm[:] = [0.0] * self._n
        self.current_a[:] = [0.0] * self._n
        self.supply_v = self.open_circuit_v

    def recharge(self) -> None:
        """Swap the battery for a full one."""
        self.charge_used_ah = 0.0
        self._open_circuit_v = self.supply_v = self._battery_v

    @property
    def open_circuit_v(self) -> float:
        """Battery voltage without load at the present charge."""
        if self._capacity_ah is None:
            return self._battery_v
        return self._battery_v - self.constants.empty_drop_v * min(1.0, self.charge_used_ah / self._capacity_ah)

    def coast(self, now: JointStates) -> list[float]:
        """One physics step with the windings open. Returns the torque of each motor in N m (the list is reused)."""
        viscous = self._viscous
        for i, state in enumerate(now):
            self.torque_nm[i] = -viscous[i] * state[1]
            self.current_a[i] = 0.0
        self._steps_since_heat += 1
        self.supply_v += self._smoothing * (self._open_circuit_v - self.supply_v)
        return self.torque_nm

    @abstractmethod
    def step(
        self,
        offset: Sequence[float],
        kp: float,
        kd: float,
        now: JointStates,
        late: Sequence[float],
        later: Sequence[float],
        blend: float,
    ) -> tuple[list[float], list[float]]:
        """Torque of each motor for one physics step.

        The controllers see the joints as they were a moment ago, through the feedback term kp q + kd v of those past
        states (`feedback`): ``late + blend * (later - late)``, where ``later`` belongs to the older state. What they
        ask of the motors is `gain_scale` times ``offset`` less that feedback, in the unit of the model.

        Args:
            offset: kp times the target for position control, 0 for damping, `torque_offsets` for torque control.
            kp: Position gain per rad.
            kd: Velocity gain per rad/s.
            now: True joint states.
            late: Feedback that the controllers see.
            later: Feedback one physics step before ``late``.
            blend: Share of ``later``.

        Returns:
            Torque in N m, one per motor (the list is reused), and the feedback of ``now`` (a new list).

        Raises:
            ValueError: a joint state is NaN; nothing can be said about the motors then.
        """

    @abstractmethod
    def torque_offsets(self, torque_nm: Sequence[float]) -> tuple[list[float], float]:
        """Offsets and velocity gain (per rad/s) that make `step` give a torque at the present supply voltage."""

    @staticmethod
    def feedback(states: JointStates, kp: float, kd: float) -> list[float]:
        """Feedback term kp q + kd v of each joint."""
        return [kp * state[0] + kd * state[1] for state in states]

    def settle_heat(self) -> None:
        """Bring temperatures, charge and overload timers up to date; call at the control rate.

        First-order model: C dT/dt = loss - (T - ambient) / R_th, stepped with the mean loss since the last call.
        """
        n = self._steps_since_heat
        if n == 0:
            return
        elapsed, fixed = n * self._dt, self.constants
        loss_to_k = elapsed * fixed.loss_w / (fixed.heat_capacity_j_per_k * n)
        cooling = elapsed / (fixed.heat_capacity_j_per_k * fixed.thermal_resistance_k_per_w)
        for i in range(self._n):
            temperature = self.temperature_c[i]
            self.temperature_c[i] = temperature + loss_to_k * self._loss[i] - cooling * (temperature - self._ambient_c)
            self._loss[i] = 0.0
        self._guard_overload(elapsed)
        self.charge_used_ah = max(0.0, self.charge_used_ah + self._charge_as * self._dt / 3600.0)
        self.energy_j += max(0.0, self._charge_as) * self._dt * self.supply_v
        self._charge_as = 0.0
        self._steps_since_heat = 0
        self._open_circuit_v = self.open_circuit_v

    def _take(self, battery_a: float) -> None:
        """Take the current of one physics step out of the battery."""
        self._steps_since_heat += 1
        self._charge_as += battery_a
        sagged = self._open_circuit_v - self._battery_ohm * battery_a
        self.supply_v += self._smoothing * (sagged - self.supply_v)

    def _update_gain(self) -> None:
        """A motor that its driver switched off makes no torque, whatever its strength."""
        self._gain = [s if on else 0.0 for s, on in zip(self._strength, self.enabled, strict=True)]

    def _guard_overload(self, elapsed_s: float) -> None:
        """Let the drivers switch motors off and on; drivers without a guard never do."""
        return
