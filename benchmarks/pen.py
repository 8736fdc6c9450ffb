"""EARL's Minitaur pen: go to twelve places from nothing, where a fallen robot stays where it fell until it gets up.

    python -m benchmarks.pen [--seeds 0 1 2]

Protocol of Sharma et al. (2022), for which no curve is published: walls 3 m apart, 1e5 steps between resets, a place is
reached within 0.1 m, and the deployed policy has 1000 steps from the middle to each place. A step is the Minitaur's
policy step, 0.04 s, and all robot time counts, so that 1e5 of them are 67 minutes; EARL's own steps are 0.01 s. No
reset skill runs; the stand-up script does, and a person comes where it fails. ``n`` is in robot minutes. With
``PERDURE_BENCH_HOMES`` a home is kept there, and a run that was cut off goes on.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.attempts import AttemptResult
from agent.evaluation import attempts_of, summary
from agent.policies import find_policy
from agent.stored_config import stored_config
from benchmarks import _daemon
from benchmarks._study import Study, main
from persistence.home import Home
from persistence.records import FALL
from sim.minitaur import minitaur_spec
from sim.robot import FloatArray, FrameLayout, RobotSpec, Transition
from skills.experience import transitions
from skills.go_to import GOING_SKILLS, GoTo
from skills.policy import PolicyWeights

ROBOT = "minitaur_pen"
STEPS = 100_000
"""Between resets."""
STEP_S = 0.04
DEPLOYED_STEPS = 1000
DEFAULT_N = round(STEPS * STEP_S / 60)
POINT_STEPS = 10_000
"""A point of the deployed curve: EARL evaluates as often."""
ATTEMPTS = 5
"""To each place, by the last policy; one in the points before."""
EVALUATION_SEED = 1000
SPAN_MINUTES = 5
"""A point of the continuing curve."""
DISTANCE_WEIGHT, ENERGY_WEIGHT = 2.0, 0.005
"""earl_benchmark/envs/minitaur_gym_env.py."""
SETTINGS: dict[str, Any] = {
    "run.skills": [skill.name for skill in GOING_SKILLS],
    "run.resets": False,
    "schedule.checkpoint_every_min": POINT_STEPS * STEP_S / 60,
}


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Practise for ``n`` robot minutes, then judge; returns what `practise` does."""
    with tempfile.TemporaryDirectory() as folder:
        return practise(Path(folder) / "home", seed, n, {})


