"""How fast the robot learns its walking skills from nothing: `perdure bench walk --seed 0 --n 60`.

``n`` is in robot minutes. The daemon starts from an empty home and runs for that long at full speed. The policies that
it stored every two minutes are judged afterwards, so the run knows nothing of it: a skill is good once ten evaluation
attempts on the robot's own floor reach its speed, and at least nine end without a fall or a step over the fence. The
last policy is also judged in dynamics that it never saw, beside the plain generator (a network that outputs zero).

Five seeds, kept as each one ends, their summary and the picture:

    python -m benchmarks.walk [--only minitaur] [--seeds 0 1 2 3 4]
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.config import Config
from agent.evaluation import attempts_of, summary
from agent.stored_config import stored_config
from benchmarks import _daemon
from benchmarks._statistics import estimate
from benchmarks._study import Cells, Study, main
from persistence.records import Outcome
from sim.workspace import Workspace
from skills.policy import PolicyWeights
from skills.walk import WALKING_SKILLS, Walk

DEFAULT_N = 60
ATTEMPTS = 10
TARGETS = {"walk_forward": 0.5, "walk_backward": 0.3, "turn_left": 0.7, "turn_right": 0.7}
"""Speeds at which a skill is good, m/s or rad/s."""
LAST_POLICIES, LAST_ATTEMPTS = 3, 5
"""Policies two robot minutes apart whose mean return is the final one, and attempts of each."""
GOOD_SHARE = 0.9
"""Share of attempts without a fall or a step over the fence."""
IMAGES = Path(__file__).parent.parent / "docs" / "images"
OPEN_FLOOR = Workspace(size_m=60.0)
"""Room enough for ten seconds of any speed in any direction, so that each attempt lasts its ten seconds."""
EVALUATION_SEED = 1000
"""Evaluation draws are the same for every training seed, and no training seed is near."""
CHECKPOINT_MINUTES = 2


def run(seed: int, n: int, home: Path | None = None, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Learn for ``n`` robot minutes, then evaluate.

    Args:
        seed: of the run.
        n: robot minutes.
        home: where to run; a temporary directory if None.
        settings: ``robot``, and ``set``: settings of the daemon that differ from the defaults.

    Returns:
        ``robot_minutes_to_target`` (per skill; None: never), ``minutes_all_good`` (all four at once),
        ``minutes_forward`` (forward speed on open floor, ten seconds, no fall), ``final`` (speed of the last policy in
        each skill's direction), ``skills`` (its figures in nominal and held-out dynamics, and the generator's),
        ``falls``, ``interventions``, ``metrics``, ``curve`` (minutes and speed of each attempt of the run).
    """
    if home is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(seed, n, Path(folder) / "home", settings)
    robot = (settings or {}).get("robot", "minitaur")
    status = learn(home, seed, n, robot, (settings or {}).get("set", {}))
    judge = Judge(robot, home)
    policies = _daemon.kept_policies(home / "kept")
    count = max(1, min(ATTEMPTS, n // 3))
    good = {skill.name: judge.minutes_until_good(skill, policies) for skill in WALKING_SKILLS}
    last = policies[max(policies)]
    skills = {skill.name: judge.final(skill, last, count) for skill in WALKING_SKILLS}
    metrics = _daemon.perdure_json(home, "metrics")
    return {
        "minutes": n,
        "robot": robot,
        "robot_minutes_to_target": good,
        "minutes_all_good": judge.minutes_until_all_good(good, policies),
        "minutes_forward": judge.minutes_forward(policies),
        "final": {name: facts["nominal"]["value"] for name, facts in skills.items()},
        "falls": metrics["falls"],
        "interventions": metrics["interventions"],
        "unaccounted_s": _daemon.unaccounted_s(home),
        "updates": status["updates"],
        "realtime_factor": status["realtime_factor"],
        "chain_head": _daemon.perdure_json(home, "doctor", "--store")["chain_head"],
        "skills": skills,
        "metrics": metrics,
        "curve": {skill.name: curve_of(home, skill) for skill in WALKING_SKILLS},
        "evaluation_seed": EVALUATION_SEED,
    }


def learn(home: Path, seed: int, minutes: float, robot: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Run the daemon from an empty home and keep its policies under ``home / "kept"``. Returns its last status."""
    settings = {"schedule.checkpoint_every_min": CHECKPOINT_MINUTES, **changes}
    assignments = _daemon.told(settings)
    length = ("--hours", str(minutes / 60), "--speed", "max", "--seed", str(seed), "--robot", robot, "--fresh")
    return _daemon.run_and_keep_policies(home, home / "kept", *length, *assignments)


class Judge:
    """Evaluates policies of one run as they would act now, without exploration."""

    def __init__(self, robot: str, home: Path) -> None:
        """Judge on fresh robots with the settings of the run."""
        self._robot = robot
        self._config: Config = stored_config(home)

    def attempts(self, skill: Walk, policy: PolicyWeights, count: int, **options: Any) -> list[Any]:
        """Results of evaluation attempts."""
        return attempts_of(skill, self._robot, policy, count, EVALUATION_SEED, config=self._config, **options)

    def good(self, skill: Walk, policy: PolicyWeights) -> bool:
        """Whether a skill is good on the robot's own floor; the first attempts decide where they leave no doubt."""
        target = TARGETS[skill.name]
        first = self.attempts(skill, policy, 2, dynamics="nominal")
        if np.mean([value(skill, result.measures) for result in first]) < 0.6 * target:
            return False
        results = self.attempts(skill, policy, ATTEMPTS, dynamics="nominal")
        safe = [result.outcome is not Outcome.FALL and result.end_reason != "hard_fence" for result in results]
        speed = np.mean([value(skill, result.measures) for result in results])
        return bool(np.mean(safe) >= GOOD_SHARE and speed >= target)

    def minutes_until_good(self, skill: Walk, policies: Mapping[float, PolicyWeights]) -> float | None:
        """Robot minutes of the first good policy."""
        return next((minutes for minutes, policy in policies.items() if self.good(skill, policy)), None)

    def minutes_until_all_good(
        self, each: Mapping[str, float | None], policies: Mapping[float, PolicyWeights]
    ) -> float | None:
        """Robot minutes of the first policy that is good at all skills at once."""
        times = [minutes for minutes in each.values() if minutes is not None]
        if len(times) < len(each):
            return None
        later = ((minutes, policy) for minutes, policy in policies.items() if minutes >= max(times))
        return next(
            (minutes for minutes, policy in later if all(self.good(skill, policy) for skill in WALKING_SKILLS)), None
        )

    def minutes_forward(self, policies: Mapping[float, PolicyWeights]) -> float | None:
        """Robot minutes of the first policy that walks ten seconds at the target speed on average and never falls."""
        skill = WALKING_SKILLS[0]
        for minutes, policy in policies.items():
            results = self.attempts(skill, policy, 5, dynamics="nominal", workspace=OPEN_FLOOR)
            lasted = all(result.end_reason == "time" for result in results)
            speed = np.mean([value(skill, result.measures) for result in results])
            if lasted and speed >= TARGETS[skill.name]:
                return minutes
        return None

    def final(self, skill: Walk, policy: PolicyWeights, count: int) -> dict[str, Any]:
        """Figures of a policy in nominal and in held-out dynamics, and of the generator alone, on open floor."""
        layers = tuple((np.zeros_like(w), np.zeros_like(b)) for w, b in policy.layers)
        generator = dataclasses.replace(policy, layers=layers)
        out = {}
        for name, acting, dynamics in (
            ("nominal", policy, "nominal"),
            ("held_out", policy, "held-out"),
            ("generator", generator, "nominal"),
        ):
            figures = summary(self.attempts(skill, acting, count, dynamics=dynamics, workspace=OPEN_FLOOR))
            out[name] = {**figures, "value": value(skill, figures["measures"])}
        return out

    def speed(self, skill: Walk, policy: PolicyWeights, count: int) -> float:
        """Mean speed of a policy in its skill's direction, on open floor."""
        figures = summary(self.attempts(skill, policy, count, dynamics="nominal", workspace=OPEN_FLOOR))
        return value(skill, figures["measures"])


def end_of_run(robot: str, home: Path) -> dict[str, Any]:
    """What a run cost, and what its last policies do on open floor without exploration.

    Returns:
        ``falls``, ``interventions``, ``return_mean`` (of all skills), ``speed`` per skill.
    """
    judge = Judge(robot, home)
    policies = list(_daemon.kept_policies(home / "kept").values())[-LAST_POLICIES:]
    figures = {
        skill: [
            summary(judge.attempts(skill, policy, LAST_ATTEMPTS, dynamics="nominal", workspace=OPEN_FLOOR))
            for policy in policies
        ]
        for skill in WALKING_SKILLS
    }
    metrics = _daemon.perdure_json(home, "metrics")
    return {
        "falls": metrics["falls"],
        "interventions": metrics["interventions"],
        "return_mean": float(np.mean([one["return_mean"] for each in figures.values() for one in each])),
        "speed": {
            skill.name: float(np.mean([value(skill, one["measures"]) for one in each]))
            for skill, each in figures.items()
        },
    }


def against(plain: str, other: str, cells: Cells) -> dict[str, Any]:
    """What one variant cost and reached against another, over the seeds that both have; nothing if they share none.

    Returns:
        ``seeds``; ``falls`` and ``interventions``, all seeds together, of each variant; ``falls_ratio`` (None where the
        plain one never fell) and ``return_ratio`` (of interquartile means), other over plain.
    """
    seeds = set.intersection(*({cell["seed"] for cell in cells.get(name, ())} for name in (plain, other)))
    if not seeds:
        return {}
    shared = {name: [cell for cell in cells[name] if cell["seed"] in seeds] for name in (plain, other)}
    falls, interventions = (
        {name: sum(cell[figure] for cell in each) for name, each in shared.items()}
        for figure in ("falls", "interventions")
    )
    returns = {name: estimate([[cell["return_mean"] for cell in each]], "higher").iqm for name, each in shared.items()}
    return {
        "seeds": sorted(seeds),
        "falls": falls,
        "interventions": interventions,
        "falls_ratio": falls[other] / falls[plain] if falls[plain] else None,
        "return_ratio": returns[other] / returns[plain],
    }


def value(skill: Walk, measures: Mapping[str, float]) -> float:
    """Speed in the direction that the skill asks for: m/s, or rad/s when turning."""
    forward, turn = skill.command
    return float(forward * measures.get("speed_mps", 0.0) + turn * measures.get("yaw_rate_radps", 0.0))


def curve_of(home: Path, skill: Walk) -> list[tuple[float, float]]:
    """Robot minutes and speed of each attempt of a run."""
    rows = _daemon.query(
        home, f"SELECT ended_s, measures FROM attempts WHERE skill = '{skill.name}' AND steps > 50 ORDER BY id"
    )
    return [(round(s / 60.0, 3), round(value(skill, json.loads(m)), 4)) for s, m in rows if m and json.loads(m)]


def plot(cells: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Speed over robot time, one panel per skill, one line per seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 6), sharex=True, constrained_layout=True)
    for axis, skill in zip(axes.flat, WALKING_SKILLS, strict=True):
        for cell in cells:
            curve = np.array(cell["curve"][skill.name])
            if len(curve) < 5:
                continue
            smooth = np.convolve(curve[:, 1], np.ones(5) / 5, mode="valid")
            axis.plot(curve[:, 0], curve[:, 1], ".", ms=2, alpha=0.25, color=f"C{cell['seed']}")
            axis.plot(curve[4:, 0], smooth, lw=1.5, color=f"C{cell['seed']}", label=f"seed {cell['seed']}")
        axis.axhline(TARGETS[skill.name], color="0.4", ls="--", lw=1, label="target")
        axis.set_title(skill.name)
        axis.set_ylabel("m/s" if skill.command[0] else "rad/s")
        axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("robot time, min")
    axes[0, 0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One seed of one robot; with default settings its home may be kept."""
    home = None if settings["set"] else kept_home(settings["robot"], seed)
    return run(seed, settings["minutes"], home, settings)


def kept_home(robot: str, seed: int) -> Path | None:
    """Where a run at default settings keeps its home, for the zoo.

    None where the environment variable ``PERDURE_BENCH_HOMES`` names no folder.
    """
    folder = os.environ.get("PERDURE_BENCH_HOMES")
    return Path(folder) / f"walk-{robot}-seed{seed}" if folder else None


def conclude(cells: Cells) -> dict[str, Any]:
    """Draw the picture of each variant; falls and interventions of all its seeds together."""
    for name, saved in cells.items():
        plot(saved, IMAGES / f"walk-{name}.png")
    return {
        "totals": {
            name: {
                "robot_hours": sum(cell["minutes"] for cell in saved) / 60.0,
                "falls": sum(cell["falls"] for cell in saved),
                "interventions": sum(cell["interventions"] for cell in saved),
            }
            for name, saved in cells.items()
        }
    }


STUDY = Study(
    name="walk",
    module="benchmarks.walk",
    variants={
        "minitaur": {"robot": "minitaur", "minutes": 60, "set": {}},
        "a1": {"robot": "a1", "minutes": 15, "set": {}},
    },
    cell=cell,
    figures={
        "minutes_forward": "lower",
        "minutes_all_good": "lower",
        **{f"robot_minutes_to_target.{name}": "lower" for name in TARGETS},
        **{f"final.{name}": "higher" for name in TARGETS},
        "falls": "lower",
        "interventions": "lower",
    },
    seeds=(0, 1, 2, 3, 4),
    conclude=conclude,
)

if __name__ == "__main__":
    main(STUDY)
