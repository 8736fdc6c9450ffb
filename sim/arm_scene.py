"""What lies in reach of a simulated arm: a tray with a cube in it, and a sliding door at its far end."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from sim.quiet_bullet import p, pybullet_data, quiet
from sim.robot import Array
from sim.sensors import yaw_of

FLOOR_M = 0.6
"""How far the floor is below arm and tray: what leaves the tray falls out of reach."""
TRAY_M = (0.55, 0.0, 0.0)
TRAY_SCALE = 1.35
"""Of PyBullet's tray: its sloping sides then lie beyond the box of the hand."""
TRAY_HALF_M = 0.3 * TRAY_SCALE
"""From the middle of the tray to its rim."""
CUBE_HALF_M = 0.025
OBJECT_START_M = (0.55, 0.0)
HANDLE_CLOSED_M = (0.685, -0.1, 0.105)
"""Free end of the handle of the closed door: near enough for fingers at the far end of the hand's box, and no nearer,
as it stops a hand that comes down on it at an end stop. The cube passes below it, in the hand also above it."""
DOOR_TRAVEL_M = 0.16
"""Between its end stops, to the left."""
DOOR_FRICTION_N = 4.0
"""Of the rail: holds the door where it is left, and is far below the force at which the arm stops."""
_HANDLE_RADIUS_M = 0.02
"""Round, so that a hand which comes down on it moves the door aside."""
_PANEL_X_M, _PANEL_HALF_M = 0.8, (0.01, 0.1, 0.1)
"""Beyond what open fingers reach at the far end of the hand's box, and lower than the wrist is there."""
_RAIL_HALF_M, _RAIL_Z_M = (0.015, 0.5 * DOOR_TRAVEL_M + 0.1, 0.01), 0.03
_PANEL_KG, _HANDLE_KG = 0.25, 0.05
"""Light: at the hand's full speed what it takes to move the door at once is a third of the force that stops the arm."""
_PANEL, _HANDLE = 0, 1
"""Links of the door, whose base is the rail."""
_LEVEL = (0.0, 0.0, 0.0, 1.0)
_GREY, _BLUE, _RED = (0.4, 0.4, 0.45, 1.0), (0.35, 0.55, 0.8, 1.0), (0.8, 0.2, 0.15, 1.0)


class ArmScene:
    """The things around an arm in one PyBullet world."""

    def __init__(self, client: int) -> None:
        """Put them there: the cube in the middle of the tray, the door half open, so that each task can begin."""
        self._client = client
        data = Path(pybullet_data.getDataPath())
        with quiet():
            p.loadURDF(str(data / "plane_implicit.urdf"), (0.0, 0.0, -FLOOR_M), physicsClientId=client)
            tray = str(data / "tray" / "traybox.urdf")
            p.loadURDF(tray, TRAY_M, globalScaling=TRAY_SCALE, physicsClientId=client)
            self._cube = p.loadURDF(str(data / "cube_small.urdf"), physicsClientId=client)
        self._door = self._build_door()
        self.put_object(*OBJECT_START_M)
        self.put_door(0.5 * DOOR_TRAVEL_M)

    @property
    def object_pose(self) -> Array:
        """x, y, z and heading of the cube's middle. Shape: (4,)."""
        position, turn = p.getBasePositionAndOrientation(self._cube, physicsClientId=self._client)
        return np.array((*position, yaw_of(turn)))

    @property
    def door_m(self) -> float:
        """How far the door is open."""
        return float(p.getJointState(self._door, _PANEL, physicsClientId=self._client)[0])

    def put_object(self, x_m: float, y_m: float, yaw_rad: float = 0.0, z_m: float = CUBE_HALF_M + 0.02) -> None:
        """Put the cube somewhere, at rest."""
        turn = (0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2))
        p.resetBasePositionAndOrientation(self._cube, (x_m, y_m, z_m), turn, physicsClientId=self._client)
        p.resetBaseVelocity(self._cube, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), physicsClientId=self._client)

    def put_door(self, open_m: float) -> None:
        """Put the door somewhere between its end stops, at rest.

        Raises:
            ValueError: that is beyond an end stop.
        """
        if not 0.0 <= open_m <= DOOR_TRAVEL_M:
            raise ValueError(f"the door opens from 0 to {DOOR_TRAVEL_M} m, not to {open_m} m")
        p.resetJointState(self._door, _PANEL, open_m, physicsClientId=self._client)

    def _build_door(self) -> int:
        """A panel that stands on a rail across the tray, with a handle that points at the arm."""
        c = self._client
        x, y, z = HANDLE_CLOSED_M
        rail_m = (_PANEL_X_M, y + 0.5 * DOOR_TRAVEL_M, _RAIL_Z_M)
        panel_m = (0.0, -0.5 * DOOR_TRAVEL_M, _RAIL_HALF_M[2] + _PANEL_HALF_M[2])
        length = _PANEL_X_M - _PANEL_HALF_M[0] - x
        handle_m = (-_PANEL_HALF_M[0] - 0.5 * length, 0.0, z - rail_m[2] - panel_m[2])
        along_x = p.getQuaternionFromEuler((0.0, 0.5 * math.pi, 0.0))
        rail, panel, handle = self._box(_RAIL_HALF_M), self._box(_PANEL_HALF_M), self._rod(_HANDLE_RADIUS_M, length)
        door = int(
            p.createMultiBody(
                baseMass=0.0,
                baseCollisionShapeIndex=rail,
                basePosition=rail_m,
                linkMasses=(_PANEL_KG, _HANDLE_KG),
                linkCollisionShapeIndices=(panel, handle),
                linkVisualShapeIndices=(-1, -1),
                linkPositions=(panel_m, handle_m),
                linkOrientations=(_LEVEL, along_x),
                linkInertialFramePositions=((0.0, 0.0, 0.0),) * 2,
                linkInertialFrameOrientations=(_LEVEL,) * 2,
                linkParentIndices=(0, 1),
                linkJointTypes=(p.JOINT_PRISMATIC, p.JOINT_FIXED),
                linkJointAxis=((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
                physicsClientId=c,
            )
        )
        p.changeDynamics(door, _PANEL, jointLowerLimit=0.0, jointUpperLimit=DOOR_TRAVEL_M, physicsClientId=c)
        p.changeDynamics(door, _HANDLE, lateralFriction=0.3, physicsClientId=c)
        for link, colour in ((-1, _GREY), (_PANEL, _BLUE), (_HANDLE, _RED)):
            p.changeVisualShape(door, link, rgbaColor=colour, physicsClientId=c)
        p.setJointMotorControl2(
            door, _PANEL, p.VELOCITY_CONTROL, targetVelocity=0.0, force=DOOR_FRICTION_N, physicsClientId=c
        )
        return door

    def _box(self, half_m: tuple[float, float, float]) -> int:
        return int(p.createCollisionShape(p.GEOM_BOX, halfExtents=half_m, physicsClientId=self._client))

    def _rod(self, radius_m: float, length_m: float) -> int:
        rod = p.createCollisionShape(p.GEOM_CYLINDER, radius=radius_m, height=length_m, physicsClientId=self._client)
        return int(rod)


def handle_at(open_m: float) -> tuple[float, float, float]:
    """Where the free end of the handle is when the door is so far open."""
    x, y, z = HANDLE_CLOSED_M
    return x, y + open_m, z
