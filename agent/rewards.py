"""Rewards that a person has shown: one per skill in the home, learned from stored attempts that they judged."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agent.marked import read_marked
from persistence.episodes import Episode
from persistence.files import atomic_write, sha256_bytes
from persistence.home import Home
from persistence.store import Store
from sim.robot import FloatArray, FrameLayout, RobotSpec
from skills.experience import transitions
from skills.learned_reward import LearnedReward, RewardWeights, Source, reward_rows
from skills.undo_critic import timeless_features

if TYPE_CHECKING:
    from skills.learners.rewards import PreferenceConfig, Shown
    from skills.learners.success import SuccessConfig
    from skills.skill import LearnedSkill

OWN = "own"
"""A skill's own terms, as a source of its reward."""
CANDIDATES = 100
"""Newest attempts of a skill among which pairs to compare are looked for."""
_NEWEST = """
SELECT id, outcome, measures FROM attempts
WHERE skill = ? AND state = 'finished' AND episode_file IS NOT NULL AND steps > 0 ORDER BY id DESC LIMIT ?
"""
Pairs = tuple[tuple[int, int], ...]
"""Numbers of the better and of the worse attempt, in the order in which a person said so."""


@dataclass(frozen=True, kw_only=True)
class ShownReward:
    """What a skill is learned with, in the place of its own terms."""

    reward: LearnedReward
    sha256: str
    """Of its file."""


def read_rewards(home: Home, spec: RobotSpec, skills: Iterable[LearnedSkill]) -> dict[str, ShownReward]:
    """The rewards of those skills that have one in a home, by name.

    Raises:
        ValueError: a file is damaged, or was learned on another robot.
    """
    rewards = {}
    for skill in skills:
        path = _file(home, skill.name)
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            reward = LearnedReward(spec, skill.family, RewardWeights.from_bytes(data))
        except ValueError as error:
            raise _unusable(skill.name, path, error) from error
        rewards[skill.name] = ShownReward(reward=reward, sha256=sha256_bytes(data))
    return rewards


def reward_facts(home: Home, skill: str) -> dict[str, Any]:
    """What a skill is learned with.

    Returns:
        ``skill``, ``reward`` (``own``, ``examples`` or ``preferences``), ``held_out_accuracy`` (None: unknown),
        ``pairs`` (that a person has compared so far), ``file`` and ``sha256`` (None: own terms).

    Raises:
        ValueError: its file is damaged.
    """
    facts: dict[str, Any] = {"skill": skill, "reward": OWN, "held_out_accuracy": None}
    facts |= {"pairs": len(read_pairs(home, skill)), "file": None, "sha256": None}
    path = _file(home, skill)
    if path.is_file():
        data = path.read_bytes()
        try:
            weights = RewardWeights.from_bytes(data)
        except ValueError as error:
            raise _unusable(skill, path, error) from error
        facts |= {"reward": weights.source.value, "file": str(path), "sha256": sha256_bytes(data)}
        facts["held_out_accuracy"] = weights.held_out_accuracy if weights.held_out_accuracy >= 0.0 else None
    return facts


def learn_from_examples(
    home: Home,
    skill: LearnedSkill,
    successes: Sequence[int],
    failures: Sequence[int],
    config: SuccessConfig | None = None,
) -> dict[str, Any]:
    """Learn a skill's reward from attempts of which a person said whether they ended in its goal; imports torch.

    Returns:
        `reward_facts`, ``successes`` and ``failures``.

    Raises:
        ValueError: an attempt cannot be learned from, is in both lists, or there are too few.
        PersistenceError: the store or an episode file is damaged.
    """
    from skills.learners.rewards import learn_examples

    if both := sorted({*successes} & {*failures}):
        raise ValueError(f"attempt {both[0]} is marked as success and as failure")
    spec, episodes = read_marked(home, skill, (*successes, *failures))
    good, bad = (
        [timeless_features(spec, skill.family, episodes[number].frames) for number in numbers]
        for numbers in (successes, failures)
    )
    _store(home, skill.name, learn_examples(good, bad, config))
    return reward_facts(home, skill.name) | {"successes": len(good), "failures": len(bad)}


