"""Any Gymnasium environment with continuous actions as a robot that waits between commands."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sim.robot import Array, Command, CommandMode, Health, Observation, RobotSpec
from sim.state import Pose, SimulationError

TASK_CHANNELS = ("reward", "terminated", "truncated", "success")
"""The last channels of a reading: what the newest step gave, and whether the turn so far counts as a success."""
TURN_STEPS = 1000
"""Length of a turn where the environment names none."""
FALLBACK_RATE_HZ = 50.0
"""Where the environment does not say how long a step is."""
RATES_HZ = (1, 150)
"""The clock of an environment that waits is nominal: a slower or faster one is counted at the nearest of these, since
readings under 5 ms apart pass for the same reading."""
FULL_ACTION_NM = 1.0
"""A torque of this size stands for the bound of an action, whatever its unit."""
_NOTHING = (0.0, 0.0, 0.0, 0.0)


class GymRobot:
    """An environment behind the `sim.robot.Robot` protocol: torques are its actions, scaled to [-1, 1].

    It advances by one of its own steps in each control period for which a torque command came, and is frozen in all
    others, so that the time between attempts does not change it. An episode that is over begins anew in the first
    period without a torque command: no transition ever crosses a reset.

    Reset-free, it has no time limit and never begins anew by itself: where it has terminated, the robot is unfit until
    a person places it. A turn still ends (``truncated``) after as many steps as an episode would have had. The state of
    an environment is not stored, so that a new `GymRobot` begins with a fresh one in any case.

    What an environment does not have stays at zero: joints, body, contacts, battery.
    """

    def __init__(self, env_id: str, seed: int, *, reset_free: bool = False) -> None:
        """Make an environment and reset it.

        Args:
            env_id: its identifier, ``ID`` or ``module:ID``.
            seed: of everything random in it.
            reset_free: whether only a person resets it.

        Raises:
            ValueError: there is no such environment, or its actions or observations cannot be used.
        """
        self._env, self._turn_limit = _make(env_id, time_limit=not reset_free)
        self._reset_free = reset_free
        try:
            low, high = _action_bounds(env_id, self._env.action_space)
            _check_observations(env_id, self._env.observation_space)
        except ValueError:
            self._env.close()
            raise
        self._low, self._high = low, high
        self._middle, self._half = 0.5 * (low + high), 0.5 * (high - low) / FULL_ACTION_NM
        self._actions, self._shown = self._env.action_space, self._env.observation_space
        self._spec = _spec(env_id, self._env, len(low))
        self._threshold = self._env.spec.reward_threshold if self._env.spec else None
        self._still = _fixed(*np.zeros(len(low)))
        self._level, self._origin, self._feet = _fixed(0.0, 0.0, 0.0, 1.0), _fixed(0.0, 0.0, 0.0), _fixed()
        self._time_s = 0.0
        self._sequence = -1
        self._action: Array | None = None
        self._over = False
        self._reset(seed)

    @property
    def spec(self) -> RobotSpec:
        """Actions as joints, observations and outcomes as further channels."""
        return self._spec

    def read(self) -> Observation:
        """The environment's observation and what its newest step gave, in ``extra``."""
        return Observation(
            stamp_s=self._time_s,
            joint_position=self._still,
            joint_velocity=self._still,
            joint_torque=self._still,
            orientation_xyzw=self._level,
            angular_velocity=self._origin,
            foot_contact=self._feet,
            battery_v=0.0,
            motor_temperature_c=self._still,
            base_position=self._origin,
            base_yaw=0.0,
            base_valid=True,
            extra=np.concatenate((self._seen, self._given)),
        )

    def write(self, command: Command) -> None:
        """Set the action of the next period; any command but a torque leaves the environment as it is."""
        if command.sequence <= self._sequence:
            return
        self._sequence = command.sequence
        self._action = command.target if command.mode is CommandMode.TORQUE else None

    def stop(self) -> None:
        """No action in the next period."""
        self._action = None

    def cut(self) -> None:
        """As `stop`: there is nothing to damp."""
        self.stop()

    def health(self) -> Health:
        """Unfit where only a person can go on: reset-free, after the environment has terminated."""
        if self._over and self._reset_free:
            return Health(ok=False, problems=("the environment has ended; a person has to reset it",))
        return Health(ok=True)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def step(self, dt_s: float) -> None:
        """One control period: one step of the environment if a torque command came for it.

        Raises:
            SimulationError: an observation or a reward is not finite.
        """
        self._time_s += dt_s
        action, self._action = self._action, None
        if action is not None:
            self._advance(action)
        elif self._over and not self._reset_free:
            self._reset()
        else:
            self._begin_turn()

    def place(self, pose: Pose) -> None:
        """Reset the environment, as a person does; it begins where it always does, whatever the pose."""
        del pose
        self._reset()

    def _advance(self, action: Array) -> None:
        if self._over:
            self._given = _NOTHING  # nothing moves before the reset
            return
        # Rounding must not leave the bounds: some environments refuse such actions.
        wanted = np.minimum(np.maximum(self._middle + self._half * action, self._low), self._high)
        act = wanted.reshape(self._actions.shape).astype(self._actions.dtype)
        seen, reward, terminated, truncated, info = self._env.step(act)
        flat, gained = self._flat(seen), float(reward)
        if not math.isfinite(flat.sum() + gained):
            self._over = True
            raise SimulationError(f"{self._spec.name} gave an observation or a reward that is not finite")
        self._turn_steps += 1
        self._turn_return += gained
        turn_over = truncated or self._turn_steps >= self._turn_limit
        self._over = bool(terminated) or (turn_over and not self._reset_free)
        self._seen = flat
        self._given = (gained, float(terminated), float(turn_over), float(self._succeeding(bool(terminated), info)))

    def _succeeding(self, terminated: bool, info: Mapping[str, Any]) -> bool:
        """The environment's own word, else its threshold of the return, else that it has not terminated."""
        for name in ("is_success", "success"):
            if name in info:
                return bool(info[name])
        return not terminated if self._threshold is None else self._turn_return >= self._threshold

    def _reset(self, seed: int | None = None) -> None:
        seen, _ = self._env.reset(seed=seed)
        self._seen = self._flat(seen)
        self._over = False
        self._begin_turn()

    def _begin_turn(self) -> None:
        self._turn_steps = 0
        self._turn_return = 0.0
        self._given = _NOTHING

    def _flat(self, seen: Any) -> Array:
        if isinstance(self._shown, spaces.Box):
            return np.array(seen, dtype=np.float64).ravel()
        return np.asarray(spaces.flatten(self._shown, seen), dtype=np.float64)


