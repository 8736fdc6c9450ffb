"""``perdure skills why``: the schedule, explained."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli_common import CliError, existing_home, out, out_facts, out_json, out_table
from agent.cli_options import HomeOption, JsonOption


def why(
    skill: Annotated[
        str | None, typer.Argument(metavar="[SKILL]", help="Only this task, with all its figures.")
    ] = None,
    newest: Annotated[int, typer.Option("--newest", help="Attempts of which a task's share is told.", min=1)] = 100,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Explain the schedule: where each task stands, what it waits for, and why it is practised as much as it is."""
    from dataclasses import asdict

    from agent.curriculum_facts import explain
    from agent.settings import unknown_name
    from persistence.home import Home
    from persistence.store import Store

    with Store.open(Home(existing_home(home)).db, read_only=True) as store:
        found = {each.skill: each for each in explain(store, newest)}
    if not found:
        raise CliError("no run has begun a curriculum here yet; start one with `perdure run`")
    if skill is not None and skill not in found:
        raise CliError(unknown_name("task of the last run", skill, found))
    if json_:
        out_json(asdict(found[skill]) if skill is not None else [asdict(each) for each in found.values()])
    elif skill is not None:
        out_facts(asdict(found[skill]))
    else:
        columns = ("skill", "standing", "success_rate", "attempts", "wanted_share", "got_share")
        out_table(columns, ([getattr(each, column) for column in columns] for each in found.values()))
        for each in found.values():
            out(f"{each.skill}: {each.reason}")
