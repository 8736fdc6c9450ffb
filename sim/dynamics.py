"""What can change about a robot's body and motors, and how it is drawn at random.

`DynamicsParams` is what a person could change on a real robot (payload, worn motors, another floor, an older battery);
`DynamicsRandomiser` draws it from a training or a held-out range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np


@dataclass(frozen=True, kw_only=True)
class DynamicsParams:
    """Everything about the robot's dynamics that may differ from the nominal robot.

    The defaults are those of the Minitaur; each robot has its own nominal ones (`sim.body.Body.nominal`), which
    ``dataclasses.replace`` varies. Values without a note are neutral. Units are in the names; ratios multiply the
    nominal value.

    Raises:
        ValueError: a value is not finite or outside of what the simulator can represent; the message names it.
    """

    base_mass_ratio: float = 1.0
    leg_mass_ratio: float = 1.0
    inertia_ratio: float = 1.0
    """Multiplies the rotational inertia of every link."""
    payload_kg: float = 0.0
    """Extra mass strapped to the body, carried at the four leg mounts in the shares that put its centre right."""
    payload_offset_m: tuple[float, float] = (0.0, 0.0)
    """Centre of the payload ahead and to the left of the body's centre."""
    com_offset_m: tuple[float, float] = (0.0, 0.0)
    """Shift of the whole robot's centre of mass ahead and to the left, by moving mass between the leg mounts."""
    motor_strength: tuple[float, ...] = (1.0,) * 8
    """Torque of each motor over its nominal torque; 0 is a dead motor."""
    viscous_friction_nms: float = 0.0
    """Torque per speed lost in each motor, N m s/rad. pybullet_envs minitaur/envs/motor.py: MOTOR_VISCOUS_DAMPING 0."""
    joint_friction_nm: float = 0.0
    """Coulomb friction of each joint that has any in the robot's model (`sim.body.Body.rubbing`)."""
    extra_viscous_nms: tuple[float, ...] = ()
    """Further viscous friction of single motors, one per motor; empty: none."""
    extra_friction_nm: tuple[float, ...] = ()
    """Further Coulomb friction of single joints, one per motor, in the joint of `sim.body.Body.rubbing` that belongs to
    it; empty: none."""
    foot_friction: float = 1.0
    """Friction coefficient of feet and lower legs; minitaur.urdf: lateral_friction 1."""
    battery_v: float = 16.0
    """Open-circuit voltage of the full battery. minitaur/envs/motor.py: MOTOR_VOLTAGE 16."""
    battery_resistance_ohm: float = 0.02
    """Battery, leads and board. Assumed: 4 cells of about 3 milliohm plus as much in leads and connectors."""
    battery_capacity_ah: float | None = None
    """None: a supply over a tether, which sags but never empties."""
    action_latency_s: float = 0.01
    """Command sent to command in force. minitaur_trotting_env.py: 20 ms of control latency in all, split in halves."""
    observation_latency_s: float = 0.01
    """Measurement to reading; the other half."""
    pd_latency_s: float = 0.003
    """Motor sensing to motor controller (minitaur_trotting_env.py: pd_latency 0.003)."""
    ambient_c: float = 25.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = BOUNDS[field.name]
            if value is None:
                continue
            for number in value if isinstance(value, tuple) else (value,):
                if not (math.isfinite(number) and low <= number <= high):
                    raise ValueError(
                        f"dynamics value {field.name}={value!r} must be finite and within [{low}, {high}]; correct it"
                    )
        if len(self.motor_strength) == 0:
            raise ValueError("motor_strength is empty; give one ratio per motor")


