"""Pictures of a simulated robot, drawn on the CPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim import bullet_world as bw
from sim.body import Body
from sim.bullet_world import World
from sim.quiet_bullet import p


class Camera:
    """Looks at one robot in a world of its own, so that looking never changes the physics."""

    def __init__(self, body: Body) -> None:
        """Nothing is built before the first picture."""
        self._body = body
        self._world: World | None = None

    def picture(self, live: World, width: int, height: int) -> NDArray[np.uint8]:
        """The robot of a world as it is now, from behind and above. Returns shape: (height, width, 3), RGB.

        Raises:
            ValueError: the picture would be empty or too large.
        """
        if not (1 <= width <= 2048 and 1 <= height <= 2048):
            raise ValueError(f"picture of {width} x {height} pixels; both must be within [1, 2048]")
        if self._world is None:
            self._world = bw.build_world(self._body, visual=True)
        bw.copy_pose(live, self._world)
        position, _ = p.getBasePositionAndOrientation(live.body, physicsClientId=live.client)
        pixels = bw.render(self._world, width, height, position)
        return np.ascontiguousarray(np.asarray(pixels, dtype=np.uint8).reshape(height, width, 4)[:, :, :3])

    def close(self) -> None:
        """Close its world; closing twice does nothing."""
        if self._world is not None:
            self._world.close()
            self._world = None
