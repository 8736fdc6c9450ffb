"""How well the robot walks after some time of learning from nothing: `perdure bench walk --seed 0 --n 60`.

``n`` is in robot minutes. The daemon starts from an empty home and runs for that long at full speed; then each walking
skill is evaluated, in the dynamics that it trained in and in dynamics that it never saw, beside the plain trajectory
generator (the same controller with a network that outputs zero). Several seeds, kept as each one ends, and the picture:

    python -m benchmarks.walk --seeds 0 1 2 --minutes 60
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from agent.evaluation import attempts_of, summary
from agent.machine import machine_facts
from agent.policies import find_policy
from benchmarks import _daemon
from sim.workspace import Workspace
from skills.policy import PolicyWeights
from skills.walk import FAMILY, WALKING_SKILLS

DEFAULT_N = 60
RESULTS = Path(__file__).parent / "results"
ROBOT = "minitaur"
ATTEMPTS = 10
OPEN_FLOOR = Workspace(size_m=30.0)
"""Room enough for ten seconds of any speed, so that each evaluation attempt lasts its ten seconds."""
EVALUATION_SEED = 1000
"""Evaluation draws are the same for every training seed, and no training seed is near."""


def run(seed: int, n: int, home: Path | None = None, attempts: int | None = None) -> dict[str, Any]:
    """Learn for ``n`` robot minutes, then evaluate.

    Args:
        seed: of the run.
        n: robot minutes.
        home: where to run; a temporary directory if None.
        attempts: evaluation attempts per skill and dynamics; fewer for short runs if None.

    Returns:
        ``skills`` (per skill: nominal, held_out and generator figures), ``final`` (mean speed in its direction),
        ``robot_minutes_to_target`` (per skill, from the attempts of the run), ``unaccounted_s``, ``metrics``,
        ``chain_head``, ``curve`` (robot minutes and speed of each attempt).
    """
    if home is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(seed, n, Path(folder) / "home", attempts)
    status = _daemon.run_daemon(home, "--hours", str(n / 60), "--speed", "max", "--seed", str(seed), "--fresh")
    count = attempts if attempts is not None else max(1, min(ATTEMPTS, n // 3))
    doctor = _daemon.perdure_json(home, "doctor", "--store")
    weights = find_policy("latest", ROBOT, FAMILY, home)
    skills = {skill.name: _evaluate(skill, weights, count) for skill in WALKING_SKILLS}
    return {
        "minutes": n,
        "realtime_factor": status["realtime_factor"],
        "updates": status["updates"],
        "policy_version": weights.version,
        "chain_head": doctor["chain_head"],
        "store_problems": doctor["problems"],
        "unaccounted_s": _daemon.unaccounted_s(home),
        "metrics": _daemon.perdure_json(home, "metrics"),
        "skills": skills,
        "final": {name: facts["nominal"]["value"] for name, facts in skills.items()},
        "robot_minutes_to_target": {skill.name: _minutes_to_target(home, skill) for skill in WALKING_SKILLS},
        "curve": {skill.name: _curve(home, skill) for skill in WALKING_SKILLS},
        "evaluation_seed": EVALUATION_SEED,
    }


def _evaluate(skill: Any, weights: PolicyWeights, count: int) -> dict[str, Any]:
    zero = dataclasses.replace(weights, layers=tuple((np.zeros_like(w), np.zeros_like(b)) for w, b in weights.layers))
    out = {}
    for name, policy, dynamics in (
        ("nominal", weights, "nominal"),
        ("held_out", weights, "held-out"),
        ("generator", zero, "nominal"),
    ):
        figures = summary(attempts_of(skill, ROBOT, policy, count, EVALUATION_SEED, dynamics, OPEN_FLOOR))
        figures["value"] = _value(skill, figures["measures"])
        out[name] = figures
    return out


def _value(skill: Any, measures: dict[str, float]) -> float:
    """Speed in the direction that the skill asks for: m/s, or rad/s when turning."""
    forward, turn = skill.command
    return float(forward * measures.get("speed_mps", 0.0) + turn * measures.get("yaw_rate_radps", 0.0))


def _curve(home: Path, skill: Any) -> list[tuple[float, float]]:
    rows = _daemon.query(
        home, f"SELECT ended_s, measures FROM attempts WHERE skill = '{skill.name}' AND steps > 50 ORDER BY id"
    )
    return [(round(s / 60.0, 3), round(_value(skill, json.loads(m)), 4)) for s, m in rows if m and json.loads(m)]


def _minutes_to_target(home: Path, skill: Any) -> float | None:
    """Robot minutes until the mean of five successive attempts passes the skill's success threshold."""
    curve = _curve(home, skill)
    for index in range(4, len(curve)):
        if np.mean([value for _, value in curve[index - 4 : index + 1]]) >= skill.success_at:
            return curve[index][0]
    return None


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Speed over robot time, one panel per skill, one line per seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 6), sharex=True, constrained_layout=True)
    for axis, skill in zip(axes.flat, WALKING_SKILLS, strict=True):
        for result in results:
            curve = np.array(result["curve"][skill.name])
            if len(curve) < 5:
                continue
            smooth = np.convolve(curve[:, 1], np.ones(5) / 5, mode="valid")
            axis.plot(curve[:, 0], curve[:, 1], ".", ms=2, alpha=0.25, color=f"C{result['seed']}")
            axis.plot(curve[4:, 0], smooth, lw=1.5, color=f"C{result['seed']}", label=f"seed {result['seed']}")
        generator = np.mean([result["skills"][skill.name]["generator"]["value"] for result in results])
        axis.axhline(generator, color="0.4", ls="--", lw=1, label="generator alone")
        axis.set_title(skill.name)
        axis.set_ylabel("m/s" if skill.command[0] else "rad/s")
        axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("robot time, min")
    axes[0, 0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Run seeds one after the other, keeping each as it ends; seeds that are there already are not run again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=int, default=DEFAULT_N)
    parser.add_argument("--homes", type=Path, default=Path(tempfile.gettempdir()) / "perdure-walk")
    parser.add_argument("--plot", type=Path, default=None, help="Also draw all results of this length to a file.")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for seed in options.seeds:
        path = RESULTS / f"walk-{options.minutes}min-seed{seed}.json"
        if not path.exists():
            figures = run(seed, options.minutes, options.homes / f"seed{seed}")
            stamp = datetime.now(UTC).isoformat(timespec="seconds")
            facts = {"benchmark": "walk", "seed": seed, "date": stamp, "machine": machine_facts(), **figures}
            path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        print(path.name, json.loads(path.read_text(encoding="utf-8"))["final"], flush=True)
    if options.plot:
        files = sorted(RESULTS.glob(f"walk-{options.minutes}min-seed*.json"))
        plot([json.loads(file.read_text(encoding="utf-8")) for file in files], options.plot)


if __name__ == "__main__":
    main()
