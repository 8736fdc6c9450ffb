"""What early aborts would have prevented, and what they would have cost, in a run that had none.

    perdure bench early-aborts --seed 0 --n 300

An arm practises for ``n`` robot minutes from nothing, without advice of scripts, as it then loses things often enough.
Its attempts are gone through in order. Of each it is asked whether, and when, it would have been ended: by what the
skills say themselves (`Skill.nearly_lost`; in the run nobody listens), and by a critic that has learned from the
attempts before (`skills.undo_critic`). With ``PERDURE_BENCH_HOMES`` the home of the study of resets (``unaided``) is
judged instead of a new one, if it is there.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.evaluation import stored_config
from agent.learning import Studies, attempt_arrays
from agent.opening import abilities_of, learner_job
from benchmarks import _daemon
from benchmarks.resets import UNAIDED
from persistence.episodes import read_episode
from persistence.home import Home
from sim.kuka import kuka_spec
from sim.robot import FrameLayout, RobotSpec
from skills.experience import transitions
from skills.skill import LearnedSkill
from skills.undo_critic import UndoCritic

ROBOT = "kuka"
DEFAULT_N = 300
HOPELESS_BELOW = 0.25
UPDATES_PER_ATTEMPT = 5
"""As in the daemon's learner."""
CHANGES = tuple(part for name, value in UNAIDED.items() for part in ("--set", f"{name}={json.dumps(value)}"))
Float32 = NDArray[np.float32]
Judge = Callable[[Float32], NDArray[np.bool_]]
"""Frames, shape (T, frame width), to whether each skill is hopeless at them, shape (T, skills)."""


def run(seed: int, n: int) -> dict[str, Any]:
    """Practise for ``n`` robot minutes without advice and early aborts, then judge.

    Returns:
        What `judge` returns.
    """
    kept = os.environ.get("PERDURE_BENCH_HOMES")
    if kept and (home := Path(kept) / f"resets-unaided-seed{seed}").is_dir():
        return judge(home)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        _daemon.run_daemon(
            home, "--robot", ROBOT, "--hours", str(n / 60), "--speed", "max", "--seed", str(seed), *CHANGES
        )
        return judge(home)


def judge(home: Path, hopeless_below: float = HOPELESS_BELOW) -> dict[str, Any]:
    """Go through the attempts of a home that had no early aborts.

    Returns:
        ``attempts`` (of tasks, by a policy), ``losses`` (those that led to where something was lost), ``good`` (all
        others), and for each way to tell, ``said`` and ``learned``: ``prevented_share`` (losses that would have ended
        before), ``cut_share`` (of the good ones, those that would have ended early), ``lead_s`` (median time before the
        loss). Shares are None of nothing.
    """
    spec, config = kuka_spec(), stored_config(home)
    abilities = abilities_of(config.run.skills, spec)
    changed = config.to_dict()
    changed["learner"] |= {"hopeless_below": hopeless_below}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Home(Path(folder)).prepare()
        job = learner_job(type(config).from_dict(changed).for_robot(spec), scratch, spec, abilities.learned, None)
        ends = _go_through(home, Studies(job), spec, abilities.learned)
    losses = sum(end.lost for end in ends)
    return {
        "attempts": len(ends),
        "losses": losses,
        "good": len(ends) - losses,
        "said": _figures([(end.lost, end.said_s) for end in ends]),
        "learned": _figures([(end.lost, end.learned_s) for end in ends]),
    }


def _figures(ends: Sequence[tuple[bool, float | None]]) -> dict[str, float | None]:
    leads, cuts = ([lead_s for lost, lead_s in ends if lost is kind] for kind in (True, False))
    seen = [lead_s for lead_s in leads if lead_s is not None]
    return {
        "prevented_share": len(seen) / len(leads) if leads else None,
        "cut_share": sum(cut_s is not None for cut_s in cuts) / len(cuts) if cuts else None,
        "lead_s": float(np.median(seen)) if seen else None,
    }


@dataclass(frozen=True)
class End:
    """How an attempt ended, and how long before the loss, or its end, it would have been ended; None: not at all."""

    lost: bool
    said_s: float | None
    learned_s: float | None


def _go_through(home: Path, studies: Studies, spec: RobotSpec, skills: Sequence[LearnedSkill]) -> list[End]:
    undo, family, layout = studies.undo, skills[0].family, FrameLayout.of(spec)
    assert undo is not None
    tasks = {skill.name for skill in skills if skill.undone_by}
    ends: list[End] = []
    rows = _daemon.query(
        home,
        "SELECT skill, policy_version IS NOT NULL, episode_file FROM attempts "
        "WHERE episode_file IS NOT NULL AND NOT evaluation ORDER BY id",
    )

    def said(frames: Float32) -> NDArray[np.bool_]:
        seen = [layout.unpack(frame) for frame in frames]
        return np.array([[skill.nearly_lost(each) for skill in skills] for each in seen])

    def nothing(frames: Float32) -> NDArray[np.bool_]:
        return np.zeros((len(frames), 1), np.bool_)

    for name, by_policy, file in rows:
        path = Home(home).episodes / file
        if name in tasks and by_policy:
            learned = UndoCritic(spec, family, undo.snapshot()).hopeless_at if undo.updates else nothing
            ends.append(end_of(path, spec, skills, said, learned))
        studies.ingest(path)
        undo.update(UPDATES_PER_ATTEMPT)
    return ends


def end_of(path: Path, spec: RobotSpec, skills: Sequence[LearnedSkill], said: Judge, learned: Judge) -> End:
    """How an attempt ended, and where each way to tell would have ended it."""
    episode = read_episode(path)
    steps = transitions(FrameLayout.of(spec), attempt_arrays(episode))
    gone = np.logical_or.reduce([skill.irreversible(steps) for skill in skills])
    lost = bool(gone[-1] and not gone[0])
    last = len(gone) - int(np.argmin(gone[::-1])) if lost else len(gone)

    def before_s(judge: Judge) -> float | None:
        hopeless = judge(episode.frames[:last])
        new = (hopeless & ~hopeless[0]).any(axis=1)
        return float(episode.stamps[last] - episode.stamps[int(np.argmax(new))]) if new.any() else None

    return End(lost, before_s(said), before_s(learned))


if __name__ == "__main__":
    import sys

    print(json.dumps(judge(Path(sys.argv[1])), indent=1))
