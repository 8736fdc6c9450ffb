"""What early aborts would have prevented, and what they would have cost, in attempts that had none.

    python -m benchmarks.early_aborts [--only fumbling] [--seeds 0 1 2 3 4]
    perdure bench early-aborts --seed 0 --n 800             # one of them; n is the number of attempts

Attempts are gone through in order. Of each it is asked whether, and when, it would have been ended: by what the skills
say themselves (`Skill.nearly_lost`), by a critic that has learned from the attempts before (`skills.undo_critic`), and
by either. ``fumbling``: attempts of a hand that loses things often (`benchmarks._fumbling`). ``no-aborts``: two robot
hours of an arm that practises from nothing, which hardly ever does. Losses are few, so that shares are of all seeds
together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.config import Config
from agent.learner_job import learner_job
from agent.learning import Studies, attempt_arrays
from agent.opening import abilities_of
from agent.stored_config import stored_config
from benchmarks import _daemon
from benchmarks._fumbling import fumbled
from benchmarks._study import Cells, Study, main
from benchmarks.resets import UPDATES
from persistence.episodes import read_episode, write_episode
from persistence.home import Home
from sim.kuka import kuka_spec
from sim.robot import FrameLayout, RobotSpec
from skills.experience import transitions
from skills.skill import LearnedSkill
from skills.undo_critic import UndoCritic

ROBOT = "kuka"
DEFAULT_N = 800
MINUTES = 120
FUMBLING = "fumbling"
SETTINGS = {**UPDATES, "run.early_aborts": False}
WAYS = ("said", "learned", "either")
HOPELESS_BELOW = 0.25
UPDATES_PER_ATTEMPT = 5
"""As in the daemon's learner."""
Float32 = NDArray[np.float32]
Judge = Callable[[Float32], NDArray[np.bool_]]
"""Frames, shape (T, frame width), to whether each skill is hopeless at them, shape (T, skills)."""


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Judge ``n`` attempts of a hand that fumbles. Returns what `summary` returns."""
    return summary([cell({"attempts": n}, seed)])


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One seed. Returns what `judge` returns."""
    if "attempts" in settings:
        with tempfile.TemporaryDirectory() as folder:
            home = Home(Path(folder) / "home").prepare()
            made = [
                Made(one.skill, one.policy_version.isdecimal(), home.episodes / write_episode(home, one).name)
                for one in fumbled(seed, settings["attempts"])
            ]
            return judge(made, Config())
    changes = _daemon.told(settings["set"])
    length = ("--hours", str(settings["minutes"] / 60), "--speed", "max", "--seed", str(seed), "--robot", ROBOT)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        _daemon.run_daemon(home, *length, *changes)
        return judge(made_in(home), stored_config(home))


@dataclass(frozen=True)
class Made:
    """An attempt that was made."""

    skill: str
    judged: bool
    """Whether it is asked of it when it would have been ended; scripts that know what they do are only learned from."""
    path: Path


def made_in(home: Path) -> list[Made]:
    """The attempts of a home, in order."""
    rows = _daemon.query(
        home,
        "SELECT skill, policy_version IS NOT NULL, episode_file FROM attempts "
        "WHERE episode_file IS NOT NULL AND NOT evaluation ORDER BY id",
    )
    return [Made(name, bool(by_policy), Home(home).episodes / file) for name, by_policy, file in rows]


def judge(made: Sequence[Made], config: Config, hopeless_below: float = HOPELESS_BELOW) -> dict[str, Any]:
    """Go through attempts that had no early aborts.

    Returns:
        ``attempts`` (of tasks), ``losses`` (those that led to where something was lost), ``good`` (all others), and for
        each way to tell, ``said``, ``learned`` and ``either``: ``prevented`` (losses that would have ended before),
        ``cut`` (good ones that would have ended early) and ``lead_s`` (how long before each loss).
    """
    spec = kuka_spec()
    abilities = abilities_of(config.run.skills, spec)
    changed = config.to_dict()
    changed["learner"] |= {"hopeless_below": hopeless_below}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Home(Path(folder)).prepare()
        job = learner_job(type(config).from_dict(changed).for_robot(spec), scratch, spec, abilities.learned, None)
        ends = _go_through(made, Studies(job), spec, abilities.learned)
    losses = sum(end.lost for end in ends)
    return {
        "attempts": len(ends),
        "losses": losses,
        "good": len(ends) - losses,
        "said": _counts([(end.lost, end.said_s) for end in ends]),
        "learned": _counts([(end.lost, end.learned_s) for end in ends]),
        "either": _counts([(end.lost, end.either_s) for end in ends]),
    }


