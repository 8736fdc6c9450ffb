"""``perdure interventions``: the log of human help."""

from __future__ import annotations

import getpass
import math
from typing import Annotated, Any

import typer

from agent.cli_common import CliError, existing_home, out, out_json, out_table
from agent.cli_options import HomeOption, JsonOption, OperatorOption, PartReplacedOption

CLASSES = ("assist", "failure")

app = typer.Typer(help="The log of human help.", no_args_is_help=True)

NoteOption = Annotated[str, typer.Option("--note", help="Anything worth knowing later.")]


@app.command("list")
def list_(
    home: HomeOption = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that wait for a person.")] = False,
    json_: JsonOption = False,
) -> None:
    """List interventions, oldest first."""
    from persistence.home import Home
    from persistence.store import Store

    where = "WHERE open" if open_only else ""
    with Store.open(Home(existing_home(home)).db, read_only=True) as store:
        rows = store.rows(f"SELECT * FROM v_interventions {where} ORDER BY opened_s, id")
    if json_:
        out_json(rows)
        return
    columns = ("id", "cause", "class", "hour", "minutes", "open", "skill", "operator", "note")
    out_table(columns, ([_cell(row, column) for column in columns] for row in rows))


def _cell(row: dict[str, Any], column: str) -> Any:
    if column == "hour":
        return row["opened_s"] / 3600.0
    return bool(row["open"]) if column == "open" else row[column]


@app.command()
def add(
    cause: Annotated[str, typer.Option("--cause", help="What happened, as one word: stuck, cable, battery ...")],
    class_: Annotated[
        str, typer.Option("--class", help="assist: no part replaced, soon over; failure: anything else.")
    ] = "assist",
    minutes: Annotated[float, typer.Option("--minutes", help="How long it took, in minutes of robot time.")] = 0.0,
    note: NoteOption = "",
    operator: OperatorOption = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Log help that is over already and that the agent did not ask for."""
    from agent.inbox import ADD, Request, request

    if not cause.strip():
        raise CliError("--cause is empty; say what happened, such as --cause stuck")
    if class_ not in CLASSES:
        raise CliError(f"--class {class_!r} is unknown; valid: {', '.join(CLASSES)}")
    if not math.isfinite(minutes) or minutes < 0.0:
        raise CliError(f"--minutes {minutes} is not allowed; give a number of minutes, 0 or more")
    data = {
        "cause": cause.strip(),
        "e10_class": class_,
        "minutes": minutes,
        "note": note,
        "operator": operator or login(),
    }
    answer = request(existing_home(home), Request(kind=ADD, data=data))
    _report(answer, "logged", json_)
    if not json_ and answer["minutes"] < minutes:
        out(f"it counts {answer['minutes']:.1f} minutes: by the robot's clock the first run began no longer ago")


@app.command()
def close(
    number: Annotated[int, typer.Argument(metavar="ID", help="Id of an open intervention, as `list --open` shows it.")],
    action: Annotated[str, typer.Option("--action", help="What was done, and why the robot may go on.")],
    part_replaced: PartReplacedOption = False,
    note: NoteOption = "",
    operator: OperatorOption = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Say that the robot has been helped; it moves again after `perdure resume`."""
    from agent.inbox import CLOSE, Request, request

    if not action.strip():
        raise CliError("--action is empty; say what was done")
    data = {
        "id": number,
        "operator": operator or login(),
        "action": action.strip(),
        "note": note,
        "part_replaced": part_replaced,
    }
    _report(request(existing_home(home), Request(kind=CLOSE, data=data)), "closed", json_)


def login() -> str:
    """Login name of the user, or ``unknown`` where the system has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _report(answer: dict[str, Any], verb: str, json_: bool) -> None:
    if json_:
        out_json(answer)
    else:
        out(f"{verb} intervention {answer['id']}")
