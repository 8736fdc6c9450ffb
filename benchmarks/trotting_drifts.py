"""A trotting policy that is left as it is, on a robot that drifts: alone, corrected, and with offsets searched for.

    python -m benchmarks.trotting_drifts --seeds 0 1 2
    perdure bench trotting-drifts --seed 0 --n 180         # n: robot minutes of learning

The policy is PyBullet's (`skills.trotting`), in the physics and by the protocol of `benchmarks.trotting`: 6 s from
standing; return is metres ahead less energy. The drifts are the nine of its published table
(`sim.drift_presets.TABLE`), which come right after the reset, once the robot stands; alone it was measured to survive
one of them. The correction learns for three hours of robot time with faults of the training ranges that come and go, in
the first hour one or two at a time, then five (`benchmarks._drifting`). No fault is a drift of the table, but five add
up: decision 0036 says how often they came to as much. The correction sees a quarter of a second of the past. Then the
daemon goes on under each of the table's drifts, from where it was: for three minutes as it is, and where it does not do
well in them, it searches for offsets of the correction (`skills.learners.offsets`) until forty are over. Someone puts
the robot back after each attempt. With ``PERDURE_BENCH_HOMES`` homes are kept there, and runs that were cut off go on.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agent.config import Config
from agent.policies import find_policy
from agent.stored_config import stored_config
from benchmarks import _daemon
from benchmarks._drifting import learn
from benchmarks._study import Study, main
from benchmarks.trotting import Driver, LearnedWalker, start_offsets_rad
from sim.drift_presets import TABLE, preset
from skills.decisions import DecisionController
from skills.policy import PolicyWeights
from skills.policy_control import policy_controller
from skills.trotting import ROBOT, TROT_FORWARD

DEFAULT_N = 180
FAULTS = ((60, 120), (DEFAULT_N, 400))
"""Until which minute of learning how many come in an hour."""
TRIAL_MIN, SEARCH_MIN = 3, 37
WELL = 0.8
"""Share of the attempts of the trial that have to succeed."""
STARTS = 5
NOMINAL = "nominal"
KEPT = 0.5
"""What has survived a drift is not worth much unless it keeps this share of the return that it has without one."""
SETTINGS = {
    "run.skills": [TROT_FORWARD.name],
    "control.rate_hz": 100,
    "control.policy_rate_hz": 25,
    "learner.history": 6,
    "learner.updates_per_step": 2.0,
    "learner.imitation": 0.4,
    "learner.init_std": 0.05,
    "learner.init_temperature": 0.02,
    "learner.target_entropy": -2.5,
    "learner.actor_delay": 8000,
    "learner.constraints": False,
    "person.every_attempt": True,
    "person.delay_s": 1.0,
    "workspace.size_m": 100.0,
    "safety.saturation_share": 1.0,
}
"""The first correction is none: it begins with little noise and late, and is drawn back to none (decision 0036)."""
UNDER_DRIFT = {
    "learner.hold_policy": True,
    "learner.script_below": 0.0,
    "safety.fall_tilt_rad": math.acos(TROT_FORWARD.fallen_up_z),
    "safety.fall_hold_s": 0.0,
}
"""The correction is what it was; a fall is what the protocol takes for one."""
SEARCH = {"learner.hold_policy": False, "learner.algorithm": "offsets"}
DECIMALS = 3
Make = Callable[[], LearnedWalker]


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Learn for ``n`` robot minutes, and then as much less than usual under each drift. Returns what `cell` returns."""
    share = n / DEFAULT_N
    faults = [[share * minutes, per_hour] for minutes, per_hour in FAULTS]
    return cell({**SEARCHED, "faults": faults, "trial_min": share * TRIAL_MIN, "search_min": share * SEARCH_MIN}, seed)


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One seed.

    Args:
        settings: ``faults``, until which minute how many come in an hour; ``trial_min`` and ``search_min``, minutes of
            both under a drift; ``set``, ``under_drift`` and ``search``, settings of the daemon, of all, of what is
            under a drift, and of the search.
        seed: of the run.

    Returns:
        ``alone``, ``corrected`` and ``searched``, what `summary` returns of them, ``policy_version`` of ``corrected``,
        and of each drift the ``minutes`` under it and ``attempts`` of the search.
    """
    changes = settings["set"]
    with _daemon.kept_home(f"trotting-drifts-seed{seed}") as home:
        for minutes, per_hour in settings["faults"]:
            learn(home, ROBOT, minutes, seed, changes, drifts=True, faults_per_hour=per_hour)
        practised_min = settings["faults"][-1][0]
        config = stored_config(home)
        weights = find_policy("latest", ROBOT, TROT_FORWARD, home)
        alone, corrected = judge(config, None), judge(config, weights)
        searched: dict[str, dict[str, Any]] = {}
        minutes: dict[str, float] = {}
        attempts: dict[str, int] = {}
        for drift in TABLE:
            later = _copy(home, drift)
            adapt(later, drift, settings, seed)
            minutes[drift] = round(60 * _daemon.practised_h(later) - practised_min, 1)
            attempts[drift] = len(_tried(later, practised_min + settings["trial_min"]))
            searched |= judge(config, find_policy("latest", ROBOT, TROT_FORWARD, later), (drift,))
    nominal = alone[NOMINAL]["return"]
    return {
        "alone": summary(alone, nominal),
        "corrected": summary(corrected, nominal),
        "searched": summary(searched, nominal),
        "policy_version": weights.version,
        "minutes": minutes,
        "attempts": attempts,
    }


def adapt(home: Path, drift: str, settings: Mapping[str, Any], seed: int) -> None:
    """Try a correction under a drift, and search for offsets of it where it does not do well, or go on with that.

    Args:
        home: where it learned.
        drift: name of the preset.
        settings: as of `cell`.
        seed: of the run.
    """
    practised_min = settings["faults"][-1][0]
    trial_min = practised_min + settings["trial_min"]
    further = {**settings["set"], **settings["under_drift"], "sim.drift": drift}
    learn(home, ROBOT, trial_min, seed, further, drifts=False)
    tried = _tried(home, practised_min, trial_min)
    if sum(tried) < WELL * max(1, len(tried)):
        learn(home, ROBOT, trial_min + settings["search_min"], seed, {**further, **settings["search"]}, drifts=False)


def _tried(home: Path, from_min: float, to_min: float = math.inf) -> list[bool]:
    """Which attempts of a time were successes."""
    rows = _daemon.query(
        home,
        "SELECT started_s, outcome = 'success' FROM attempts WHERE state = 'finished' AND outcome != 'aborted' "
        f"AND skill = '{TROT_FORWARD.name}'",
    )
    return [bool(success) for started_s, success in rows if from_min <= started_s / 60 < to_min]


def _copy(home: Path, drift: str) -> Path:
    """A home beside this one that goes on from where it is, as if it had been this robot that drifted."""
    later = home.with_name(f"{home.name}-{drift}")
    if not later.exists():
        unfinished = home.with_name(f"{home.name}-{drift}-unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(home, unfinished)
        unfinished.rename(later)
    return later


def judge(
    config: Config, weights: PolicyWeights | None, drifts: tuple[str, ...] = (NOMINAL, *TABLE), starts: int = STARTS
) -> dict[str, dict[str, Any]]:
    """The protocol under each drift, with a policy's corrections or with none.

    Returns:
        By drift ``return`` and ``speed_mps`` (means over starts) and ``falls``.
    """
    driver, out = Driver(), {}
    spec = driver.robot.spec
    config = config.for_robot(spec)
    dt_s, decimation = config.control.dt_s, config.control.decimation
    resting = TROT_FORWARD.prior_action(spec)

    def walker() -> LearnedWalker:
        if weights is None:
            actuator = TROT_FORWARD.family.actuator(spec, dt_s)
            still = DecisionController(
                TROT_FORWARD.family, actuator, lambda *_: resting, resting, decimation=decimation
            )
            return LearnedWalker(still, dt_s)
        learner = config.learner
        controller = policy_controller(
            TROT_FORWARD,
            spec,
            dt_s,
            weights,
            None,
            decimation=decimation,
            history=learner.history,
            past_actions=learner.past_actions,
        )
        return LearnedWalker(controller, dt_s)

    with driver.robot as robot:
        for name in drifts:
            made = () if name == NOMINAL else preset(name, robot.drift_subject)
            walks = [driver.walk(walker(), offset, made) for offset in start_offsets_rad(starts)]
            out[name] = {
                "return": round(float(np.mean([walk.return_ for walk in walks])), DECIMALS),
                "speed_mps": round(float(np.mean([walk.speed_mps for walk in walks])), DECIMALS),
                "falls": sum(walk.fell for walk in walks),
            }
    return out


def summary(found: Mapping[str, Mapping[str, Any]], nominal_return: float) -> dict[str, Any]:
    """Returns ``survived`` (drifts of the table without a fall), ``kept`` (those of them with at least `KEPT` of
    ``nominal_return``, of the policy alone), ``return_share`` (mean over the table) and ``drifts``.
    """
    table = [found[name] for name in TABLE]
    stood = [each for each in table if not each["falls"]]
    return {
        "survived": len(stood),
        "kept": sum(each["return"] >= KEPT * nominal_return for each in stood),
        "return_share": float(np.mean([each["return"] for each in table])) / nominal_return,
        "drifts": dict(found),
    }


SEARCHED = {
    "faults": FAULTS,
    "trial_min": TRIAL_MIN,
    "search_min": SEARCH_MIN,
    "set": SETTINGS,
    "under_drift": UNDER_DRIFT,
    "search": SEARCH,
}
STUDY = Study(
    name="trotting-drifts",
    module="benchmarks.trotting_drifts",
    variants={"searched": SEARCHED},
    cell=cell,
    figures={
        f"{who}.{figure}": "higher"
        for who in ("alone", "corrected", "searched")
        for figure in ("survived", "kept", "return_share")
    }
    | {f"{who}.drifts.{NOMINAL}.speed_mps": "higher" for who in ("alone", "corrected")},
)

if __name__ == "__main__":
    main(STUDY)
