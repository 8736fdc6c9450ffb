"""Readings and attempts made by hand, for the tests of the hand's skills."""

import numpy as np

from sim.kuka import kuka_spec
from sim.robot import FrameLayout, Frames, Observation, Transition

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
