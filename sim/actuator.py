"""DC motors behind a PD controller: voltage, back-EMF, current, torque, battery sag and heat.

Constants are those of the Minitaur model shipped with PyBullet (pybullet_envs/minitaur/envs/motor.py), described by
Tan et al. (2018), "Sim-to-Real: Learning Agile Locomotion For Quadruped Robots", section V-A; what has another origin
says so.

The model runs once per physics step for eight motors. Plain floats in one loop take about a third of the time that the
same formulas take in NumPy at this size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

RESISTANCE_OHM = 0.186
TORQUE_CONSTANT_NM_PER_A = 0.0954
"""Also the back-EMF constant in V s/rad."""
CURRENT_STEP_A = 10.0
TORQUE_AT_CURRENT_NM = (0.0, 1.0, 1.9, 2.45, 3.0, 3.25, 3.5)
"""Measured torque at 0, 10, ..., 60 A: the iron saturates."""
CURRENT_LIMIT_A = 60.0
"""End of the measured table; the motor driver limits there. The torque constant makes it the observed-torque limit of
5.7 N m in the same source."""
OVERHEAT_TORQUE_NM = 2.45
OVERHEAT_TIME_S = 1.0
"""A motor above the torque for this long is switched off by its driver (minitaur/envs/minitaur.py)."""
OVERHEAT_REST_S = 2.0
"""Assumed: the driver tries again after this rest."""
HEAT_CAPACITY_J_PER_K = 300.0
"""Assumed: 0.25 kg of motor at about 450 J/(kg K), and as much again of the aluminium frame that it is bolted to."""
THERMAL_RESISTANCE_K_PER_W = 0.25
"""Assumed, such that the hottest motor of a plain trot (150 W lost in this model) settles near 65 degrees: robots of
this kind trot for as long as their battery lasts."""
SUPPLY_TIME_CONSTANT_S = 0.01
"""Assumed: the capacitors of the power board smooth the supply over about 10 ms."""
EMPTY_DROP_V = 2.8
"""Open-circuit voltage of a full (16.8 V) less that of an empty (14.0 V) four-cell battery."""


def _segments() -> tuple[list[float], list[float]]:
    """Intercept and slope of each segment of the table, indexed by int(current / 10 A), also where that is negative."""
    slopes = [(b - a) / CURRENT_STEP_A for a, b in pairwise(TORQUE_AT_CURRENT_NM)] + [0.0]
    intercepts = [t - s * CURRENT_STEP_A * k for k, (t, s) in enumerate(zip(TORQUE_AT_CURRENT_NM, slopes, strict=True))]
    # Python counts negative indices from the end: segment -1 is the last entry, -6 the sixth from the end.
    return intercepts + [-v for v in intercepts[:0:-1]], slopes + slopes[:0:-1]


_INTERCEPT_NM, _SLOPE_NM_PER_A = _segments()


def torque_of_current_nm(current_a: float) -> float:
    """Shaft torque at a winding current, by linear interpolation of the measured table, odd in the current."""
    current = min(max(current_a, -CURRENT_LIMIT_A), CURRENT_LIMIT_A)
    segment = int(current / CURRENT_STEP_A)
    return _INTERCEPT_NM[segment] + _SLOPE_NM_PER_A[segment] * current


def current_of_torque_a(torque_nm: float) -> float:
    """Inverse of `torque_of_current_nm`; torques beyond the table give the current limit."""
    magnitude = abs(torque_nm)
    current = CURRENT_LIMIT_A
    for segment in range(len(TORQUE_AT_CURRENT_NM) - 1):
        if magnitude < TORQUE_AT_CURRENT_NM[segment + 1]:
            current = (magnitude - _INTERCEPT_NM[segment]) / _SLOPE_NM_PER_A[segment]
            break
    return current if torque_nm >= 0.0 else -current


JointStates = Sequence[Sequence[float]]
"""Per joint: position in rad, velocity in rad/s, then anything."""


class MotorBank:
    """All motors of a robot, their battery and their heat.

    Attributes:
        torque_nm: Torque applied in the last step, one per motor.
        current_a: Winding current of the last step, one per motor.
        temperature_c: One per motor, brought up to date by `settle_heat`.
        supply_v: Voltage at the motor drivers.
        charge_used_ah: Charge taken from the battery.
        energy_j: Electrical energy taken from the battery.
        enabled: False where a driver switched its motor off.
    """

    def __init__(self, n_motors: int, dt_s: float) -> None:
        """Cold motors, full battery.

        Args:
            n_motors: Number of motors.
            dt_s: Length of a physics step in s.
        """
        self._n = n_motors
        self._dt = dt_s
        self._smoothing = min(1.0, dt_s / SUPPLY_TIME_CONSTANT_S)
        self.torque_nm = [0.0] * n_motors
        self.current_a = [0.0] * n_motors
        self.enabled = [True] * n_motors
        self.charge_used_ah = 0.0
        self.energy_j = 0.0
        self._loss = [0.0] * n_motors
        self._steps_since_heat = 0
        self._overload_s = [0.0] * n_motors
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
    ) -> None:
        """Change the motors' and the battery's parameters from the next step on.

        Raises:
            ValueError: there is not one strength per motor.
        """
        if len(strength) != self._n:
            raise ValueError(f"motor_strength has {len(strength)} values, the robot has {self._n} motors")
        self._strength = [float(s) for s in strength]
        self._update_gain()
        self._viscous = viscous_nms
        self._battery_v = battery_v
        self._battery_ohm = battery_ohm
        self._capacity_ah = capacity_ah
        self._ambient_c = ambient_c
        self._open_circuit_v = self.open_circuit_v

    def cool(self) -> None:
        """Set all motors to ambient temperature and switch them on again."""
        self.power_cycle()
        self.temperature_c = [self._ambient_c] * self._n

    def power_cycle(self) -> None:
        """Switch drivers that tripped on again and let the supply rest at its open-circuit voltage."""
        self.settle_heat()
        self._overload_s = [0.0] * self._n
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
        return self._battery_v - EMPTY_DROP_V * min(1.0, self.charge_used_ah / self._capacity_ah)

    def coast(self, now: JointStates) -> list[float]:
        """One physics step with the windings open. Returns the torque of each motor in N m (the list is reused)."""
        for i, state in enumerate(now):
            self.torque_nm[i] = -self._viscous * state[1]
            self.current_a[i] = 0.0
        self._steps_since_heat += 1
        self.supply_v += self._smoothing * (self._open_circuit_v - self.supply_v)
        return self.torque_nm

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
        states (`feedback`): ``late + blend * (later - late)``, where ``later`` belongs to the older state.
        Duty = offset - feedback within [-1, 1]; current = (duty V - k v) / R.

        Args:
            offset: Duty cycle per motor: kp times the target for position control, 0 for damping, the windings' voltage
                drop over the supply for torque control (`torque_offsets`).
            kp: Duty cycle per rad.
            kd: Duty cycle per rad/s.
            now: True joint states.
            late: Feedback that the controllers see.
            later: Feedback one physics step before ``late``.
            blend: Share of ``later``.

        Returns:
            Torque in N m, one per motor (the list is reused), and the feedback of ``now`` (a new list).

        Raises:
            ValueError: a joint state is NaN; nothing can be said about the motors then.
        """
        torques, currents, losses = self.torque_nm, self.current_a, self._loss
        viscous, supply = self._viscous, self.supply_v
        intercept, slope, limit = _INTERCEPT_NM, _SLOPE_NM_PER_A, CURRENT_LIMIT_A
        drive, back_emf = supply / RESISTANCE_OHM, TORQUE_CONSTANT_NM_PER_A / RESISTANCE_OHM
        battery_current = 0.0
        fresh: list[float] = []
        append = fresh.append
        i = 0
        for base, state, seen, before, strength in zip(offset, now, late, later, self._gain):  # noqa: B905 - hot path
            velocity = state[1]
            append(kp * state[0] + kd * velocity)
            duty = base - seen - blend * (before - seen)
            if duty > 1.0:
                duty = 1.0
            elif duty < -1.0:
                duty = -1.0
            current = duty * drive - back_emf * velocity
            if current > limit:
                current = limit
            elif current < -limit:
                current = -limit
            segment = int(current * 0.1)
            torques[i] = (intercept[segment] + slope[segment] * current) * strength - viscous * velocity
            currents[i] = current
            losses[i] += current * current
            battery_current += duty * current
            i += 1  # noqa: SIM113 - cheaper than enumerate
        self._steps_since_heat += 1
        self._charge_as += battery_current
        sagged = self._open_circuit_v - self._battery_ohm * battery_current
        self.supply_v = supply + self._smoothing * (sagged - supply)
        return torques, fresh

    @staticmethod
    def feedback(states: JointStates, kp: float, kd: float) -> list[float]:
        """Feedback term kp q + kd v of each joint, in duty."""
        return [kp * state[0] + kd * state[1] for state in states]

    def torque_offsets(self, torque_nm: Sequence[float]) -> tuple[list[float], float]:
        """Duty offsets and velocity gain (per rad/s) that make `step` give a torque at the present supply voltage.

        The velocity gain is negative: it cancels the back-EMF.
        """
        supply = max(self.supply_v, 1.0)
        offsets = [current_of_torque_a(torque) * RESISTANCE_OHM / supply for torque in torque_nm]
        return offsets, -TORQUE_CONSTANT_NM_PER_A / supply

    def settle_heat(self) -> None:
        """Bring temperatures, charge and overload timers up to date; call at the control rate.

        First-order model: C dT/dt = R i^2 - (T - ambient) / R_th, stepped with the mean of i^2 since the last call.
        """
        n = self._steps_since_heat
        if n == 0:
            return
        elapsed = n * self._dt
        loss_to_k = elapsed * RESISTANCE_OHM / (HEAT_CAPACITY_J_PER_K * n)
        cooling = elapsed / (HEAT_CAPACITY_J_PER_K * THERMAL_RESISTANCE_K_PER_W)
        for i in range(self._n):
            temperature = self.temperature_c[i]
            self.temperature_c[i] = temperature + loss_to_k * self._loss[i] - cooling * (temperature - self._ambient_c)
            self._loss[i] = 0.0
            self._guard_overload(i, elapsed)
        self.charge_used_ah = max(0.0, self.charge_used_ah + self._charge_as * self._dt / 3600.0)
        self.energy_j += max(0.0, self._charge_as) * self._dt * self.supply_v
        self._charge_as = 0.0
        self._steps_since_heat = 0
        self._open_circuit_v = self.open_circuit_v

    def _update_gain(self) -> None:
        """A motor that its driver switched off makes no torque, whatever its strength."""
        self._gain = [s if on else 0.0 for s, on in zip(self._strength, self.enabled, strict=True)]

    def _guard_overload(self, i: int, elapsed_s: float) -> None:
        if not self.enabled[i]:
            self._overload_s[i] -= elapsed_s
            if self._overload_s[i] <= 0.0:
                self.enabled[i] = True
                self._overload_s[i] = 0.0
                self._update_gain()
        elif abs(self.torque_nm[i]) > OVERHEAT_TORQUE_NM:
            self._overload_s[i] += elapsed_s
            if self._overload_s[i] > OVERHEAT_TIME_S:
                self.enabled[i] = False
                self._update_gain()
                self._overload_s[i] = OVERHEAT_REST_S
        else:
            self._overload_s[i] = 0.0
