"""Stored attempts that a person said something of: found by their numbers, and read for what learns from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from persistence.episodes import Episode, read_episode
from persistence.home import Home
from persistence.store import Store
from sim.robot import FrameLayout, RobotSpec

if TYPE_CHECKING:
    from skills.skill import LearnedSkill

MOST_IDS = 10_000
"""A longer range of attempts is a slip of the keyboard."""
_MARKED = """
SELECT a.id, a.skill, k.family, r.robot, a.episode_file, a.episode_sha256
FROM attempts a JOIN skills k ON k.name = a.skill JOIN runs r ON r.id = a.run_id WHERE a.id = ?
"""


def attempts_as_listed(text: str) -> tuple[int, ...]:
    """Numbers of attempts in a list such as ``12,15-18``, as they come.

    Raises:
        ValueError: it is no such list.
    """
    ids: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        if not (first.strip().isdecimal() and (last.strip().isdecimal() or not dash)):
            raise ValueError(f"{part!r} is no attempt; list their numbers as in 12,15-18")
        numbers = range(int(first), int(last or first) + 1)
        if not 0 < len(numbers) <= MOST_IDS:
            raise ValueError(f"{part!r} is no range of attempts; list their numbers as in 12,15-18")
        ids.extend(numbers)
    return tuple(ids)


def attempt_ids(text: str) -> tuple[int, ...]:
    """The same in order, each once."""
    return tuple(sorted({*attempts_as_listed(text)}))


def read_marked(home: Home, skill: LearnedSkill, numbers: Iterable[int]) -> tuple[RobotSpec, dict[int, Episode]]:
    """Attempts of a skill's family, and the robot that made them.

    Raises:
        ValueError: there is none of a number, it cannot be learned from, or they are of several robots.
        PersistenceError: the store or an episode file is damaged.
    """
    with Store.open(home.db, read_only=True) as store:
        rows = {number: _row(store, number, skill) for number in numbers}
    robots = sorted({row["robot"] for row in rows.values()})
    if not robots:
        raise ValueError("no attempts are named; list their numbers as in 12,15-18")
    if len(robots) > 1:
        raise ValueError(f"these attempts are of several robots, {', '.join(robots)}; mark those of one")
    spec = _spec_of(robots[0])
    return spec, {number: _episode(home, spec, row) for number, row in rows.items()}


def _row(store: Store, number: int, skill: LearnedSkill) -> dict[str, Any]:
    found = store.rows(_MARKED, (number,))
    if not found:
        (known,) = store.rows("SELECT min(id) AS first, max(id) AS last FROM attempts")
        there = f"it has {known['first']} to {known['last']}" if known["first"] is not None else "it has none"
        raise ValueError(f"there is no attempt {number} in this home; {there}")
    (row,) = found
    if row["family"] != skill.family.name:
        raise ValueError(
            f"attempt {number} is one of {row['skill']}, of the family {row['family']!r}; "
            f"what is said of {skill.name} is learned from attempts of the family {skill.family.name!r}"
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


def _episode(home: Home, spec: RobotSpec, row: dict[str, Any]) -> Episode:
    episode = read_episode(home.episodes / row["episode_file"], row["episode_sha256"])
    width = FrameLayout.of(spec).width
    if episode.frames.shape[1] != width:
        raise ValueError(
            f"attempt {row['id']} holds {episode.frames.shape[1]} numbers per reading, {spec.name} has {width}; "
            "leave it out"
        )
    if not np.isfinite(episode.frames).all():
        raise ValueError(f"attempt {row['id']} holds readings that are not finite; leave it out")
    return episode
