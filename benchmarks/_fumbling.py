"""A hand that fumbles: scripts of an arm's skills with a hand that shakes and drags, often near the rim of the table.

An arm that has learned hardly ever loses a thing any more. This one does, so that what foresees losses can be judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from agent.attempts import AttemptRunner
from agent.clock import SimulatedClock
from agent.config import Config
from agent.loop import ControlLoop
from agent.safety import ActionGate, Monitors
from persistence.episodes import Episode
from sim.kuka import make_kuka
from sim.robot import FloatArray, Observation
from sim.simulated_arm import SimulatedArm
from sim.state import Pose
from sim.workspace import Workspace
from skills.carry import REACH_M
from skills.decisions import DecisionController, by_script
from skills.registry import get
from skills.skill import LearnedSkill

TASKS = ("carry_out", "carry_home", "slide_open", "slide_close")
FUMBLED = 0.6
"""Share of the attempts that fumble; the others show what a task can be undone from."""
AT_RIM = 0.4
"""Share that begin with the object within `RIM_M` of the rim of the hand's reach."""
RIM_M = (0.01, 0.05)
SHAKE = (0.8, 2.5)
"""Size of the noise that is added to actions in [-1, 1]; `STAY` of it stays from one decision to the next."""
STAY = 0.8
AXES = np.array((1.0, 1.0, 1.0, 0.5, 0.3))
"""How much of it each action has: hand, its turn, fingers."""
DRAG = np.array((0.8, 0.8, 0.48))
"""Standard deviation of what drags the hand to one side during a whole attempt."""
SETTLE_S = 0.5
LAY_M = 0.03
"""The object is laid down no nearer to the rim across than this."""


def fumbled(seed: int, n: int) -> Iterator[Episode]:
    """``n`` attempts of tasks, each begun anew; those that fumbled bear a policy version, the others none."""
    rng = np.random.default_rng(seed)
    with make_kuka(seed) as arm:
        config = Config().for_robot(arm.spec)
        dt_s, floor = config.control.dt_s, Workspace()
        monitors = Monitors(arm.spec, floor, config.safety, 1.0 / dt_s)
        loop = ControlLoop(arm, SimulatedClock(arm, dt_s), ActionGate(arm.spec, dt_s), monitors)
        runner = AttemptRunner(loop, floor, loop.tick)
        tasks = [skill for name in TASKS if isinstance(skill := get(name), LearnedSkill)]
        for number in range(n):
            skill = _begin(arm, loop, tasks, rng)
            fumbles = bool(rng.random() < FUMBLED)
            script = skill.script(arm.spec)
            assert script is not None
            decide = by_script(script, arm.spec)
            controller = DecisionController(
                skill.family,
                skill.family.actuator(arm.spec, dt_s),
                _shaken(decide, rng) if fumbles else decide,
                skill.prior_action(arm.spec),
                decimation=config.control.decimation,
            )
            arrays = runner.run(skill, controller).arrays
            if arrays is None:
                continue
            yield Episode(
                uid=f"attempt-{number:08d}",
                skill=skill.name,
                action_space=arrays.family,
                policy_version="1" if fumbles else "None",
                frames=arrays.frames,
                stamps=arrays.stamps_s,
                actions=arrays.actions,
                proposed=arrays.proposed,
                resting=arrays.resting,
                phase=arrays.phase_rad,
                terminated=False,
            )


def _begin(arm: SimulatedArm, loop: ControlLoop, tasks: list[LearnedSkill], rng: np.random.Generator) -> LearnedSkill:
    """Put the things somewhere and choose a task that can start there."""
    while True:
        arm.place(Pose.standing())
        arm.scatter(rng)
        if rng.random() < AT_RIM:
            x_m, y_m = _at_rim(rng)
            arm.put_object(x_m, y_m, float(rng.uniform(-np.pi, np.pi)))
        arm.step(SETTLE_S)
        loop.refresh()
        able = [skill for skill in tasks if skill.start_problem(loop.reading.observation) is None]
        if able:
            return able[int(rng.integers(len(able)))]


def _at_rim(rng: np.random.Generator) -> tuple[float, float]:
    """A place beside one of the four sides."""
    side, away = int(rng.integers(4)), float(rng.uniform(*RIM_M))
    at = [float(rng.uniform(low + LAY_M, high - LAY_M)) for low, high in REACH_M]
    low, high = REACH_M[side // 2]
    at[side // 2] = high - away if side % 2 else low + away
    return at[0], at[1]


def _shaken(decide: Callable[..., FloatArray], rng: np.random.Generator) -> Callable[..., FloatArray]:
    """The same decisions by a hand that shakes and drags."""
    size, drag = float(rng.uniform(*SHAKE)), np.zeros(len(AXES))
    drag[: len(DRAG)] = rng.normal(0.0, DRAG)
    noise = np.zeros(len(AXES))

    def shaking(observation: Observation, phase_rad: float, last: NDArray[np.float32]) -> FloatArray:
        nonlocal noise
        fresh = rng.standard_normal(len(AXES)) * size * AXES
        noise = STAY * noise + np.sqrt(1.0 - STAY**2) * fresh
        return np.clip(decide(observation, phase_rad, last) + noise + drag, -1.0, 1.0)

    return shaking
