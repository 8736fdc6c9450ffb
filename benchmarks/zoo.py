"""Puts the trained state of a home into the zoo, with a page about where it comes from.

    perdure run --home HOME --robot minitaur --hours 1 --seed 0 --no-web
    python -m benchmarks.zoo HOME

The zoo holds one checkpoint per robot and family: policy, critics, optimiser and multipliers, so that a run can go on
from it (`perdure run --start zoo`). What went on from an entry and takes its place says which one it was
(``learned_on_from``). Its command was given so many times as it says (``runs``); what made the home of a study is the
study's (``--made-by``).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.config import Config
from agent.evaluation import attempts_of, summary
from agent.machine import machine_facts
from agent.policies import ABOUT, POLICY_TENSOR, ZOO
from agent.robots import load_robot
from agent.stored_config import stored_config
from benchmarks import _daemon
from persistence.checkpoints import load_newest, save_checkpoint
from persistence.home import Home
from skills.policy import PolicyWeights
from skills.registry import learned, skills

_PLACE = ("sim.", "workspace.")
"""Settings of where a policy was learned, by which it is not run again."""
ATTEMPTS = 10
EVALUATION_SEED = 1000


def export(home: Path, made_by: str = "") -> Path:
    """Copy a home's newest checkpoint into the zoo, in place of what was there.

    Args:
        home: where it learned.
        made_by: the command that made the home; empty: that of its last run, given as often as there are runs.

    Returns:
        Its directory.

    Raises:
        ValueError: the home has no checkpoint.
    """
    newest = load_newest(Home(home).checkpoints)
    if newest is None:
        raise ValueError(f"{home} has no checkpoint; let `perdure run` end first")
    config, family = stored_config(home), str(newest.meta["family"])
    robot, changes = config.run.robot, _changes(config)
    directory = ZOO / f"{robot}-{family}"
    before = _before(home, directory)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    saved = save_checkpoint(directory, newest.seq, newest.tensors, newest.meta)
    policy = PolicyWeights.from_bytes(newest.tensors[POLICY_TENSOR].tobytes())
    about = {
        "robot": robot,
        "family": family,
        "robot_s": newest.meta["robot_s"],
        "updates": newest.meta["updates"],
        "policy_version": policy.version,
        "manifest_sha256": saved.sha256,
        **({"command": made_by} if made_by else _command(home, config, changes)),
        "settings": {name: value for name, value in changes.items() if not name.startswith(_PLACE)},
        "learned_on_from": before,
        "chain_head": _daemon.perdure_json(home, "doctor", "--store")["chain_head"],
        "evaluation": _evaluate(replace(config, workspace=Config().workspace), family, policy),
        "machine": machine_facts(),
    }
    (directory / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return directory


def _before(home: Path, directory: Path) -> dict[str, Any] | None:
    """What is to be known of the entry that a home began with, which is still there; None: it began with none.

    Raises:
        ValueError: that entry has been replaced meanwhile.
    """
    begun = "SELECT origin ->> 'version' FROM policies WHERE origin ->> 'begun' = 'zoo' ORDER BY version LIMIT 1"
    version = next((version for (version,) in _daemon.query(home, begun)), None)
    if version is None:
        return None
    about = json.loads((directory / ABOUT).read_text(encoding="utf-8"))
    of_then = (about, about.get("learned_on_from") or {})
    found = next((each for each in of_then if each.get("policy_version") == version), None)
    if found is None:
        raise ValueError(f"{home} went on from version {version} of {directory.name}, which is not in the zoo any more")
    named = ("robot_s", "updates", "policy_version", "manifest_sha256", "command", "learned_on_from")
    return {name: found[name] for name in named if found.get(name) is not None}


def _changes(config: Config) -> dict[str, Any]:
    """What the run was told, apart from what its robot fills in and from what to run."""
    with load_robot(config.run.robot, 0) as robot:
        changes = Config().for_robot(robot.spec).changes(config)
    return {name: value for name, value in changes.items() if not name.startswith("run.")}


def _command(home: Path, config: Config, changes: Mapping[str, Any]) -> dict[str, Any]:
    run = config.run
    words = ["perdure run --robot", run.robot, f"--hours {run.hours!r} --seed {run.seed} --speed max"]
    words += [f"--start {run.start}"] if run.start != Config().run.start else []
    words += [f"--skills {','.join(run.skills)}"] if run.skills else []
    words += [f"--set {name}={json.dumps(value)}" for name, value in changes.items()]
    return {"command": " ".join(words), "runs": _daemon.query(home, "SELECT count(*) FROM runs")[0][0]}


def _evaluate(config: Config, family: str, policy: PolicyWeights) -> dict[str, Any]:
    return {
        skill.name: {
            dynamics: {
                name: figure
                for name, figure in summary(
                    attempts_of(skill, config.run.robot, policy, ATTEMPTS, EVALUATION_SEED, dynamics, config=config)
                ).items()
                if name != "per_attempt"
            }
            for dynamics in ("nominal", "held-out")
        }
        for skill in learned(skills(), family)
        if skill.name in config.run.skills or not (config.run.skills or skill.on_request)
    }


def main() -> None:
    """Run from the shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--made-by", default="", metavar="COMMAND")
    words = parser.parse_args()
    directory = export(words.home, words.made_by)
    print((directory / ABOUT).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
