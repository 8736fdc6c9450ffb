"""``perdure drift``: what is known of a robot's drift, and for simulated ones how it is made to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from agent.cli_common import CliError, existing_home, out, out_json, out_table
from agent.cli_options import HomeOption, JsonOption

app = typer.Typer(
    help="Drift of the robot: what was detected, and in a simulator what is injected.", no_args_is_help=True
)


@app.command("list")
def list_(home: HomeOption = None, json_: JsonOption = False) -> None:
    """List drift that was injected or detected, oldest first."""
    from persistence.home import Home
    from persistence.store import Store

    with Store.open(Home(existing_home(home)).db, read_only=True) as store:
        stored = store.rows("SELECT id, kind, source, robot_s, detail FROM drift_events ORDER BY id")
    rows = [{**row, "detail": json.loads(row["detail"])} for row in stored]
    if json_:
        out_json(rows)
        return
    columns = ("id", "kind", "source", "hour", "joints", "size", "detail")
    out_table(columns, ([_cell(row, column) for column in columns] for row in rows))


def _cell(row: Mapping[str, Any], column: str) -> Any:
    detail = row["detail"]
    if column == "hour":
        return row["robot_s"] / 3600.0
    if column in ("joints", "size"):
        return detail.get(column)
    if column == "detail":
        return {name: value for name, value in detail.items() if name not in ("joints", "size")}
    return row[column]


@app.command()
def kinds(json_: JsonOption = False) -> None:
    """List what can be injected: kinds with the meaning of their sizes, and presets."""
    from sim.drift import KINDS
    from sim.drift_presets import PRESETS

    if json_:
        facts = {
            kind.value: {
                "meaning": facts.meaning,
                "sizes": [facts.low, facts.high],
                "joints": facts.joints,
                "axes": list(facts.axes),
            }
            for kind, facts in KINDS.items()
        }
        out_json({"kinds": facts, "presets": {name: preset.what for name, preset in PRESETS.items()}})
        return
    rows = [
        (kind.value, f"{f.low:g} to {f.high:g}", " ".join(f.axes), f.joints, f.meaning) for kind, f in KINDS.items()
    ]
    out_table(("kind", "sizes", "axes", "joints", "size means"), rows)
    out("")
    out_table(("preset", "what"), [(name, preset.what) for name, preset in PRESETS.items()])


@app.command()
def inject(
    kind: Annotated[str, typer.Argument(help="Kind of drift, or a preset; `perdure drift kinds` lists them.")],
    size: Annotated[float | None, typer.Option("--size", help="How much, in the unit of the kind.")] = None,
    joint: Annotated[
        list[str] | None, typer.Option("--joint", help="Joint that it is of; may be repeated. Default: all.")
    ] = None,
    axis: Annotated[str | None, typer.Option("--axis", help="Axis of the body, x, y or z.")] = None,
    ahead: Annotated[float, typer.Option("--ahead", help="Of a payload: m ahead of the body's centre.")] = 0.0,
    left: Annotated[float, typer.Option("--left", help="Of a payload: m to the left of it.")] = 0.0,
    over: Annotated[
        float, typer.Option("--over", help="Seconds of robot time in which it comes in; 0: at once.")
    ] = 0.0,
    for_: Annotated[
        float | None, typer.Option("--for", help="Seconds of robot time until it is repaired; default: never.")
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Make the simulated robot of a running daemon drift; refused unless sim.drift_commands is true."""
    from agent.inbox import DRIFT, Request, request

    data = {
        "kind": kind,
        "size": size,
        "joints": joint or [],
        "axis": axis,
        "at_m": [ahead, left] if ahead or left else None,
        "over_s": over,
        "for_s": for_,
    }
    _check_numbers({"--size": size, "--ahead": ahead, "--left": left, "--over": over, "--for": for_})
    answer = request(existing_home(home), Request(kind=DRIFT, data=data))
    if json_:
        out_json(answer)
    else:
        out(f"injected {kind} as drift {', '.join(map(str, answer['ids']))}")


@app.command()
def repair(
    number: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]...", help="Ids of injected drifts, as `list` shows them.")
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Repair injected drifts of a running daemon's simulated robot: those of ID, else all."""
    from agent.inbox import REPAIR, Request, request

    answer = request(existing_home(home), Request(kind=REPAIR, data={"ids": number or []}))
    if json_:
        out_json(answer)
    else:
        out(f"repaired {', '.join(map(str, answer['repaired'])) or 'nothing'}")


def _check_numbers(values: Mapping[str, float | None]) -> None:
    """JSON has no NaN and no infinity."""
    import math

    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise CliError(f"{name} {value} is no finite number")
