"""Ten robot hours without a reset by hand: an arm practises tasks that undo each other, from nothing.

    python -m benchmarks.resets [--only ours] [--seeds 0 1 2]

``ours``: all tasks of the arm, its resets, and a person who comes when nothing can start. To compare with:
``forward-only`` learns one of each pair and calls a person when it is stuck; ``oracle`` has everything put back by hand
after every attempt, uncounted. In ``early-aborts`` a learned critic ends attempts, too, where what they do could hardly
be undone. All take half the updates that are the default, to halve what ten hours cost. ``n`` is in robot minutes. With
``PERDURE_BENCH_HOMES`` a home is kept there, and a run that was cut off goes on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.evaluation import evaluate_skill
from benchmarks import _daemon
from benchmarks._study import Cells, Study, main
from persistence.records import STUCK
from persistence.reliability import mtbf_interval

ROBOT = "kuka"
DEFAULT_N = 600
LAST_MINUTES = 300
"""Interventions of the end are those of this long."""
ATTEMPTS = 25
"""Of each task, by the last policy, from places that it is not told."""
EVALUATION_SEED = 1000
SPAN_MINUTES = 30
"""A point of the curve."""
UPDATES = {"learner.updates_per_step": 2.0}
KINDS: dict[str, dict[str, Any]] = {
    "ours": {},
    "early-aborts": {"learner.hopeless_below": 0.25},
    "forward-only": {"run.skills": ["carry_out", "slide_open"], "run.resets": False},
    "oracle": {"person.every_attempt": True},
}


def run(seed: int, n: int) -> dict[str, Any]:
    """Practise for ``n`` robot minutes in each way that is compared.

    Returns:
        What `conclude` does, ``deployed_success`` (by task), and in ``kinds`` what `practise` returns for each.
    """
    cells = {}
    for kind in ("ours", "forward-only", "oracle"):
        with tempfile.TemporaryDirectory() as folder:
            cells[kind] = practise(Path(folder) / "home", seed, n, UPDATES | KINDS[kind])
    compared = conclude({kind: [cell] for kind, cell in cells.items()})
    return {**compared, "deployed_success": cells["ours"]["deployed_success"], "kinds": cells}


def practise(home: Path, seed: int, minutes: float, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Let the daemon practise on a home until it has done so for ``minutes`` of robot time, then judge.

    Returns:
        ``interventions`` (number), ``intervention_min`` (robot minute of each), ``stuck`` (those where a task could not
        start), ``interventions_late`` (in the last `LAST_MINUTES`), ``success_share`` (of all attempts of tasks),
        ``deployed_success`` (by task), ``deployed_least``, ``cut_short`` (attempts ended where they could hardly be
        undone), ``curve`` (by task: successes and attempts in each `SPAN_MINUTES`), ``causes``.

    Raises:
        RuntimeError: the daemon ended before, such as by a signal.
    """
    changes = _daemon.told(settings)
    _daemon.run_until(home, minutes / 60, "--speed", "max", "--seed", str(seed), "--robot", ROBOT, *changes)
    called = _daemon.query(home, "SELECT opened_s, cause FROM interventions ORDER BY opened_s")
    tried = _daemon.query(
        home,
        "SELECT a.skill, a.ended_s, a.outcome = 'success', a.end_reason FROM attempts a "
        "JOIN skills k ON k.name = a.skill WHERE a.state = 'finished' AND k.kind = 'task' AND NOT a.evaluation",
    )
    tasks = sorted({skill for skill, *_ in tried})
    deployed = {
        task: evaluate_skill(task, ROBOT, "latest", ATTEMPTS, EVALUATION_SEED, home)["success_rate"] for task in tasks
    }
    called_min = [opened_s / 60 for opened_s, _ in called]
    return {
        "minutes": minutes,
        "interventions": len(called),
        "interventions_late": sum(at > minutes - LAST_MINUTES for at in called_min),
        "intervention_min": [round(at, 1) for at in called_min],
        "stuck": sum(cause in STUCK for _, cause in called),
        "causes": {cause: sum(other == cause for _, other in called) for _, cause in called},
        "success_share": sum(success for _, _, success, _ in tried) / max(1, len(tried)),
        "cut_short": sum(reason == "cannot_be_undone" for *_, reason in tried),
        "deployed_success": deployed,
        "deployed_least": min(deployed.values(), default=0.0),
        "curve": {task: _curve([row for row in tried if row[0] == task], minutes) for task in tasks},
    }


def _curve(tried: list[tuple[Any, ...]], minutes: float) -> list[tuple[int, int]]:
    """Successes and attempts in each span of time."""
    spans = [[0, 0] for _ in range(max(1, -(-round(minutes) // SPAN_MINUTES)))]
    for _, ended_s, success, _ in tried:
        span = spans[min(int(ended_s / 60 / SPAN_MINUTES), len(spans) - 1)]
        span[0] += success
        span[1] += 1
    return [(successes, attempts) for successes, attempts in spans]


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One way, one seed."""
    with _daemon.kept_home(f"resets-{settings['kind']}-seed{seed}") as home:
        return practise(home, seed, settings["minutes"], settings["set"])


def successes_per_h(cell: Mapping[str, Any]) -> float:
    """Attempts of tasks that succeeded, per robot hour."""
    successes = sum(spans[0] for curve in cell["curve"].values() for spans in curve)
    return 60.0 * float(successes) / float(cell["minutes"])


def conclude(cells: Cells) -> dict[str, Any]:
    """Ours against the others, as means over seeds, and the time between interventions at the end.

    Returns:
        ``intervention_ratio`` (to forward-only; None where that had none), ``continuing_return_share`` (of attempts
        that succeed) and ``continuing_rate_share`` (of successes per robot hour, both to the oracle), ``late_hours``,
        ``late_interventions``, ``mtbi_hours`` and ``mtbi_lower_hours`` (one-sided, 90 %). What has no cells is absent.
    """
    found: dict[str, Any] = {}
    ours = cells.get("ours", [])
    if forward := cells.get("forward-only", []):
        calls = sum(each["interventions"] for each in forward) / len(forward)
        mine = sum(each["interventions"] for each in ours) / max(1, len(ours))
        found["intervention_ratio"] = mine / calls if calls else None
    if oracle := cells.get("oracle", []):
        share = sum(each["success_share"] for each in oracle) / len(oracle)
        mine = sum(each["success_share"] for each in ours) / max(1, len(ours))
        found["continuing_return_share"] = mine / share if share else None
        rate = sum(map(successes_per_h, oracle)) / len(oracle)
        mine = sum(map(successes_per_h, ours)) / max(1, len(ours))
        found["continuing_rate_share"] = mine / rate if rate else None
    if ours:
        late_h = sum(min(each["minutes"], LAST_MINUTES) for each in ours) / 60
        calls = sum(each["interventions_late"] for each in ours)
        interval = mtbf_interval(late_h, calls, confidence=0.9, sides=1)
        found["late_hours"], found["late_interventions"] = late_h, calls
        found["mtbi_hours"], found["mtbi_lower_hours"] = interval.mtbf, interval.lower
    return found


STUDY = Study(
    name="resets",
    module="benchmarks.resets",
    variants={
        kind: {"kind": kind, "minutes": DEFAULT_N, "set": UPDATES | settings} for kind, settings in KINDS.items()
    },
    cell=cell,
    figures={
        "interventions": "lower",
        "interventions_late": "lower",
        "deployed_least": "higher",
        "success_share": "higher",
    },
    conclude=conclude,
)

if __name__ == "__main__":
    main(STUDY)
