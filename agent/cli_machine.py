"""``perdure doctor`` and ``perdure limits``: what the machine and the robot are fit for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from agent.cli_common import CliError, existing_home, out, out_facts, out_json, out_table, resolve_home
from agent.cli_options import HomeOption, JsonOption


def doctor(
    home: HomeOption = None,
    store: Annotated[bool, typer.Option("--store", help="Verify the store alone: every event, row and index.")] = False,
    json_: JsonOption = False,
) -> int:
    """Check machine, versions, permissions, disk and clock; with --store, the stored data."""
    from agent.doctor import Outcome, examine, store_facts

    if store:
        facts = store_facts(existing_home(home))
        if json_:
            out_json(facts)
        else:
            out_facts(facts)
        return 0 if facts["ok"] else 1
    where = resolve_home(home)
    findings = examine(where)
    ok = all(finding.outcome != Outcome.FAIL for finding in findings)
    if json_:
        checks = [{"name": f.name, "outcome": f.outcome.value, "text": f.text} for f in findings]
        out_json({"ok": ok, "home": str(where), "checks": checks})
        return 0 if ok else 1
    for finding in findings:
        out(f"{finding.outcome.value:<4}  {finding.name:<10}  {finding.text}")
    if not ok:
        failed = ", ".join(f.name for f in findings if f.outcome == Outcome.FAIL)
        raise CliError(f"failed: {failed}")
    return 0


def limits(
    robot: Annotated[str, typer.Option("--robot", help="Which robot.")] = "minitaur",
    json_: JsonOption = False,
) -> None:
    """Show the limits of a robot's hardware, which nothing overrides, and where they come from."""
    from agent.robots import load_robot

    made = load_robot(robot, 0)
    try:
        rows = made.spec.limits
    finally:
        made.close()
    if not rows:
        raise CliError(f"robot {robot!r} has no table of limits; see sim/tables/ for how one looks")
    if json_:
        out_json({limit.name: asdict(limit) for limit in rows})
        return
    cells = [(limit.name, limit.lower, limit.upper, limit.unit, limit.source) for limit in rows]
    out_table(("limit", "lower", "upper", "unit", "source"), [tuple(_cell(value) for value in row) for row in cells])


def _cell(value: tuple[float, ...] | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else " ".join(f"{number:.4g}" for number in value)