def _counts(ends: Sequence[tuple[bool, float | None]]) -> dict[str, Any]:
    leads = [lead_s for lost, lead_s in ends if lost and lead_s is not None]
    cuts = sum(lead_s is not None for lost, lead_s in ends if not lost)
    return {"prevented": len(leads), "cut": cuts, "lead_s": leads}


def conclude(cells: Cells) -> dict[str, Any]:
    """For each variant, all seeds together. Returns what `summary` returns, by variant."""
    return {variant: summary(found) for variant, found in cells.items()}


def summary(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seeds of one variant together.

    Returns:
        ``attempts``, ``losses``, ``good``, and for each of `WAYS` ``prevented_share`` (None where nothing was lost),
        ``cut_share`` and ``lead_s`` (median).
    """
    totals = {name: sum(each[name] for each in found) for name in ("attempts", "losses", "good")}
    shares: dict[str, Any] = {}
    for way in WAYS:
        leads = [lead_s for each in found for lead_s in each[way]["lead_s"]]
        shares[way] = {
            "prevented_share": len(leads) / totals["losses"] if totals["losses"] else None,
            "cut_share": sum(each[way]["cut"] for each in found) / max(1, totals["good"]),
            "lead_s": float(np.median(leads)) if leads else None,
        }
    return totals | shares


@dataclass(frozen=True)
class End:
    """How an attempt ended, and how long before the loss, or its end, it would have been ended; None: not at all."""

    lost: bool
    said_s: float | None
    learned_s: float | None

    @property
    def either_s(self) -> float | None:
        """By whichever comes first."""
        return max((lead_s for lead_s in (self.said_s, self.learned_s) if lead_s is not None), default=None)


def _go_through(made: Sequence[Made], studies: Studies, spec: RobotSpec, skills: Sequence[LearnedSkill]) -> list[End]:
    undo, family, layout = studies.undo, skills[0].family, FrameLayout.of(spec)
    assert undo is not None
    tasks = {skill.name for skill in skills if skill.undone_by}
    ends: list[End] = []

    def said(frames: Float32) -> NDArray[np.bool_]:
        seen = [layout.unpack(frame) for frame in frames]
        pairs = list(zip(seen[:1] + seen[:-1], seen, strict=True))
        return np.array([[skill.nearly_lost(*pair) for skill in skills] for pair in pairs])

    def nothing(frames: Float32) -> NDArray[np.bool_]:
        return np.zeros((len(frames), 1), np.bool_)

    for one in made:
        if one.skill in tasks and one.judged:
            learned = UndoCritic(spec, family, undo.snapshot()).hopeless_at if undo.updates else nothing
            ends.append(end_of(one.path, spec, skills, said, learned))
        studies.ingest(one.path)
        undo.update(UPDATES_PER_ATTEMPT)
    return ends


def end_of(path: Path, spec: RobotSpec, skills: Sequence[LearnedSkill], said: Judge, learned: Judge) -> End:
    """How an attempt ended, and where each way to tell would have ended it."""
    episode = read_episode(path)
    steps = transitions(FrameLayout.of(spec), attempt_arrays(episode))
    gone = np.logical_or.reduce([skill.irreversible(steps) for skill in skills])
    lost = bool(gone[-1] and not gone[0])
    # Of the last readings before the loss is seen: what is said at one keeps the next decision from being made.
    last = len(gone) - int(np.argmin(gone[::-1])) if lost else len(gone) - 1

    def before_s(judge: Judge) -> float | None:
        hopeless = judge(episode.frames[: last + 1])
        new = (hopeless & ~hopeless[0]).any(axis=1)
        return float(episode.stamps[last + 1] - episode.stamps[int(np.argmax(new))]) if new.any() else None

    return End(lost, before_s(said), before_s(learned))


STUDY = Study(
    name="early-aborts",
    module="benchmarks.early_aborts",
    variants={FUMBLING: {"attempts": DEFAULT_N}, "no-aborts": {"minutes": MINUTES, "set": SETTINGS}},
    cell=cell,
    seeds=(0, 1, 2, 3, 4),
    conclude=conclude,
)

if __name__ == "__main__":
    main(STUDY)
