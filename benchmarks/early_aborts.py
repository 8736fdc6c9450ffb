"""What early aborts would have prevented, and what they would have cost, in a run that had none.

    perdure bench early-aborts --seed 0 --n 120

An arm practises for ``n`` robot minutes from nothing. Then its attempts are gone through in order: a critic that has
learned from those before says of each whether, and when, it would have ended it (`skills.undo_critic`). With
``PERDURE_BENCH_HOMES`` the home of the study of resets is judged instead of a new one, if it is there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.evaluation import stored_config
from agent.learning import Studies, attempt_arrays
from agent.opening import abilities_of, learner_job
from benchmarks import _daemon
from persistence.episodes import read_episode
from persistence.home import Home
from sim.kuka import kuka_spec
from sim.robot import FrameLayout, RobotSpec
from skills.experience import transitions
from skills.skill import LearnedSkill
from skills.undo_critic import UndoCritic

ROBOT = "kuka"
DEFAULT_N = 120
HOPELESS_BELOW = 0.25
UPDATES_PER_ATTEMPT = 5
"""As in the daemon's learner."""


def run(seed: int, n: int) -> dict[str, Any]:
    """Practise for ``n`` robot minutes without early aborts, then judge.

    Returns:
        What `judge` returns.
    """
    kept = os.environ.get("PERDURE_BENCH_HOMES")
    if kept and (home := Path(kept) / f"resets-ours-seed{seed}").is_dir():
        return judge(home)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        _daemon.run_daemon(home, "--robot", ROBOT, "--hours", str(n / 60), "--speed", "max", "--seed", str(seed))
        return judge(home)


def judge(home: Path, hopeless_below: float = HOPELESS_BELOW) -> dict[str, Any]:
    """Go through the attempts of a home that had no early aborts.

    Returns:
        ``losses`` (attempts of tasks by a policy that led to where something was lost), ``prevented_share`` (those of
        them that would have ended before), ``good`` (all others), ``cut_share`` (those of them that would have ended
        early), ``lead_s`` (median time before the loss). Shares are None of nothing.
    """
    spec, config = kuka_spec(), stored_config(home)
    abilities = abilities_of(config.run.skills, spec)
    changed = config.to_dict()
    changed["learner"] |= {"hopeless_below": hopeless_below}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Home(Path(folder)).prepare()
        job = learner_job(type(config).from_dict(changed).for_robot(spec), scratch, spec, abilities.learned, None)
        return _go_through(home, Studies(job), spec, abilities.learned)


def _go_through(home: Path, studies: Studies, spec: RobotSpec, skills: Sequence[LearnedSkill]) -> dict[str, Any]:
    undo, family = studies.undo, skills[0].family
    assert undo is not None
    tasks = {skill.name for skill in skills if skill.undone_by}
    ends: list[tuple[bool, float | None]] = []
    rows = _daemon.query(
        home,
        "SELECT skill, policy_version IS NOT NULL, episode_file FROM attempts "
        "WHERE episode_file IS NOT NULL AND NOT evaluation ORDER BY id",
    )
    for name, by_policy, file in rows:
        path = Home(home).episodes / file
        if name in tasks and by_policy and undo.updates:
            ends.append(_end(UndoCritic(spec, family, undo.snapshot()), skills, path, spec))
        studies.ingest(path)
        undo.update(UPDATES_PER_ATTEMPT)
    lost = [lead_s for was_lost, lead_s in ends if was_lost]
    good = [lead_s for was_lost, lead_s in ends if not was_lost]
    leads = [lead_s for lead_s in lost if lead_s is not None]
    return {
        "attempts": len(ends),
        "losses": len(lost),
        "prevented_share": len(leads) / len(lost) if lost else None,
        "good": len(good),
        "cut_share": sum(lead_s is not None for lead_s in good) / len(good) if good else None,
        "lead_s": float(np.median(leads)) if leads else None,
    }


def _end(critic: UndoCritic, skills: Sequence[LearnedSkill], path: Path, spec: RobotSpec) -> tuple[bool, float | None]:
    """Whether an attempt led to a loss, and how long before the loss, or its end, it would have been ended."""
    episode = read_episode(path)
    steps = transitions(FrameLayout.of(spec), attempt_arrays(episode))
    gone = np.logical_or.reduce([skill.irreversible(steps) for skill in skills])
    was_lost = bool(gone[-1] and not gone[0])
    last = len(gone) - int(np.argmin(gone[::-1])) if was_lost else len(gone)
    hopeless = critic.hopeless_at(episode.frames[:last])
    new = (hopeless & ~hopeless[0]).any(axis=1)
    return was_lost, float(episode.stamps[last] - episode.stamps[int(np.argmax(new))]) if new.any() else None


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(judge(Path(sys.argv[1])), indent=1))
