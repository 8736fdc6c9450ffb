"""Readings and attempts made by hand, and scripts in simulation, for the tests of the hand's skills."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sim.kuka import kuka_spec
from sim.robot import FrameLayout, Frames, Observation, Transition
from sim.simulated_arm import SimulatedArm
from skills import decisions
from skills.decisions import DecisionController
from skills.skill import LearnedSkill

SPEC = kuka_spec()
ON_TRAY_M = 0.04


def reading(
    thing=(0.52, 0.0, ON_TRAY_M, 0.0),
    hand=(0.5, 0.0, 0.2, 0.0),
    force=(0.0, 0.0, 0.0),
    stopped=0.0,
    seen=True,
    door=0.08,
    handle=(0.685, -0.02, 0.105),
):
    """The hand somewhere over the tray, the door half open."""
    n = SPEC.n_joints
    return Observation(
        stamp_s=0.0,
        joint_position=SPEC.stand_position_rad.copy(),
        joint_velocity=np.zeros(n),
        joint_torque=np.zeros(n),
        orientation_xyzw=np.array((0.0, 0.0, 0.0, 1.0)),
        angular_velocity=np.zeros(3),
        foot_contact=np.zeros(0),
        battery_v=0.0,
        motor_temperature_c=np.full(n, 30.0),
        base_position=np.zeros(3),
        base_yaw=0.0,
        base_valid=seen,
        extra=np.array((*hand, *force, stopped, *thing, door, *handle)),
    )


def steps(*ends):
    """Transitions of an attempt that led to these readings, one after the other."""
    layout = FrameLayout.of(SPEC)
    rows = np.array([layout.pack(end) for end in (*ends[:1], *ends)]).reshape(-1, layout.width)
    still = np.zeros((len(ends), 5))
    return Transition(Frames(rows[:-1], layout), still, still, Frames(rows[1:], layout), np.full(len(ends), 0.1))


def by_script(arm: SimulatedArm, skill: LearnedSkill) -> Iterator[Observation]:
    """Readings of an attempt of a skill by its script, until it is over."""
    family, dt_s = skill.family, 1.0 / arm.spec.control_rate_hz
    actuator, resting = family.actuator(arm.spec, dt_s), skill.prior_action(arm.spec)
    decide = decisions.by_script(skill.script(arm.spec), arm.spec)
    controller = DecisionController(family, actuator, decide, resting, decimation=5)
    reading, end_s, sequence = arm.read(), arm.time_s + skill.horizon_s, 0
    controller.start(reading)
    yield reading
    while arm.time_s < end_s and skill.over(reading) is None:
        sequence += 1
        arm.write(replace(controller.act(reading), sequence=sequence))
        arm.step(dt_s)
        reading = arm.read()
        yield reading
