"""Puts the trained state of a home into the zoo, with a page about where it comes from.

    perdure run --home HOME --robot minitaur --hours 1 --seed 0 --no-web
    python -m benchmarks.zoo HOME

The zoo holds one checkpoint per robot and family: policy, critics, optimiser and multipliers, so that a run can go on
from it (`perdure run --start zoo`).
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from agent.evaluation import attempts_of, stored_config, summary
from agent.machine import machine_facts
from agent.policies import POLICY_TENSOR, ZOO
from benchmarks import _daemon
from persistence.checkpoints import load_newest, save_checkpoint
from persistence.home import Home
from skills.policy import PolicyWeights
from skills.registry import learned, skills

ABOUT = "about.json"
ATTEMPTS = 10
EVALUATION_SEED = 1000


def export(home: Path) -> Path:
    """Copy a home's newest checkpoint into the zoo, in place of what was there. Returns its directory.

    Raises:
        ValueError: the home has no checkpoint.
    """
    newest = load_newest(Home(home).checkpoints)
    if newest is None:
        raise ValueError(f"{home} has no checkpoint; let `perdure run` end first")
    robot, family = str(newest.meta["robot"]), str(newest.meta["family"])
    directory = ZOO / f"{robot}-{family}"
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
        "command": _command(home),
        "chain_head": _daemon.perdure_json(home, "doctor", "--store")["chain_head"],
        "evaluation": _evaluate(robot, family, policy, home),
        "machine": machine_facts(),
    }
    (directory / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return directory


def _command(home: Path) -> str:
    ((text, seed),) = _daemon.query(home, "SELECT config, seed FROM runs ORDER BY id DESC LIMIT 1")
    config = json.loads(text)["run"]
    chosen = "".join(f" --skills {','.join(config['skills'])}" if config["skills"] else "")
    return f"perdure run --robot {config['robot']} --hours {config['hours']:g} --seed {seed}{chosen} --speed max"


def _evaluate(robot: str, family: str, policy: PolicyWeights, home: Path) -> dict[str, Any]:
    config = stored_config(home)
    return {
        skill.name: {
            dynamics: {
                name: figure
                for name, figure in summary(
                    attempts_of(skill, robot, policy, ATTEMPTS, EVALUATION_SEED, dynamics, config=config)
                ).items()
                if name != "per_attempt"
            }
            for dynamics in ("nominal", "held-out")
        }
        for skill in learned(skills(), family)
        if not skill.on_request
    }


def main() -> None:
    """Run from the shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    directory = export(parser.parse_args().home)
    print((directory / ABOUT).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