BOUNDS: dict[str, tuple[float, float]] = {
    "base_mass_ratio": (0.1, 5.0),
    "leg_mass_ratio": (0.1, 5.0),
    "inertia_ratio": (0.1, 5.0),
    "payload_kg": (0.0, 10.0),
    "payload_offset_m": (-0.09, 0.09),
    "com_offset_m": (-0.04, 0.04),
    "motor_strength": (0.0, 2.0),
    "viscous_friction_nms": (0.0, 0.5),
    "joint_friction_nm": (0.0, 1.0),
    "foot_friction": (0.0, 3.0),
    "battery_v": (6.0, 60.0),
    "battery_resistance_ohm": (0.0, 0.2),
    "battery_capacity_ah": (0.01, 1000.0),
    "action_latency_s": (0.0, 0.2),
    "observation_latency_s": (0.0, 0.2),
    "pd_latency_s": (0.0, 0.02),
    "ambient_c": (-20.0, 60.0),
    "extra_viscous_nms": (0.0, 0.5),
    "extra_friction_nm": (0.0, 1.0),
}
"""What the simulator can represent; of a tuple, each number."""


Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class DynamicsRanges:
    """Uniform ranges that `DynamicsRandomiser` draws from; a range of equal ends fixes the value."""

    base_mass_ratio: Range
    leg_mass_ratio: Range
    inertia_ratio: Range
    payload_kg: Range
    payload_offset_m: Range
    com_offset_m: Range
    motor_strength: Range
    """Drawn once for the whole robot; each motor then differs from it by up to ``motor_spread``."""
    motor_spread: float
    viscous_friction_nms: Range
    joint_friction_nm: Range
    foot_friction: Range
    battery_v: Range
    control_latency_s: Range
    """Both halves together."""
    rims: Mapping[str, tuple[Range, Range]]
    """By name: what lies below and above the range of that value, unseen until an evaluation."""


# Ranges of pybullet_envs/minitaur/envs/env_randomizers/minitaur_env_randomizer_config.py: mass 0.8-1.2, inertia
# 0.5-1.5, motor strength 0.8-1.2, motor friction 0-0.05 V s/rad beside the back-EMF constant (times 0.0954 / 0.186:
# 0-0.026 N m s/rad), joint friction 0-0.05 N m, foot friction 0.5-1.25, battery 14-16.8 V, latency 0-40 ms. Payload and
# centre of mass are not in that list; theirs are assumptions of the size of an added computer or camera.
TRAINING_RANGES = DynamicsRanges(
    base_mass_ratio=(0.85, 1.15),
    leg_mass_ratio=(0.85, 1.15),
    inertia_ratio=(0.6, 1.4),
    payload_kg=(0.0, 0.3),
    payload_offset_m=(-0.05, 0.05),
    com_offset_m=(-0.01, 0.01),
    motor_strength=(0.85, 1.15),
    motor_spread=0.05,
    viscous_friction_nms=(0.0, 0.018),
    joint_friction_nm=(0.0, 0.035),
    foot_friction=(0.65, 1.15),
    battery_v=(14.6, 16.6),
    control_latency_s=(0.008, 0.032),
    rims={
        "base_mass_ratio": ((0.8, 0.85), (1.15, 1.2)),
        "leg_mass_ratio": ((0.8, 0.85), (1.15, 1.2)),
        "inertia_ratio": ((0.5, 0.6), (1.4, 1.5)),
        "payload_kg": ((0.3, 0.4), (0.4, 0.5)),
        "payload_offset_m": ((-0.07, -0.05), (0.05, 0.07)),
        "com_offset_m": ((-0.015, -0.01), (0.01, 0.015)),
        "motor_strength": ((0.8, 0.85), (1.15, 1.2)),
        "viscous_friction_nms": ((0.018, 0.022), (0.022, 0.026)),
        "joint_friction_nm": ((0.035, 0.042), (0.042, 0.05)),
        "foot_friction": ((0.5, 0.65), (1.15, 1.25)),
        "battery_v": ((14.0, 14.6), (16.6, 16.8)),
        "control_latency_s": ((0.0, 0.008), (0.032, 0.04)),
    },
)
"""The Minitaur's: the inner part of the published ranges, so that their rims stay unseen until an evaluation."""