def _fixed(*values: float) -> Array:
    """A reading that never changes, shared by all observations."""
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def _make(env_id: str, *, time_limit: bool) -> tuple[gym.Env[Any, Any], int]:
    """An environment and the number of steps of an episode."""
    try:
        env: gym.Env[Any, Any] = gym.make(env_id, disable_env_checker=True)
        steps = (env.spec.max_episode_steps if env.spec else None) or TURN_STEPS
        if not time_limit:
            env.close()
            env = gym.make(env_id, max_episode_steps=-1, disable_env_checker=True)
    except (gym.error.Error, ImportError) as error:
        raise ValueError(f"cannot make the Gymnasium environment {env_id!r}: {error}") from error
    return env, steps


def _action_bounds(env_id: str, space: spaces.Space[Any]) -> tuple[Array, Array]:
    """Lowest and highest action, flat."""
    if not isinstance(space, spaces.Box):
        raise ValueError(f"{env_id!r} takes actions of {space}; choose an environment with continuous ones (a Box)")
    low, high = space.low.astype(np.float64).ravel(), space.high.astype(np.float64).ravel()
    if not (low.size and np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise ValueError(f"{env_id!r} takes actions of {space}; choose an environment whose actions have finite bounds")
    return low, high


def _check_observations(env_id: str, space: spaces.Space[Any]) -> None:
    """Refuse what is no vector of numbers."""
    if not space.is_np_flattenable:
        raise ValueError(f"{env_id!r} gives observations of {space}, which have no fixed length; choose another")
    for leaf in _leaves(space):
        shape = leaf.shape or ()
        if len(shape) > 2 or (len(shape) == 2 and leaf.dtype == np.uint8):
            raise ValueError(f"{env_id!r} gives images of shape {shape}; choose an environment that gives numbers")


def _leaves(space: spaces.Space[Any]) -> Iterator[spaces.Space[Any]]:
    """The parts of a space that are not made of others."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        for part in parts:
            yield from _leaves(part)
    else:
        yield space


def _spec(env_id: str, env: gym.Env[Any, Any], n_actions: int) -> RobotSpec:
    rate_hz = _rate_hz(env)
    n_seen = spaces.flatdim(env.observation_space)
    nowhere = np.zeros(n_actions)
    return RobotSpec(
        name=f"gym:{env_id}",
        simulated=True,
        joint_names=tuple(f"action_{index}" for index in range(n_actions)),
        foot_names=(),
        position_lower_rad=nowhere,
        position_upper_rad=nowhere,
        velocity_limit_radps=nowhere,
        torque_limit_nm=np.full(n_actions, FULL_ACTION_NM),
        stand_position_rad=nowhere,
        stand_height_m=0.0,
        kp=0.0,
        kd=0.0,
        control_rate_hz=rate_hz,
        policy_rate_hz=rate_hz,
        extra_names=(*(f"obs_{index}" for index in range(n_seen)), *TASK_CHANNELS),
    )


def _rate_hz(env: gym.Env[Any, Any]) -> float:
    """Steps per second: from the environment's own step length, else its frame rate; a whole number."""
    dt_s = getattr(env.unwrapped, "dt", None)
    rate_hz = 1.0 / float(dt_s) if dt_s else float(env.metadata.get("render_fps") or FALLBACK_RATE_HZ)
    return float(round(min(max(rate_hz, RATES_HZ[0]), RATES_HZ[1])))
