"""Goals that a person has shown: a classifier per skill in the home, learned from stored attempts that they marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from persistence.episodes import read_episode
from persistence.files import atomic_write, sha256_bytes
from persistence.home import Home
from persistence.store import Store
from sim.robot import FrameLayout, RobotSpec
from skills.success_classifier import SuccessClassifier, SuccessWeights
from skills.undo_critic import timeless_features

if TYPE_CHECKING:
    from skills.ensemble import Float32
    from skills.learners.success import SuccessConfig
    from skills.skill import LearnedSkill

SUFFIX = ".safetensors"
MOST_IDS = 10_000
"""A longer range of attempts is a slip of the keyboard."""
_MARKED = """
SELECT a.id, a.skill, k.family, r.robot, a.episode_file, a.episode_sha256
FROM attempts a JOIN skills k ON k.name = a.skill JOIN runs r ON r.id = a.run_id WHERE a.id = ?
"""


@dataclass(frozen=True, kw_only=True)
class ShownGoal:
    """What tells whether a skill has succeeded, in the place of the skill's own rule."""

    classifier: SuccessClassifier
    sha256: str
    """Of its file."""


def read_goals(home: Home, spec: RobotSpec, skills: Iterable[LearnedSkill]) -> dict[str, ShownGoal]:
    """The goals of those skills that have one in a home, by name.

    Raises:
        ValueError: a file is damaged, or was learned on another robot.
    """
    goals = {}
    for skill in skills:
        path = home.goals / (skill.name + SUFFIX)
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            classifier = SuccessClassifier(spec, skill.family, SuccessWeights.from_bytes(data))
        except ValueError as error:
            raise ValueError(
                f"the goal of {skill.name} in {path} cannot be used: {error}; learn it again with "
                f"`perdure skills goal {skill.name}`, or go back to the skill's own rule with --remove"
            ) from error
        goals[skill.name] = ShownGoal(classifier=classifier, sha256=sha256_bytes(data))
    return goals


def attempt_ids(text: str) -> tuple[int, ...]:
    """Numbers of attempts in a list such as ``12,15-18``, in order.

    Raises:
        ValueError: it is no such list.
    """
    ids: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        if not (first.strip().isdecimal() and (last.strip().isdecimal() or not dash)):
            raise ValueError(f"{part!r} is no attempt; list their numbers as in 12,15-18")
        numbers = range(int(first), int(last or first) + 1)
        if not 0 < len(numbers) <= MOST_IDS:
            raise ValueError(f"{part!r} is no range of attempts; list their numbers as in 12,15-18")
        ids.update(numbers)
    return tuple(sorted(ids))


def learn_goal(
    home: Home,
    skill: LearnedSkill,
    successes: Sequence[int],
    failures: Sequence[int],
    config: SuccessConfig | None = None,
) -> dict[str, Any]:
    """Learn what success is from attempts that a person marked, and store it for the next run; imports torch.

    Args:
        home: whose attempts, and where the classifier goes.
        skill: whose goal it is.
        successes: numbers of attempts whose end is that goal.
        failures: of attempts whose end is not.
        config: settings of the learner.

    Returns:
        ``skill``, ``successes``, ``failures`` (attempts), ``negatives`` (moments learned from as no
        success), ``held_out`` (attempts not learned from), ``held_out_accuracy``, ``held_out_false_positives``,
        ``held_out_false_negatives``, ``threshold``, ``file``, ``sha256``.

    Raises:
        ValueError: an attempt cannot be learned from, is in both lists, or there are too few.
        PersistenceError: the store or an episode file is damaged.
    """
    if both := sorted({*successes} & {*failures}):
        raise ValueError(f"attempt {both[0]} is marked as success and as failure")
    with Store.open(home.db, read_only=True) as store:
        rows = {number: _marked(store, number, skill) for number in (*successes, *failures)}
    robots = sorted({row["robot"] for row in rows.values()})
    if len(robots) > 1:
        raise ValueError(f"these attempts are of several robots, {', '.join(robots)}; mark those of one")
    spec = _spec_of(robots[0]) if robots else None

    def features(numbers: Sequence[int]) -> list[Float32]:
        return [_features(home, spec, skill, rows[number]) for number in numbers] if spec is not None else []

    from skills.learners.success import learn_success

    learned = learn_success(features(successes), features(failures), config)
    data = learned.weights.to_bytes()
    home.goals.mkdir(exist_ok=True)
    path = home.goals / (skill.name + SUFFIX)
    atomic_write(path, data)
    return {
        "skill": skill.name,
        "successes": len(successes),
        "failures": len(failures),
        "negatives": learned.negatives,
        "held_out": learned.held_out,
        "held_out_accuracy": learned.held_out_accuracy,
        "held_out_false_positives": learned.held_out_false_positives,
        "held_out_false_negatives": learned.held_out_false_negatives,
        "threshold": learned.weights.threshold,
        "file": str(path),
        "sha256": sha256_bytes(data),
    }


def remove_goal(home: Home, skill: str) -> None:
    """Go back to a skill's own rule, from the next run on.

    Raises:
        ValueError: there is nothing to remove.
    """
    path = home.goals / (skill + SUFFIX)
    if not path.is_file():
        raise ValueError(f"{home.root} has no goal of {skill}; its own rule is in force")
    path.unlink()


def _marked(store: Store, number: int, skill: LearnedSkill) -> dict[str, Any]:
    found = store.rows(_MARKED, (number,))
    if not found:
        (known,) = store.rows("SELECT min(id) AS first, max(id) AS last FROM attempts")
        there = f"it has {known['first']} to {known['last']}" if known["first"] is not None else "it has none"
        raise ValueError(f"there is no attempt {number} in this home; {there}")
    (row,) = found
    if row["family"] != skill.family.name:
        raise ValueError(
            f"attempt {number} is one of {row['skill']}, of the family {row['family']!r}; "
            f"the goal of {skill.name} is learned from attempts of the family {skill.family.name!r}"
        )
    if row["episode_file"] is None:
        raise ValueError(f"attempt {number} of {row['skill']} has no episode file; leave it out")
    return row


def _spec_of(robot: str) -> RobotSpec:
    from agent.robots import load_robot

    made = load_robot(robot, 0)
    try:
        return made.spec
    finally:
        made.close()


def _features(home: Home, spec: RobotSpec, skill: LearnedSkill, row: dict[str, Any]) -> Float32:
    episode = read_episode(home.episodes / row["episode_file"], row["episode_sha256"])
    width = FrameLayout.of(spec).width
    if episode.frames.shape[1] != width:
        raise ValueError(
            f"attempt {row['id']} holds {episode.frames.shape[1]} numbers per reading, {spec.name} has {width}; "
            "leave it out"
        )
    if not np.isfinite(episode.frames).all():
        raise ValueError(f"attempt {row['id']} holds readings that are not finite; leave it out")
    return timeless_features(spec, skill.family, episode.frames)
