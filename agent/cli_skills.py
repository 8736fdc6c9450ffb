"""``perdure skills``: the library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli_common import CliError, existing_home, out, out_facts, out_json, out_table, resolve_home
from agent.cli_options import HomeOption, JsonOption

if TYPE_CHECKING:
    from skills.skill import Skill

DYNAMICS = ("held-out", "nominal")

app = typer.Typer(help="The skill library.", no_args_is_help=True)

SkillArgument = Annotated[str, typer.Argument(metavar="SKILL", help="Name of a skill, as `perdure skills list` shows.")]


def _facts(skill: Skill) -> dict[str, Any]:
    """What is known of a skill before it runs."""
    move = skill.displacement
    return {
        "name": skill.name,
        "kind": skill.kind.value,
        "summary": skill.summary,
        "horizon_s": skill.horizon_s,
        "displacement": {"forward_m": move.forward_m, "left_m": move.left_m, "turn_rad": move.turn_rad},
        "undone_by": skill.undone_by,
        "perturbs": list(skill.perturbs),
    }


def _skill(name: str) -> Skill:
    """Look a skill up.

    Raises:
        CliError: there is none of that name.
    """
    from agent.settings import unknown_name
    from skills.registry import skills

    known = skills()
    if name not in known:
        raise CliError(unknown_name("skill", name, known))
    return known[name]


@app.command("list")
def list_(json_: JsonOption = False) -> None:
    """List all skills."""
    from skills.registry import skills

    facts = [_facts(skill) for skill in skills().values()]
    if json_:
        out_json(facts)
    else:
        columns = ("name", "kind", "summary")
        out_table(columns, ([skill[column] for column in columns] for skill in facts))


@app.command()
def show(skill: SkillArgument, json_: JsonOption = False) -> None:
    """Show one skill."""
    facts = _facts(_skill(skill))
    if json_:
        out_json(facts)
    else:
        out_facts(facts)


@app.command()
def graph(
    file: Annotated[Path, typer.Option("--file", help="Where to draw the graph, as SVG.")] = Path("reset-graph.svg"),
    newest: Annotated[int, typer.Option("--newest", help="How many attempts of each skill count.", min=1)] = 50,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Draw which skill ends where another can start, and how often: the newest attempts of a home."""
    from dataclasses import asdict

    from agent.graph_facts import graph_facts
    from agent.graph_picture import draw
    from persistence.home import Home
    from persistence.store import Store

    with Store.open(Home(existing_home(home)).db, read_only=True) as store:
        found = graph_facts(store, newest)
    if not found.nodes:
        raise CliError("no attempt has ended yet; nothing to draw")
    try:
        file.write_text(draw(found), encoding="utf-8")
    except OSError as error:
        raise CliError(f"cannot write {file}: {error.strerror}; name another with --file") from error
    if json_:
        out_json(asdict(found) | {"file": str(file)})
        return
    columns = ("skill", "enables", "rate", "attempts")
    out_table(columns, ((edge.skill, edge.enables, edge.rate, edge.attempts) for edge in found.edges))
    for skill, count in found.stuck.items():
        out(f"after {skill} a person had to come: {count} times")
    out(f"drawn in {file}")


@app.command()
def goal(
    skill: SkillArgument,
    success: Annotated[
        str, typer.Option("--success", metavar="IDS", help="Attempts that ended in the goal, such as 12,15-18.")
    ] = "",
    failure: Annotated[str, typer.Option("--failure", metavar="IDS", help="Attempts that did not.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Go back to the skill's own rule.")] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show a skill's goal by stored attempts: from the next run on, what is learned of them decides its success."""
    from agent.goals import attempt_ids, learn_goal, remove_goal
    from persistence.home import Home, lock_holder
    from skills.skill import LearnedSkill

    chosen, paths = _skill(skill), Home(existing_home(home))
    if remove:
        if success or failure:
            raise CliError("--remove takes neither --success nor --failure")
        remove_goal(paths, skill)
        facts: dict[str, Any] = {"skill": skill, "removed": True}
    else:
        if not isinstance(chosen, LearnedSkill):
            raise CliError(f"skill {skill!r} is scripted: it tells by itself how it went")
        if not (success and failure):
            raise CliError("name attempts with both --success and --failure, or --remove")
        if lock_holder(paths) is not None:
            # Learning needs to know the robot, and a driver serves one process.
            raise CliError(f"a daemon uses {paths.root}; goals are read when a run starts: `perdure stop` it first")
        facts = learn_goal(paths, chosen, attempt_ids(success), attempt_ids(failure))
    if json_:
        out_json(facts)
    else:
        out_facts(facts)


@app.command("eval")
def eval_(
    skill: SkillArgument,
    robot: Annotated[str, typer.Option("--robot", help="Name of an installed robot, or gym:ID.")] = "minitaur",
    policy: Annotated[str, typer.Option("--policy", help="zoo, latest, or the version of a stored policy.")] = "latest",
    attempts: Annotated[int, typer.Option("--attempts", help="Number of attempts.", min=1)] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Seed of dynamics and starts.", min=0)] = 0,
    dynamics: Annotated[
        str, typer.Option("--dynamics", help="held-out: robots that training never saw; nominal: the one it trains on.")
    ] = DYNAMICS[0],
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Evaluate a skill, by default in dynamics that training never saw."""
    from importlib.metadata import entry_points

    from agent.robots import GROUP, GYM_PREFIX
    from agent.settings import unknown_name

    _skill(skill)
    robots = entry_points(group=GROUP).names
    if robot not in robots and not robot.startswith(GYM_PREFIX):
        raise CliError(unknown_name("robot", robot, robots))
    if policy not in ("zoo", "latest") and not policy.isdecimal():
        raise CliError(f"--policy {policy!r} is unknown; valid: zoo, latest, or a version number")
    if dynamics not in DYNAMICS:
        raise CliError(f"--dynamics {dynamics!r} is unknown; valid: {', '.join(DYNAMICS)}")
    from agent.evaluation import evaluate_skill

    facts = evaluate_skill(
        skill=skill,
        robot=robot,
        policy=policy,
        attempts=attempts,
        seed=seed,
        home=resolve_home(home),
        dynamics=dynamics,
    )
    if json_:
        out_json(facts)
    else:
        out_facts(facts)
