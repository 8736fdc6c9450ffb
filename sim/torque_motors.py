"""Geared motors whose drivers control torque: limits of torque and speed, losses, battery sag and heat.

The limit of torque falls with speed as in the DC motor model of Isaac Lab (`DCMotorCfg`, where the A1 has 33.5 N m and
21 rad/s): a motor gives its peak torque from rest backwards, less in proportion to speed forwards, and nothing at its
no-load speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.motors import JointStates, MotorConstants, Motors


@dataclass(frozen=True, kw_only=True)
class TorqueLimits:
    """What a motor can give at its shaft."""

    peak_nm: float
    no_load_radps: float
    """At the nominal voltage; in proportion to the supply."""
    nominal_v: float


class TorqueMotors(Motors):
    """Motors whose controllers set a torque; gains are in N m per rad and per rad/s.

    Power taken is torque times speed plus the copper loss, in proportion to the squared torque.
    """

    def __init__(self, n_motors: int, dt_s: float, constants: MotorConstants, limits: TorqueLimits) -> None:
        """Cold motors, full battery.

        Args:
            n_motors: Number of motors.
            dt_s: Length of a physics step in s.
            constants: What is fixed about the motors.
            limits: The same for all motors.
        """
        self._limits = limits
        super().__init__(n_motors, dt_s, constants)

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
        """See `Motors.step`; the controllers ask for a torque."""
        torques, currents, losses = self.torque_nm, self.current_a, self._loss
        limits, supply = self._limits, max(self.supply_v, 1.0)
        peak, per_a, loss_w = limits.peak_nm, 1.0 / self.constants.torque_per_a_nm, self.constants.loss_w
        slope = peak * limits.nominal_v / (limits.no_load_radps * supply)
        power = 0.0
        fresh: list[float] = []
        append = fresh.append
        i = 0
        rows = zip(offset, now, late, later, self.gain_scale, self._gain, self._viscous)  # noqa: B905 - hot path
        for base, state, seen, before, scale, strength, viscous in rows:
            velocity = state[1]
            append(kp * state[0] + kd * velocity)
            torque = scale * (base - seen - blend * (before - seen))
            fall = slope * velocity
            high = peak - fall if fall > 0.0 else peak
            low = -peak - fall if fall < 0.0 else -peak
            if torque > high:
                torque = high if high > 0.0 else 0.0
            elif torque < low:
                torque = low if low < 0.0 else 0.0
            square = torque * torque
            torques[i] = torque * strength - viscous * velocity
            currents[i] = torque * per_a
            losses[i] += square
            power += torque * velocity + loss_w * square
            i += 1  # noqa: SIM113 - cheaper than enumerate
        if power != power:
            raise ValueError("a joint state is NaN")
        self._take(power / supply)
        return torques, fresh

    def torque_offsets(self, torque_nm: Sequence[float]) -> tuple[list[float], float]:
        """See `Motors.torque_offsets`: a torque is what the controllers set."""
        return list(torque_nm), 0.0
