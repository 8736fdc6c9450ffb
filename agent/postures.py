"""What the robot does with itself when no skill drives it: damp, take up its stance, sit down."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from agent.loop import ControlLoop, Tick
from sim.robot import Array, Command, CommandMode, Observation
from skills.decisions import DecisionController
from skills.skill import Controller

STANCE_RATE_RADPS = 4.0
"""Joint speed at which the robot takes up its stance."""
REST_S = 1.5
"""How long it takes from the stance to where the robot rests."""
STANDS_RAD = 0.5
"""A robot that leans less, and whose legs are under it, stands."""
PATIENCE_S = 10.0
"""For how long a robot that is kept from its stance, such as by a fall that is caught, is waited for."""
SHUTDOWN_DAMPING_S = 1.0
"""Within the 10 s that SHUTDOWN may use torque."""


class Postures:
    """Postures of one robot; ``tick`` runs a control period and may raise `agent.attempts.Interrupt`."""

    def __init__(self, loop: ControlLoop, tick: Callable[[Callable[[Observation], Command]], Tick]) -> None:
        """Use one control loop."""
        self._loop = loop
        self._tick = tick
        self._target: Array | None = None
        self._stands_since_s = 0.0
        self._stood_until_s: float | None = None
        """When it last held the stance; None: not yet."""
        self._stands = False
        """Whether it took up the stance in this control period."""

    def damp(self, observation: Observation) -> Command:
        """The safe command: no target, only damping."""
        del observation
        return self._loop.gate.damping()

    def stance(self, observation: Observation) -> Command:
        """Approach the nominal stance at a bounded joint speed."""
        return self._approach(self._loop.robot.spec.stand_position_rad, observation)

    def _approach(self, goal: Array, observation: Observation) -> Command:
        spec = self._loop.robot.spec
        step = STANCE_RATE_RADPS * self._loop.clock.dt_s
        base = self._target if self._target is not None else observation.joint_position
        self._target = base + np.clip(goal - base, -step, step)
        return Command(mode=CommandMode.POSITION, target=self._target, kp=spec.kp, kd=spec.kd)

    def take_rest(self, tick: Callable[[Callable[[Observation], Command]], Tick] | None = None) -> None:
        """From the stance, bring the legs to where they can be left without torque; nothing for a robot that does not
        care. ``tick`` runs a control period in the place of the usual one.
        """
        goal = self._loop.robot.spec.rest_position_rad
        if goal is None:
            return
        self._target = None
        for _ in range(math.ceil(REST_S / self._loop.clock.dt_s)):
            (tick or self._tick)(partial(self._approach, goal))

    def stand(self, seconds: float) -> Tick:
        """Hold the stance until it has been held for so long, but for one more control period at least.

        What the tick does instead, as where a fall is caught, is not standing: it begins anew afterwards. An attempt
        that begins in a crouch tumbles, and seems to be that of another robot.

        Returns:
            The last reading; of a robot that could not stand, after `PATIENCE_S`.
        """
        self._target, began_s = None, self._loop.reading.robot_s
        if self._stood_until_s != began_s:  # it did something else meanwhile
            self._stands_since_s = began_s
        while True:
            self._stands = False
            now = self._tick(self._standing)
            if not self._stands:
                self._target, self._stands_since_s = None, now.robot_s
            soon_s = now.robot_s + 0.5 * self._loop.clock.dt_s
            if soon_s >= self._stands_since_s + seconds or soon_s >= began_s + seconds + PATIENCE_S:
                self._stood_until_s = now.robot_s
                return now

    def _standing(self, observation: Observation) -> Command:
        self._stands = True
        return self.stance(observation)

    def come_to_rest(self, controller: Controller) -> None:
        """End the motion that ``controller`` was driving as its family does."""
        if not isinstance(controller, DecisionController):
            return
        retreat = controller.family.coming_to_rest(self._loop.robot.spec)
        began_s = self._loop.reading.robot_s
        if controller.family.rests_from_here:
            controller.start(self._loop.reading.observation)
        while retreat is not None:
            now = self._loop.reading
            action = retreat(now.observation, now.robot_s - began_s)
            if action is None:
                return
            self._tick(partial(controller.act_idle, action=action))

    def sit_down(self, legs_under_rad: float) -> None:
        """Damp until the robot has sunk to the floor, then no torque; nothing interrupts this. One that stands, with no
        joint as far as this from the stance, takes a rest first.
        """
        seen = self._loop.reading.observation
        off_rad = np.abs(seen.joint_position - self._loop.robot.spec.stand_position_rad)
        if seen.tilt_rad < STANDS_RAD and (off_rad < legs_under_rad).all():
            self.take_rest(self._loop.tick)
        for _ in range(math.ceil(SHUTDOWN_DAMPING_S / self._loop.clock.dt_s)):
            self._loop.tick(self.damp)
        self._loop.tick(None)
