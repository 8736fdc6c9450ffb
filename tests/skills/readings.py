"""Readings and stored attempts made by hand, for the tests of the walking skills."""

import math

import numpy as np

from sim.minitaur import minitaur_spec
from sim.robot import FrameLayout, Frames, Observation, Transition
from skills.trajectory_generator import action_size

SPEC = minitaur_spec()
LAYOUT = FrameLayout(SPEC.n_joints, SPEC.n_feet)
N_ACTIONS = action_size(SPEC)
DT_S = 0.02
"""Control period."""
STEP_S = 0.04
"""Policy step."""


def reading(x=0.0, y=0.0, yaw=0.0, valid=True, stamp_s=0.0, roll=0.0):
    """The robot standing somewhere, rolled about its own x axis after turning by yaw."""
    n = SPEC.n_joints
    cy, sy, cr, sr = math.cos(yaw / 2), math.sin(yaw / 2), math.cos(roll / 2), math.sin(roll / 2)
    return Observation(
        stamp_s=stamp_s,
        joint_position=SPEC.stand_position_rad.copy(),
        joint_velocity=np.zeros(n),
        joint_torque=np.zeros(n),
        orientation_xyzw=np.array([cy * sr, sy * sr, sy * cr, cy * cr]),
        angular_velocity=np.zeros(3),
        foot_contact=np.ones(4),
        battery_v=16.0,
        motor_temperature_c=np.full(n, 25.0),
        base_position=np.array([x, y, 0.18]),
        base_yaw=yaw,
        base_valid=valid,
    )


def transition(before, after, action=None, previous=None, dt_s=STEP_S):
    """Steps between the frames of two lists of readings."""
    size = (len(before), N_ACTIONS)
    return Transition(
        frame=Frames(np.stack([LAYOUT.pack(o) for o in before]), LAYOUT),
        action=np.zeros(size) if action is None else action,
        previous_action=np.zeros(size) if previous is None else previous,
        next_frame=Frames(np.stack([LAYOUT.pack(o) for o in after]), LAYOUT),
        dt_s=np.full(len(before), dt_s),
    )


def random_transition(rng, steps):
    """Steps with every measurement and action at random."""
    fields = rng.normal(size=(steps + 1, LAYOUT.width)).astype(np.float32)
    place = LAYOUT.slices()
    quaternions = fields[:, place["orientation_xyzw"]]
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    fields[:, place["base_valid"]] = rng.random((steps + 1, 1)) > 0.2
    actions = rng.uniform(-1, 1, (steps + 1, N_ACTIONS))
    return Transition(
        frame=Frames(fields[:-1], LAYOUT),
        action=actions[1:],
        previous_action=actions[:-1],
        next_frame=Frames(fields[1:], LAYOUT),
        dt_s=rng.uniform(0.02, 0.06, steps),
    )


def one_step(steps, index):
    """A batch of one out of a transition."""
    part = slice(index, index + 1)
    return Transition(
        frame=Frames(steps.frame.data[part], LAYOUT),
        action=steps.action[part],
        previous_action=steps.previous_action[part],
        next_frame=Frames(steps.next_frame.data[part], LAYOUT),
        dt_s=steps.dt_s[part],
    )