def learn_from_preferences(
    home: Home,
    skill: LearnedSkill,
    better: Sequence[int],
    worse: Sequence[int],
    config: PreferenceConfig | None = None,
) -> dict[str, Any]:
    """Learn a skill's reward from pairs of attempts that a person compared, now and before; imports torch.

    Returns:
        `reward_facts`, ``held_out`` (pairs foretold from those of other attempts) and ``needed`` (further pairs without
        which nothing is learned, and the reward stays what it was).

    Raises:
        ValueError: an attempt cannot be learned from, or the lists are no pairs.
        PersistenceError: the store or an episode file is damaged.
    """
    from skills.learners.rewards import PreferenceConfig, learn_preferences

    config = config or PreferenceConfig()
    pairs = _with(read_pairs(home, skill.name), better, worse)
    numbers = list(dict.fromkeys(number for pair in pairs for number in pair))
    spec, episodes = read_marked(home, skill, numbers)
    shown = _shown(spec, skill, episodes)
    home.rewards.mkdir(exist_ok=True)
    atomic_write(_pairs_file(home, skill.name), json.dumps(pairs).encode())
    needed = max(0, config.least_pairs - len(pairs))
    if needed:
        return reward_facts(home, skill.name) | {"held_out": 0, "needed": needed}
    place = {number: index for index, number in enumerate(numbers)}
    learned = learn_preferences(
        [shown[number] for number in numbers], [(place[one], place[other]) for one, other in pairs], config
    )
    _store(home, skill.name, learned.weights)
    return reward_facts(home, skill.name) | {"held_out": learned.held_out, "needed": needed}


def propose(home: Home, skill: LearnedSkill, count: int) -> list[dict[str, Any]]:
    """Pairs of a skill's newest attempts to compare: those on whose order its reward agrees with itself the least.

    Without a reward learned from preferences the pairs are drawn by lot.

    Returns:
        For each pair ``doubt`` (0 to 0.5; None: by lot), and of both attempts ``first``, ``first_outcome``,
        ``first_measures``, ``second``, ``second_outcome`` and ``second_measures``.

    Raises:
        ValueError: there are fewer than two attempts, or one cannot be learned from.
        PersistenceError: the store or an episode file is damaged.
    """
    with Store.open(home.db, read_only=True) as store:
        rows = {row["id"]: row for row in store.rows(_NEWEST, (skill.name, CANDIDATES))}
    if len(rows) < 2:
        raise ValueError(f"{home.root} has {len(rows)} attempts of {skill.name} to compare; let it practise first")
    numbers = sorted(rows)
    first, second = np.triu_indices(len(numbers), 1)
    doubts = _doubts(home, skill, numbers, first, second)
    order = np.argsort(-doubts) if doubts is not None else np.random.default_rng(len(numbers)).permutation(len(first))
    said = {frozenset(pair) for pair in read_pairs(home, skill.name)}
    ranked = {(numbers[first[i]], numbers[second[i]]): float(doubts[i]) if doubts is not None else None for i in order}
    chosen = _spread([pair for pair in ranked if frozenset(pair) not in said], count)
    return [
        {"doubt": doubt} | _seen("first", rows[pair[0]]) | _seen("second", rows[pair[1]])
        for pair, doubt in ranked.items()
        if pair in chosen
    ]


def _spread(pairs: Sequence[tuple[int, int]], count: int) -> set[tuple[int, int]]:
    """The first pairs, but each attempt in as few of them as can be."""
    chosen: set[tuple[int, int]] = set()
    uses: Counter[int] = Counter()
    for most in range(1, count + 1):
        for pair in pairs:
            if len(chosen) == count:
                return chosen
            if pair not in chosen and max(uses[each] for each in pair) < most:
                chosen.add(pair)
                uses.update(pair)
    return chosen


def _seen(side: str, row: dict[str, Any]) -> dict[str, Any]:
    """Of an attempt that is proposed."""
    return {side: row["id"], f"{side}_outcome": row["outcome"], f"{side}_measures": json.loads(row["measures"])}