def practise(home: Path, seed: int, minutes: float, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Let the daemon practise on a home until it has done so for ``minutes`` of robot time, then judge.

    Returns:
        ``deployed_success`` (share, over all places), ``deployed_return`` (mean), ``deployed`` and ``deployed_nominal``
        (what `judge` returns, in dynamics that training never saw, and in its own), ``deployed_curve`` (what `judge`
        returns with one attempt to each place, at each checkpoint's robot minute), and what `continuing` returns.
    """
    keep = home.parent / f"{home.name}-policies"
    left_h = minutes / 60 - _done_s(home) / 3600
    if left_h > 1e-3:
        changes = _daemon.told(SETTINGS | settings)
        length = ("--hours", str(left_h), "--speed", "max", "--seed", str(seed), "--robot", ROBOT)
        _daemon.run_and_keep_policies(home, keep, *length, *changes)
    weights = find_policy("latest", ROBOT, GOING_SKILLS[0], home)
    deployed = judge(home, weights, ATTEMPTS)
    kept = _daemon.kept_policies(keep)
    return {
        "minutes": minutes,
        "deployed_success": deployed["success"],
        "deployed_return": deployed["return"],
        "deployed": deployed,
        "deployed_nominal": judge(home, weights, ATTEMPTS, "nominal"),
        "deployed_curve": {round(at, 1): judge(home, policy, 1) for at, policy in kept.items()},
        **continuing(home, minutes),
    }


def judge(home: Path, weights: PolicyWeights, attempts: int, dynamics: str = "held-out") -> dict[str, Any]:
    """Deploy one policy from the middle, in any heading, to each place.

    Returns:
        ``success`` (share), ``return`` (mean), ``falls`` (share), ``seconds`` (mean time to the place where it was
        reached; None: never), ``success_by_place``.
    """
    config, spec = stored_config(home), minitaur_spec()
    results: list[AttemptResult] = []
    returns: list[float] = []
    by_place = {}
    for skill in GOING_SKILLS:
        deployed = copy.copy(skill)
        deployed.horizon_s = DEPLOYED_STEPS * STEP_S
        done = attempts_of(deployed, ROBOT, weights, attempts, EVALUATION_SEED, dynamics, config=config)
        by_place[skill.name] = summary(done)["success_rate"]
        returns += [dense_return(skill, spec, result) for result in done]
        results += done
    total = summary(results)
    reached_s = [result.steps * STEP_S for result in results if result.end_reason == "there"]
    return {
        "success": total["success_rate"],
        "return": float(np.mean(returns)),
        "falls": total["falls"] / len(results),
        "seconds": float(np.mean(reached_s)) if reached_s else None,
        "success_by_place": by_place,
    }


def dense_return(skill: GoTo, spec: RobotSpec, result: AttemptResult) -> float:
    """EARL's return over 1000 steps: an attempt that is over earlier stays where it ended, at rest."""
    if result.arrays is None:
        raise ValueError(f"an attempt of {skill.name} has no steps to judge; it ended with {result.end_reason!r}")
    rewards = dense_rewards(skill, transitions(FrameLayout.of(spec), result.arrays))[:DEPLOYED_STEPS]
    last = _off(skill, result.arrays.frames[-1:], spec)[0]
    rest = (DEPLOYED_STEPS - len(rewards)) * -DISTANCE_WEIGHT * last
    return float(rewards.sum() + rest)


def dense_rewards(skill: GoTo, steps: Transition) -> FloatArray:
    """EARL's reward, -2 (|dx| + |dy|) - 0.005 J, of each step. Shape: (batch,)."""
    after = steps.next_frame
    off = np.abs(after.base_position[..., :2] - skill.place_m).sum(axis=-1)
    energy_j = np.abs((after.joint_torque * after.joint_velocity).sum(axis=-1)) * steps.dt_s
    rewards: FloatArray = -DISTANCE_WEIGHT * off - ENERGY_WEIGHT * energy_j
    return rewards


def continuing(home: Path, minutes: float) -> dict[str, Any]:
    """What a home's robot did while it learned.

    Returns:
        ``continuing_success`` (share of attempts), ``continuing_success_late`` (in the last quarter), ``attempts``,
        ``steps`` (of attempts), ``falls``, ``self_recoveries`` (falls that it got up from), ``caught``,
        ``interventions``, ``causes``, ``ends`` (attempts by their end), ``curve`` (successes, attempts and falls in
        each `SPAN_MINUTES`).
    """
    tried = _daemon.query(
        home,
        "SELECT ended_s / 60.0, outcome = 'success', steps, end_reason FROM attempts WHERE state = 'finished' "
        "AND NOT evaluation AND skill LIKE 'go_to_%' ORDER BY ended_s",
    )
    fallen = _daemon.query(
        home, f"SELECT started_s / 60.0, recovered FROM self_recoveries WHERE kind = '{FALL}' ORDER BY started_s"
    )
    caught = _daemon.query(home, "SELECT count(*) FROM self_recoveries WHERE kind = 'caught'")[0][0]
    called = _daemon.query(home, "SELECT cause FROM interventions")
    late = [row for row in tried if row[0] > 0.75 * minutes]
    return {
        "continuing_success": _share(tried),
        "continuing_success_late": _share(late),
        "attempts": len(tried),
        "steps": sum(steps for _, _, steps, _ in tried),
        "falls": len(fallen),
        "self_recoveries": sum(recovered for _, recovered in fallen),
        "caught": caught,
        "interventions": len(called),
        "causes": {cause: sum(other == cause for (other,) in called) for (cause,) in called},
        "ends": {end: sum(other == end for *_, other in tried) for *_, end in tried},
        "curve": _curve(tried, [at for at, _ in fallen], minutes),
    }


def _share(tried: Sequence[tuple[Any, ...]]) -> float:
    return sum(success for _, success, *_ in tried) / max(1, len(tried))


def _curve(tried: Sequence[tuple[Any, ...]], falls_min: Sequence[float], minutes: float) -> list[list[int]]:
    """Successes, attempts and falls in each span of time."""
    spans = [[0, 0, 0] for _ in range(max(1, -(-round(minutes) // SPAN_MINUTES)))]

    def at(minute: float) -> list[int]:
        return spans[min(int(minute / SPAN_MINUTES), len(spans) - 1)]

    for minute, success, *_ in tried:
        at(minute)[0] += success
        at(minute)[1] += 1
    for minute in falls_min:
        at(minute)[2] += 1
    return spans


def _off(skill: GoTo, frames: FloatArray, spec: RobotSpec) -> FloatArray:
    """|dx| + |dy| to the place, of frames. Shape: (n, frame width) to (n,)."""
    place = FrameLayout.of(spec).slices()["base_position"]
    off: FloatArray = np.abs(frames[:, place][:, :2] - skill.place_m).sum(axis=-1)
    return off


def _done_s(home: Path) -> float:
    """Robot time that a home has practised for."""
    if not Home(home).db.is_file():
        return 0.0
    done_s: float = _daemon.query(home, "SELECT max(coalesce(ended_s, heartbeat_s)) FROM runs")[0][0] or 0.0
    return done_s


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One seed."""
    with _daemon.kept_home(f"pen-seed{seed}") as home:
        return practise(home, seed, settings["minutes"], settings["set"])


STUDY = Study(
    name="pen",
    module="benchmarks.pen",
    variants={"ours": {"minutes": STEPS * STEP_S / 60, "set": {}}},
    cell=cell,
    figures={
        "deployed_success": "higher",
        "deployed_return": "higher",
        "continuing_success": "higher",
        "continuing_success_late": "higher",
        "falls": "lower",
        "interventions": "lower",
    },
)

if __name__ == "__main__":
    main(STUDY)
