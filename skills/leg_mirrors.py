"""What a mirror image does to four legs: which leg takes whose place, and how leg space and joints change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim.robot import FloatArray, RobotSpec
from skills.trajectory_generator import N_LEGS


def leg_partners(*, left_right: bool, front_back: bool) -> NDArray[np.intp]:
    """The leg that takes each leg's place; legs are front left, back left, front right, back right."""
    legs = np.arange(N_LEGS)
    if left_right:
        legs = (legs + 2) % N_LEGS
    return legs ^ 1 if front_back else legs


def leg_space_image(
    dofs: int, legs: NDArray[np.intp], *, left_right: bool, front_back: bool
) -> tuple[NDArray[np.intp], FloatArray]:
    """Index and sign of swings, extensions and abductions under a mirror image."""
    signs = (-1.0 if front_back else 1.0, 1.0, -1.0 if left_right else 1.0)[:dofs]
    index = np.concatenate([dof * N_LEGS + legs for dof in range(dofs)])
    return index, np.repeat(signs, N_LEGS)


def joint_image(
    spec: RobotSpec, leg_index: NDArray[np.intp], leg_sign: FloatArray
) -> tuple[NDArray[np.intp], FloatArray]:
    """Index and sign of the joints: the leg-space image seen through ``leg_to_joint``.

    Raises:
        ValueError: the image of a joint is not one joint, so that the robot has no such symmetry.
    """
    to_joint = spec.leg_to_joint
    if to_joint is None:
        raise ValueError(f"robot {spec.name!r} has no leg_to_joint")
    image = to_joint @ (leg_sign[:, None] * np.linalg.inv(to_joint)[leg_index])
    index = np.abs(image).argmax(axis=1)
    sign = np.sign(image[np.arange(len(index)), index])
    exact = np.zeros_like(image)
    exact[np.arange(len(index)), index] = sign
    if not np.allclose(image, exact, atol=1e-6):
        raise ValueError(f"robot {spec.name!r} claims a symmetry that its leg_to_joint does not have")
    return index, sign


def joined(indices: Sequence[NDArray[np.intp]]) -> NDArray[np.intp]:
    """Indices within parts of a row made indices of the whole row."""
    starts = np.cumsum([0, *(len(index) for index in indices[:-1])])
    return np.concatenate([start + index for start, index in zip(starts, indices, strict=True)])