def forget_reward(home: Home, skill: str) -> None:
    """Go back to a skill's own terms, from the next run on; what a person compared is kept.

    Raises:
        ValueError: there is nothing to go back from.
    """
    if not _file(home, skill).is_file():
        raise ValueError(f"{home.root} has no reward of {skill}; it is learned with its own terms")
    _file(home, skill).unlink()


def forget_preferences(home: Home, skill: str) -> None:
    """Forget all pairs of a skill, and the reward that was learned from them.

    Raises:
        ValueError: there is nothing to forget.
    """
    pairs = _pairs_file(home, skill)
    if not pairs.is_file():
        raise ValueError(f"{home.root} has no preferences for {skill}")
    if reward_facts(home, skill)["reward"] == Source.PREFERENCES:
        _file(home, skill).unlink()
    pairs.unlink()


def read_pairs(home: Home, skill: str) -> Pairs:
    """What a person has compared so far.

    Raises:
        ValueError: the file is damaged.
    """
    path = _pairs_file(home, skill)
    if not path.is_file():
        return ()
    try:
        return tuple((int(better), int(worse)) for better, worse in json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"the pairs in {path} cannot be read ({error}); delete the file and compare anew") from error


def _with(before: Pairs, better: Sequence[int], worse: Sequence[int]) -> Pairs:
    """Earlier pairs and new ones, each once; of two that contradict each other the newer one."""
    if len(better) != len(worse):
        raise ValueError(f"{len(better)} better and {len(worse)} worse attempts are no pairs: list them in one order")
    new = dict.fromkeys(zip(better, worse, strict=True))
    for one, other in new:
        if one == other:
            raise ValueError(f"attempt {one} cannot be better than itself")
        if (other, one) in new:
            raise ValueError(f"attempt {one} is said to be better than {other}, and worse")
    return (*(pair for pair in before if pair not in new and pair[::-1] not in new), *new)


def _shown(spec: RobotSpec, skill: LearnedSkill, episodes: dict[int, Episode]) -> dict[int, Shown]:
    """Attempts as preferences are learned from them."""
    from agent.learning import attempt_arrays
    from skills.learners.rewards import Shown

    steps = {number: transitions(FrameLayout.of(spec), attempt_arrays(episode)) for number, episode in episodes.items()}
    longest = max(map(len, steps.values()))
    shown = {}
    for number, each in steps.items():
        over = np.flatnonzero(skill.terminated(each))
        length = int(over[0]) + 1 if len(over) else len(each)
        if not length:
            raise ValueError(f"attempt {number} has no steps; leave it out")
        rows = reward_rows(spec, skill.family, each, Source.PREFERENCES)[:length]
        try:
            shown[number] = Shown.of(rows, skill.trusted(each)[:length], bool(len(over)), longest)
        except ValueError as error:
            raise ValueError(f"attempt {number} cannot be learned from: {error}; leave it out") from error
    return shown


def _doubts(
    home: Home, skill: LearnedSkill, numbers: Sequence[int], first: NDArray[np.intp], second: NDArray[np.intp]
) -> FloatArray | None:
    """How little the reward agrees with itself on the order of pairs; None: it is not one of preferences."""
    from skills.learners.rewards import doubt, earned

    if reward_facts(home, skill.name)["reward"] != Source.PREFERENCES:
        return None
    spec, episodes = read_marked(home, skill, numbers)
    weights = read_rewards(home, spec, [skill])[skill.name].reward.weights
    shown = _shown(spec, skill, episodes)
    per_step = np.stack([earned(weights, shown[number]) for number in numbers])
    return doubt(per_step[first], per_step[second])


def _store(home: Home, skill: str, weights: RewardWeights) -> None:
    home.rewards.mkdir(exist_ok=True)
    atomic_write(_file(home, skill), weights.to_bytes())


def _file(home: Home, skill: str) -> Path:
    return home.rewards / f"{skill}.safetensors"


def _pairs_file(home: Home, skill: str) -> Path:
    return home.rewards / f"{skill}.pairs.json"


def _unusable(skill: str, path: Path, error: ValueError) -> ValueError:
    return ValueError(
        f"the reward of {skill} in {path} cannot be used: {error}; learn it again with `perdure skills prefer {skill}` "
        f"or `perdure skills reward {skill}`, or go back to its own terms with `perdure skills reward {skill} --own`"
    )
