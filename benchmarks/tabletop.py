"""A mug moved about a table and home again, by one learner of five skills: EARL's tabletop task (`sim.tabletop`).

    python -m benchmarks.tabletop [--only demonstrations] [--seeds 0 1 2 3 4]

Each step has the reward of all five skills, four goals and bringing the mug home, whichever was practised. The robot
chooses itself what to practise; a person may put the mug back every 2e5 steps (``interventions``, the first laying of
the table included). The reward of a skill is sparse: every step costs the same until the one that leads there, which is
the end to the learner but not to the world. Besides the protocol's observation the policy sees where the mug is from
the gripper, and it learns from the mirror image of each step, too.

Every 10,000 steps the average of the latest policies is sent to each goal from the start, without exploration, for 200
steps. ``final`` is the share of goals reached over the last 10 evaluations, ``final_held`` the share where it also was
there at the last step; ``steps_to_50`` and ``steps_to_80`` are where the mean of five evaluations in a row first is
that high. The published best is 0.994 after 2.5 million steps, with 80 % after 0.49 million (VaPRL); plain learning
without resets has 0.326. These runs end after 150,000 steps, those of ``demonstrations-long`` after 300,000, and those
of ``nothing-long`` after 450,000: four times what the slowest with demonstrations takes to 80 %.

``demonstrations``: with 12 ways to the goals and 12 back home, by a script, as prior data. ``twenty``: with 20 ways in
all. ``nothing``: without them.
``continuing``: with them; the goal comes from outside, another draw every 400 steps, and the mug is put back every 5e4.
There ``successful_steps`` counts the steps at the goal, exploration included, and ``steps_to_record`` says when it
passed 29,971, what the best published learner has after 2.5 million. Elsewhere they count steps at what was being
practised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._study import Study, main
from persistence.replay import MixedReplay, ReplayBuffer
from sim.tabletop import GOALS, HOME, TARGETS, Tabletop, demonstration, reached
from skills.learners.config import SacConfig
from skills.learners.sac import SacLearner
from skills.policy import MlpPolicy, layers_from_flat
from skills.symmetry import Mirror

EVALUATE_EVERY = 10_000
EVALUATION_STEPS = 200
LAST_EVALUATIONS = 10
"""That the final figure is a mean of."""
MOVING_EVALUATIONS = 5
PUT_BACK_EVERY = 200_000
CONTINUING_PUT_BACK_EVERY = 50_000
GOAL_CHANGE_EVERY = 400
"""Steps, in the continuing setting."""
PUBLISHED_RECORD = 29_971
"""Successful steps after 2.5 million, the mean of the best published learner (naive RL; standard error 12,248)."""
DEMONSTRATIONS = 24
"""Three of each of the eight ways between the start and a goal."""
DEMONSTRATION_NOISE = 0.3
"""On its moves, in actions."""
PRIOR_SHARE = 0.25
PRETRAINING_UPDATES = 5000
"""On demonstrations, before the first step."""
RANDOM_STEPS = 1000
PIECE = 50
"""Steps between two calls of the learner, and length of what is remembered at a time."""
UPDATES_PER_STEP = 2.0
AVERAGING = 0.05
"""Share of the newest policy in the average of all, after each piece; what is evaluated is that average."""
PRACTICE_STEPS = 200
"""After which something else is practised."""
HOLD_STEPS = 10
"""At a target, before something else is practised: what stays there has to be seen as well."""
COST_PER_STEP = 0.1
LEARNER = SacConfig(
    hidden=(64, 64),
    batch=128,
    layer_norm=True,
    learning_rate=1e-3,
    tau=0.02,
    discount=0.97,
    target_entropy=-0.5,
    initial_temperature=0.02,
)
COMMANDS = TARGETS[:, 2:] / np.abs(TARGETS).max()
"""Where the mug is to go, by skill. Shape: (5, 2)."""
NO_PRIOR = np.zeros(3)
LEFT_RIGHT = Mirror(
    row_index=np.arange(7),
    row_sign=np.array([1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0]),
    action_index=np.arange(3),
    action_sign=np.array([1.0, -1.0, 1.0]),
    skill_of=np.array([1, 0, 3, 2, 4]),
)
"""The table is the same seen in a mirror along x."""


def run(seed: int, n: int, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Practise for ``n`` steps; without settings, with demonstrations.

    Returns:
        The figures, ``curve`` (steps, share of goals reached, share held at the end, successful steps so far; one row
        per evaluation) and ``practised`` (by target: how often, how often with success).
    """
    practice = Practice.of(settings or VARIANTS["demonstrations"], seed, n)
    curve: list[tuple[int, float, float, int]] = []
    record = None
    while practice.steps < n:
        practice.go_on()
        if record is None and practice.successful_steps > PUBLISHED_RECORD:
            record = practice.steps
        if practice.steps % EVALUATE_EVERY == 0:
            curve.append((practice.steps, *evaluate(practice.averaged()), practice.successful_steps))
    last = np.array(curve[-LAST_EVALUATIONS:]).reshape(-1, 4)
    return {
        "final": float(last[:, 1].mean()),
        "final_held": float(last[:, 2].mean()),
        "steps_to_50": steps_to(0.5, curve),
        "steps_to_80": steps_to(0.8, curve),
        "successful_steps": practice.successful_steps,
        "steps_to_record": record,
        "steps": practice.steps,
        "interventions": practice.interventions,
        "updates": practice.learner.updates,
        "practised": practice.practised.tolist(),
        "curve": curve,
    }