class DynamicsRandomiser:
    """Draws dynamics from the training ranges, or for evaluations from rims that training never reaches.

    A held-out draw takes ``held_out_values`` of the twelve values from their rims and the others from the training
    ranges: all on their rims at once would be a robot that nobody owns.
    """

    def __init__(
        self,
        seed: int,
        *,
        nominal: DynamicsParams | None = None,
        ranges: DynamicsRanges = TRAINING_RANGES,
        held_out_values: int = 3,
    ) -> None:
        """Seed the two independent streams.

        Args:
            seed: Of both streams.
            nominal: What is not drawn, and the number of motors; the Minitaur's when None.
            ranges: What is drawn.
            held_out_values: Number of values that a held-out draw takes from their rims.

        Raises:
            ValueError: there are not as many values with rims.
        """
        if not 1 <= held_out_values <= len(ranges.rims):
            raise ValueError(f"held_out_values={held_out_values} must be within [1, {len(ranges.rims)}]")
        training, held_out = np.random.SeedSequence(seed).spawn(2)
        self._training = np.random.default_rng(training)
        self._held_out = np.random.default_rng(held_out)
        self._nominal = nominal or DynamicsParams()
        self._ranges = ranges
        self._n_held_out = held_out_values

    def training(self) -> DynamicsParams:
        """The next draw of the training stream."""
        return self._draw(self._training, frozenset())

    def held_out(self) -> DynamicsParams:
        """The next draw of the evaluation stream."""
        names = self._held_out.choice(sorted(self._ranges.rims), size=self._n_held_out, replace=False)
        return self._draw(self._held_out, frozenset(str(name) for name in names))

    def _draw(self, rng: np.random.Generator, rim: frozenset[str]) -> DynamicsParams:
        ranges = self._ranges

        def value(name: str) -> float:
            low, high = ranges.rims[name][rng.integers(2)] if name in rim else getattr(ranges, name)
            return float(rng.uniform(low, high))

        strength = value("motor_strength")
        spread, n_motors = ranges.motor_spread, len(self._nominal.motor_strength)
        motors = tuple(float(s) for s in strength * (1 + rng.uniform(-spread, spread, n_motors)))
        latency = value("control_latency_s")
        return replace(
            self._nominal,
            base_mass_ratio=value("base_mass_ratio"),
            leg_mass_ratio=value("leg_mass_ratio"),
            inertia_ratio=value("inertia_ratio"),
            payload_kg=value("payload_kg"),
            payload_offset_m=(value("payload_offset_m"), value("payload_offset_m")),
            com_offset_m=(value("com_offset_m"), value("com_offset_m")),
            motor_strength=motors,
            viscous_friction_nms=value("viscous_friction_nms"),
            joint_friction_nm=value("joint_friction_nm"),
            foot_friction=value("foot_friction"),
            battery_v=value("battery_v"),
            action_latency_s=0.5 * latency,
            observation_latency_s=0.5 * latency,
        )


def corner_masses_kg(
    params: DynamicsParams, mount_kg: float, total_kg: float, mount_m: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Mass to hang at each leg mount (front left, back left, front right, back right) for payload and centre of mass.

    A mass m at (x, y) between the mounts equals m (1 ± x / a)(1 ± y / b) / 4 at the corners (±a, ±b): the same total
    and the same centre. Shifting the centre of ``total_kg`` by (dx, dy) is the linear part of the same formula.

    Args:
        params: Wanted dynamics.
        mount_kg: Mass of what sits at one mount by itself.
        total_kg: Mass of the whole robot, payload included.
        mount_m: Half distances (a, b) between the mounts, along and across the robot.

    Raises:
        ValueError: a mount would need less than a tenth of its own mass; reduce com_offset_m.
    """
    a, b = mount_m
    px, py = params.payload_offset_m
    dx, dy = params.com_offset_m
    out = []
    for sx, sy in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        payload = 0.25 * params.payload_kg * (1 + sx * px / a) * (1 + sy * py / b)
        shift = 0.25 * total_kg * (sx * dx / a + sy * dy / b)
        mass = mount_kg + payload + shift
        if mass < 0.1 * mount_kg:
            raise ValueError(f"com_offset_m={params.com_offset_m} leaves {mass:.2f} kg at a leg mount; reduce it")
        out.append(mass)
    return out[0], out[1], out[2], out[3]


def within_reach(
    params: DynamicsParams, mount_kg: float, total_kg: float, mount_m: tuple[float, float]
) -> DynamicsParams:
    """The same dynamics with the payload between the mounts, and as much of the shift of the centre of mass as they
    can carry; arguments as for `corner_masses_kg`, which takes the result.
    """
    a, b = mount_m
    px, py = params.payload_offset_m
    px, py = min(max(px, -a), a), min(max(py, -b), b)
    dx, dy = params.com_offset_m
    share = 1.0
    for sx, sy in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        taken = -0.25 * total_kg * (sx * dx / a + sy * dy / b)
        if taken > 0.0:
            spare = 0.9 * mount_kg + 0.25 * params.payload_kg * (1 + sx * px / a) * (1 + sy * py / b)
            share = min(share, 0.999 * spare / taken)
    return replace(params, payload_offset_m=(px, py), com_offset_m=(share * dx, share * dy))
