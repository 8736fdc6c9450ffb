"""A trotting policy that is left as it is, on a robot that drifts: alone, and with a learned correction on top of it.

    python -m benchmarks.trotting_drifts --seeds 0 1 2
    perdure bench trotting-drifts --seed 0 --n 60          # n: robot minutes of learning

The policy is PyBullet's (`skills.trotting`), in the physics and by the protocol of `benchmarks.trotting`: 6 s from
standing; return is metres ahead less energy. The drifts are the nine of its published table
(`sim.drift_presets.TABLE`), there from the start; alone it was measured to survive one of them. The correction learns
for an hour of robot time with faults of the training ranges that come and go (`benchmarks._drifting`), smaller than
the table's, and sees half a second of the past. It never meets the table. Someone puts the robot back after each
attempt that it learns from. With ``PERDURE_BENCH_HOMES`` a home is kept there, and a run that was cut off goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from agent.config import Config
from agent.policies import find_policy
from agent.stored_config import stored_config
from benchmarks import _daemon
from benchmarks._drifting import learn
from benchmarks._study import Study, main
from benchmarks.trotting import Driver, LearnedWalker, start_offsets_rad
from sim.drift import DriftSchedule
from sim.drift_presets import TABLE, preset
from skills.decisions import DecisionController
from skills.policy import PolicyWeights
from skills.policy_control import policy_controller
from skills.trotting import ROBOT, TROT_FORWARD

DEFAULT_N = 60
STARTS = 5
NOMINAL = "nominal"
KEPT = 0.5
"""What has survived a drift is not worth much unless it keeps this share of the return that it has without one."""
SETTINGS = {
    "run.skills": [TROT_FORWARD.name],
    "control.rate_hz": 100,
    "control.policy_rate_hz": 25,
    "learner.history": 12,
    "learner.updates_per_step": 2.0,
    "person.every_attempt": True,
    "person.delay_s": 1.0,
    "workspace.size_m": 100.0,
    "safety.saturation_share": 1.0,
}
DECIMALS = 3
Make = Callable[[], LearnedWalker]


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Learn for ``n`` robot minutes, then judge. Returns what `cell` returns."""
    return cell({"minutes": n, "set": SETTINGS}, seed)


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One seed.

    Returns:
        ``alone`` and ``corrected``, what `judge` returns of them, and ``policy_version``.
    """
    with _daemon.kept_home(f"trotting-drifts-seed{seed}") as home:
        learn(home, ROBOT, settings["minutes"], seed, settings["set"], drifts=True)
        weights = find_policy("latest", ROBOT, TROT_FORWARD, home)
        config = stored_config(home)
    nominal = judge(config, None, (NOMINAL,))[NOMINAL]["return"]
    return {
        "alone": summary(judge(config, None), nominal),
        "corrected": summary(judge(config, weights), nominal),
        "policy_version": weights.version,
    }


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
            robot.follow_drift(DriftSchedule(made, spec.joint_names), robot.time_s)
            walks = [driver.walk(walker(), offset) for offset in start_offsets_rad(starts)]
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


STUDY = Study(
    name="trotting-drifts",
    module="benchmarks.trotting_drifts",
    variants={"corrected": {"minutes": DEFAULT_N, "set": SETTINGS}},
    cell=cell,
    figures={
        f"{who}.{figure}": "higher"
        for who in ("alone", "corrected")
        for figure in ("survived", "kept", "return_share", f"drifts.{NOMINAL}.speed_mps")
    },
)

if __name__ == "__main__":
    main(STUDY)