def steps_to(share: float, curve: Sequence[tuple[int, float, float, int]]) -> int | None:
    """Steps at which the last of five evaluations in a row, the first to have such a mean share, took place."""
    for end in range(MOVING_EVALUATIONS, len(curve) + 1):
        if np.mean([row[1] for row in curve[end - MOVING_EVALUATIONS : end]]) >= share:
            return curve[end - 1][0]
    return None


def evaluate(policy: MlpPolicy) -> tuple[float, float]:
    """Send a policy to each goal from the start. Returns the shares of goals it reached, and was at in the end."""
    env = Tabletop()
    successes = np.zeros((len(GOALS), EVALUATION_STEPS), bool)
    for goal in range(len(GOALS)):
        seen, _ = env.reset(options={"target": goal})
        for step in range(EVALUATION_STEPS):
            seen, _, _, _, info = env.step(policy.act(features(seen), COMMANDS[goal], NO_PRIOR))
            successes[goal, step] = info["success"]
    return float(successes.any(1).mean()), float(successes[:, -1].mean())


def features(seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the policy sees: gripper, mug, whether it is held, and the mug from the gripper. Shape: (..., 7)."""
    return np.concatenate((seen[..., :5], seen[..., 2:4] - seen[..., :2]), axis=-1)


def remember(memory: ReplayBuffer, seen: NDArray[np.float32], acted: NDArray[Any]) -> None:
    """Store steps with what they are to every skill. Shapes: (T + 1, 12), (T, 3)."""
    there = reached(seen[1:])
    memory.add_episode(features(seen), acted, -COST_PER_STEP * ~there, there)


class Practice:
    """A table, who practises at it, and what is remembered."""

    def __init__(self, seed: int, n: int, *, demonstrations: int, continuing: bool) -> None:
        self._continuing = continuing
        self._rng = np.random.default_rng(seed)
        self.tries = ReplayBuffer(n, 7, 3, len(TARGETS))
        self.shown = ReplayBuffer(5000, 7, 3, len(TARGETS))
        ways = [way for goal in range(len(GOALS)) for way in ((HOME, goal), (goal, HOME))]
        for at, target in islice(cycle(ways), demonstrations):
            remember(self.shown, *demonstration(at, target, DEMONSTRATION_NOISE, self._rng))
        memory = MixedReplay(self.tries, self.shown, PRIOR_SHARE)
        priors = np.zeros((len(TARGETS), 3))
        self.learner = SacLearner(memory, COMMANDS, priors, LEARNER, seed, mirrors=[LEFT_RIGHT])
        if demonstrations:
            self.learner.update(PRETRAINING_UPDATES)
        self.policy = MlpPolicy(self.learner.snapshot())
        self._average = self.policy.weights.to_flat()
        self.steps = self.successful_steps = 0
        self.practised = np.zeros((len(TARGETS), 2), int)
        """How often each target was practised, and how often with success."""
        self._steps_for_target = self._steps_at_target = 0
        self._env = Tabletop()
        self._seen, _ = self._env.reset(seed=seed)
        self.interventions = 1

    @classmethod
    def of(cls, settings: Mapping[str, Any], seed: int, n: int) -> Practice:
        """That of a variant."""
        shown = settings.get("shown", DEMONSTRATIONS) if settings["demonstrations"] else 0
        return cls(seed, n, demonstrations=shown, continuing=settings["continuing"])

    def go_on(self) -> None:
        """Practise for `PIECE` steps, remember them, and learn."""
        put_back_every = CONTINUING_PUT_BACK_EVERY if self._continuing else PUT_BACK_EVERY
        if self.steps and self.steps % put_back_every == 0:
            self._seen, _ = self._env.reset(options={"target": self._env.target})
            self.interventions += 1
        seen, acted = [self._seen], []
        for _ in range(PIECE):
            action = self._act()
            self._seen, reward, _, _, _ = self._env.step(action)
            seen.append(self._seen)
            acted.append(action)
            self._count(reward > 0)
        remember(self.tries, np.array(seen), np.array(acted))
        if self.steps > RANDOM_STEPS:
            self.learner.update(max(1, round(PIECE * UPDATES_PER_STEP)))
            (weights,) = self.learner.candidates()
            self.policy = MlpPolicy(weights)
            self._average += AVERAGING * (weights.to_flat() - self._average)

    def averaged(self) -> MlpPolicy:
        """The average of the policies so far, recent ones most: it does not stop where the newest one happens to."""
        weights = self.policy.weights
        return MlpPolicy(replace(weights, layers=layers_from_flat(self._average, weights.sizes)))

    def _act(self) -> NDArray[np.float32]:
        if self.steps < RANDOM_STEPS:
            return self._rng.uniform(-1.0, 1.0, 3).astype(np.float32)
        noise = self._rng.standard_normal(3)
        return self.policy.act(features(self._seen), COMMANDS[self._env.target], NO_PRIOR, noise)

    def _count(self, success: bool) -> None:
        """One step more; perhaps it is time for another target."""
        self.steps += 1
        self.successful_steps += success
        self._steps_for_target += 1
        self._steps_at_target += success
        if self._continuing:
            over = self._steps_for_target >= GOAL_CHANGE_EVERY
        else:
            over = self._steps_for_target >= PRACTICE_STEPS or self._steps_at_target >= HOLD_STEPS
        if over:
            target = self._env.target
            self.practised[target] += 1, self._steps_at_target > 0
            # To a goal and back home again, as the protocol's deployment begins at home.
            home = not self._continuing and target != HOME
            self._env.target = HOME if home else int(self._rng.integers(len(GOALS)))
            self._steps_for_target = self._steps_at_target = 0


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One variant, one seed."""
    return run(seed, settings["steps"], settings)


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "demonstrations": {"demonstrations": True, "continuing": False, "steps": 150_000},
    "demonstrations-long": {"demonstrations": True, "continuing": False, "steps": 300_000},
    "twenty": {"demonstrations": True, "shown": 20, "continuing": False, "steps": 150_000},
    "nothing": {"demonstrations": False, "continuing": False, "steps": 150_000},
    "nothing-long": {"demonstrations": False, "continuing": False, "steps": 450_000},
    "continuing": {"demonstrations": True, "continuing": True, "steps": 150_000},
}
STUDY = Study(
    name="tabletop",
    module="benchmarks.tabletop",
    variants=VARIANTS,
    cell=cell,
    figures={
        "final": "higher",
        "final_held": "higher",
        "steps_to_50": "lower",
        "steps_to_80": "lower",
        "successful_steps": "higher",
        "steps_to_record": "lower",
    },
    seeds=(0, 1, 2, 3, 4),
)

if __name__ == "__main__":
    main(STUDY)
