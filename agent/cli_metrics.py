"""``perdure metrics``."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli_common import CliError, existing_home, out, out_facts, out_json, out_table
from agent.cli_options import HomeOption, JsonOption
from persistence.home import Home

GROUPS = ("skill", "cause", "day", "phase")
SHOWN = (
    "productive_hours",
    "attempts",
    "success_rate",
    "interventions",
    "failures",
    "mtbf_hours",
    "mtbf_lower_hours",
    "mtbf_upper_hours",
    "falls",
    "self_recovery_rate",
)
"""Figures of a group that fit on a line; --json has all."""


def metrics(
    home: HomeOption = None,
    since: Annotated[
        str | None, typer.Option("--since", help="From this robot second, or wall time as 2026-11-24T12:00.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Up to this robot second, or wall time.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Also broken down by skill, cause, day or phase.")] = None,
    confidence: Annotated[float, typer.Option("--confidence", help="Of the intervals, between 0 and 1.")] = 0.9,
    json_: JsonOption = False,
) -> None:
    """Persistence metrics: how long the robot works between two interruptions, with intervals and trend."""
    if by is not None and by not in GROUPS:
        raise CliError(f"--by {by!r} is unknown; valid: {', '.join(GROUPS)}")
    if not 0.0 < confidence < 1.0:
        raise CliError(f"--confidence {confidence} is not allowed; give a number between 0 and 1, such as 0.9")
    database = Home(existing_home(home)).db
    from persistence.metrics import metrics as measure

    facts = measure(database, since=moment(since), until=moment(until), confidence=confidence, by=by)
    if json_:
        out_json(facts)
        return
    groups = facts.pop("groups", [])
    facts.pop("by", None)
    out_facts(facts)
    if groups:
        columns = [by or "group", *(name for name in SHOWN if name in groups[0])]
        out("")
        out_table(columns, ([group[column] for column in columns] for group in groups))


def moment(text: str | None) -> float | str | None:
    """Robot seconds as a number; anything else is passed on as wall time."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text
