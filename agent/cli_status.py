"""``perdure status``. It imports next to nothing, so that it answers at once on a machine that is busy learning."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from agent.cli_common import existing_home, out, out_facts, out_json
from agent.status import Status, read_status
from agent.view import drift, duration, mtbf, speed


def show_status(home: Path | None, json_: bool) -> None:
    """Print what the daemon of ``home`` is doing now."""
    where = existing_home(home)
    report = read_status(where)
    if json_:
        out_json(report.to_dict())
    elif report.status is None:
        out(f"{'starting' if report.running else 'not running, and no run yet'}  {where}")
    else:
        age = "?" if report.age_s is None else f"{report.age_s:.1f}"
        out(f"running, {age} s ago" if report.running else f"not running; the last run wrote this {age} s ago")
        out_facts(_facts(report.status, where))


def _facts(now: Status, where: Path) -> dict[str, object]:
    return {
        "home": where,
        "robot": f"{now.robot}, seed {now.seed}, {now.mode}",
        "state": now.state,
        "skill": now.skill,
        "attempts": now.attempts,
        "robot time": f"{duration(now.robot_s)} (x{now.realtime_factor:.1f} real time)",
        "speed": speed(now),
        "falls": f"{now.falls}; self-recoveries: {now.self_recoveries}",
        "interventions": f"{now.interventions} ({now.failures} failures)",
        "MTBF": mtbf(now),
        "drift": drift(now),
        "learner": f"{now.updates} updates, {now.updates_per_s:.0f}/s, policy version {now.policy_version}",
        "last error": now.last_error,
    }


def answered(arguments: Sequence[str]) -> bool:
    """Answer ``status [--home DIR] [--json]`` without loading the command line library, which takes half a second.

    Returns:
        False where the arguments are anything else, help and mistakes included; that is the library's work.
    """
    if not arguments or arguments[0] != "status":
        return False
    home = os.environ.get("PERDURE_HOME") or None
    json_ = False
    rest = list(arguments[1:])
    while rest:
        word = rest.pop(0)
        if word == "--json":
            json_ = True
        elif word == "--home" and rest:
            home = rest.pop(0)
        elif word.startswith("--home="):
            home = word.removeprefix("--home=")
        else:
            return False
    show_status(Path(home) if home else None, json_)
    return True
