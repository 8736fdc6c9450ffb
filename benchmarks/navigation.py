"""Constraint violations while learning: Navigation 1 and 2 of Recovery RL (`sim.navigation`).

    python -m benchmarks.navigation [--only block.ours] [--seeds 0 1 2]

400 episodes each. The protocol has 20,000 offline transitions that show what harm is; variants differ in who gets them.
``ours``: the safety critic and, as prior data, the task learner; ``ours-critic-only``: as published; ``ours-nothing``:
nobody. Without a safety critic, ``plain``: nobody; ``plain-data``: the task learner. The published scheme reached 0
violations and 399 successes in the corridor, 0 and 362 past the block; its task learner alone had 399 and 394
violations (one seed each, measured with its own code).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import sim.navigation
from benchmarks._study import Study, main
from persistence.replay import MixedReplay, ReplayBuffer
from sim.navigation import Navigation, offline_rollouts
from skills.learners.config import SacConfig
from skills.learners.risk import RiskConfig, RiskLearner
from skills.learners.sac import SacLearner
from skills.policy import MlpPolicy
from skills.shield import Shield

EPISODES = 400
OFFLINE_STEPS = 20_000
PRETRAINING_UPDATES = 10_000
RANDOM_STEPS = 100
TASK_UPDATES_PER_STEP = 4
RISK_UPDATES_PER_STEP = 2
REWARD_SCALE = 0.1
LEARNERS = {
    "ours": {"critic": True, "critic_data": True, "task_data": True},
    "ours-critic-only": {"critic": True, "critic_data": True, "task_data": False},
    "ours-nothing": {"critic": True, "critic_data": False, "task_data": False},
    "plain": {"critic": False, "critic_data": False, "task_data": False},
    "plain-data": {"critic": False, "critic_data": False, "task_data": True},
}
COURSES = {"corridor": "perdure/Navigation1-v0", "block": "perdure/Navigation2-v0"}
RISK = RiskConfig(hidden=(64, 64), batch=128, learning_rate=1e-3, discount=0.3, threshold=0.01)
"""Published are discounts of 0.8 and 0.65 with thresholds of 0.3 and 0.2. These reach as far, four steps, but allow
less at the last one, where a shortest way just passes a corner."""
NOTHING = np.zeros(0)
REST = np.zeros(2)


def run(seed: int, n: int, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Learn for ``n`` episodes; without settings, past the block with offline data.

    Returns:
        ``violations`` and ``successes`` (episodes that ended so), ``recoveries`` (steps on which the recovery policy
        acted), ``steps``, and ``outcomes``: one letter per episode (s, v, or - for neither).
    """
    settings = settings or {"course": "block", **LEARNERS["ours"]}
    course = settings["course"]
    env = gymnasium.make(COURSES[course])
    explorer = _Explorer(env, seed, shielded=settings["critic"])
    explorer.study_offline(critic=settings["critic_data"], task=settings["task_data"])
    outcomes = "".join(explorer.episode() for _ in range(n))
    return {
        "violations": outcomes.count("v"),
        "successes": outcomes.count("s"),
        "recoveries": explorer.recoveries,
        "steps": explorer.steps,
        "outcomes": outcomes,
    }


class _Explorer:
    """A task learner, and where there is a shield, what teaches it."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int, *, shielded: bool) -> None:
        self._env = env
        self._rng = np.random.default_rng(seed)
        self._seed: int | None = seed
        most = EPISODES * sim.navigation.HORIZON
        self._tries = ReplayBuffer(most, 2, 2)
        """What the task policy proposed and what came of it."""
        self._given = ReplayBuffer(2 * OFFLINE_STEPS, 2, 2)
        """The offline data, which the task learns from, too."""
        config = SacConfig(hidden=(64, 64), batch=128, layer_norm=True, learning_rate=1e-3, initial_temperature=0.02)
        self._task = SacLearner(
            MixedReplay(self._tries, self._given, 0.5), np.zeros((1, 0)), np.zeros((1, 2)), config, seed
        )
        self._acts = ReplayBuffer(most + 2 * OFFLINE_STEPS, 2, 2)
        """What was sent, and whether it did harm."""
        self._risk: RiskLearner | None = None
        if shielded:
            self._risk = RiskLearner(self._acts, np.zeros((1, 0)), np.zeros((1, 2)), np.zeros(2), RISK, seed)
        self.steps = self.recoveries = 0

    def study_offline(self, *, critic: bool, task: bool) -> None:
        """Learn from offline data before the first episode."""
        course = self._env.unwrapped
        assert isinstance(course, Navigation)
        for places, actions, violated in offline_rollouts(course.course, OFFLINE_STEPS, self._rng):
            ends = np.zeros((len(actions), 1))
            ends[-1] = violated
            if critic:
                self._acts.add_episode(places, actions, ends, ends)
            if task:
                distance = np.linalg.norm(places[:-1], axis=1)[:, None]
                there = distance < sim.navigation.GOAL_RADIUS
                # Harm is the shield's business: to the task it would look like a way to end the cost of being far away.
                kept = ends[:, 0] == 0
                self._given.add_episode(places, actions, -REWARD_SCALE * distance, there, valid=kept)
        if task:
            self._task.update(PRETRAINING_UPDATES)
        if critic and self._risk is not None:
            self._risk.update(PRETRAINING_UPDATES, self._task.snapshot())

    def episode(self) -> str:
        """One episode. Returns its letter."""
        place, _ = self._env.reset(seed=self._seed)
        self._seed = None
        policy = MlpPolicy(self._task.snapshot())
        shield = Shield(self._risk.snapshot()) if self._risk is not None else None
        places, proposed, sent, rewards = [place], [], [], []
        over, info = False, {"violation": False, "success": False}
        while not over:
            wanted = action = self._propose(policy, place)
            if shield is not None:
                judged = shield.judge(place, NOTHING, REST, wanted)
                action = judged.action
                self.recoveries += judged.recovered
            place, reward, terminated, truncated, info = self._env.step(action)
            over = terminated or truncated
            places.append(place)
            proposed.append(wanted)
            sent.append(action)
            rewards.append([REWARD_SCALE * reward])
            self.steps += 1
        ends = np.zeros((len(sent), 1))
        ends[-1] = info["violation"]
        self._acts.add_episode(np.array(places), np.array(sent), ends, ends)
        ends = np.zeros((len(sent), 1))
        ends[-1] = info["violation"] or info["success"]
        self._tries.add_episode(np.array(places), np.array(proposed), np.array(rewards), ends)
        if self.steps > RANDOM_STEPS:
            self._task.update(max(1, round(TASK_UPDATES_PER_STEP * len(sent))))
            if self._risk is not None:
                self._risk.update(max(1, round(RISK_UPDATES_PER_STEP * len(sent))), self._task.snapshot())
        return "v" if info["violation"] else "s" if info["success"] else "-"

    def _propose(self, policy: MlpPolicy, place: NDArray[Any]) -> NDArray[Any]:
        if self.steps < RANDOM_STEPS:
            return self._rng.uniform(-1.0, 1.0, 2)
        return policy.act(place, NOTHING, REST, self._rng.standard_normal(2))


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One course, one learner, one seed."""
    return run(seed, EPISODES, settings)


STUDY = Study(
    name="navigation",
    module="benchmarks.navigation",
    variants={
        f"{course}.{name}": {"course": course, **learner} for course in COURSES for name, learner in LEARNERS.items()
    },
    cell=cell,
    figures={"violations": "lower", "successes": "higher"},
)

if __name__ == "__main__":
    main(STUDY)
