"""DC motors behind a PD controller: voltage, back-EMF, current, torque and a driver that trips.

Constants are those of the Minitaur model shipped with PyBullet (pybullet_envs/minitaur/envs/motor.py), described by
Tan et al. (2018), "Sim-to-Real: Learning Agile Locomotion For Quadruped Robots", section V-A; what has another origin
says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sim.motors import JointStates, MotorConstants, Motors

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


CONSTANTS = MotorConstants(
    torque_per_a_nm=TORQUE_CONSTANT_NM_PER_A,
    loss_w=RESISTANCE_OHM,
    heat_capacity_j_per_k=HEAT_CAPACITY_J_PER_K,
    thermal_resistance_k_per_w=THERMAL_RESISTANCE_K_PER_W,
    empty_drop_v=EMPTY_DROP_V,
)


class MotorBank(Motors):
    """DC motors whose controllers set a duty cycle."""

    def __init__(self, n_motors: int, dt_s: float) -> None:
        """Cold motors, full battery.

        Args:
            n_motors: Number of motors.
            dt_s: Length of a physics step in s.
        """
        self._overload_s = [0.0] * n_motors
        super().__init__(n_motors, dt_s, CONSTANTS)

    def power_cycle(self) -> None:
        """Switch drivers that tripped on again and let the supply rest at its open-circuit voltage."""
        super().power_cycle()
        self._overload_s = [0.0] * self._n

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
        """See `Motors.step`; the controllers ask for a duty cycle.

        Duty = offset - feedback within [-1, 1]; current = (duty V - k v) / R.
        """
        torques, currents, losses = self.torque_nm, self.current_a, self._loss
        supply = self.supply_v
        intercept, slope, limit = _INTERCEPT_NM, _SLOPE_NM_PER_A, CURRENT_LIMIT_A
        drive, back_emf = supply / RESISTANCE_OHM, TORQUE_CONSTANT_NM_PER_A / RESISTANCE_OHM
        battery_current = 0.0
        fresh: list[float] = []
        append = fresh.append
        i = 0
        rows = zip(offset, now, late, later, self.gain_scale, self._gain, self._viscous)  # noqa: B905 - hot path
        for base, state, seen, before, scale, strength, viscous in rows:
            velocity = state[1]
            append(kp * state[0] + kd * velocity)
            duty = scale * (base - seen - blend * (before - seen))
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
        self._take(battery_current)
        return torques, fresh

    def torque_offsets(self, torque_nm: Sequence[float]) -> tuple[list[float], float]:
        """See `Motors.torque_offsets`; the velocity gain is negative: it cancels the back-EMF."""
        supply = max(self.supply_v, 1.0)
        offsets = [current_of_torque_a(torque) * RESISTANCE_OHM / supply for torque in torque_nm]
        return offsets, -TORQUE_CONSTANT_NM_PER_A / supply

    def _guard_overload(self, elapsed_s: float) -> None:
        for i in range(self._n):
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
