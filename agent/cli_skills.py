"""``perdure skills``: the library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli_common import CliError, existing_home, out, out_facts, out_json, out_table, resolve_home
from agent.cli_options import HomeOption, JsonOption, SkillFolderOption

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
        "level": f"{skill.level.of}: {skill.level.axis} = {skill.level.value:g}" if skill.level is not None else None,
        "requires": list(skill.requires),
    }


def use_skills(folders: list[Path] | None, home: Path | None = None) -> None:
    """Look for skills in folders; where none is named, in those of the newest run of a home."""
    from agent.stored_config import stored_config
    from skills.registry import use_folders

    named = [str(folder) for folder in folders or ()]
    use_folders(named or (stored_config(resolve_home(home)).run.skill_folders if home is not None else ()))


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
def list_(skill_folder: SkillFolderOption = None, json_: JsonOption = False) -> None:
    """List all skills."""
    from skills.registry import skills

    use_skills(skill_folder)
    facts = [_facts(skill) for skill in skills().values()]
    if json_:
        out_json(facts)
    else:
        columns = ("name", "kind", "summary")
        out_table(columns, ([skill[column] for column in columns] for skill in facts))


@app.command()
def show(skill: SkillArgument, skill_folder: SkillFolderOption = None, json_: JsonOption = False) -> None:
    """Show one skill."""
    use_skills(skill_folder)
    facts = _facts(_skill(skill))
    if json_:
        out_json(facts)
    else:
        out_facts(facts)


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the skill: small letters, digits, underscores.")],
    folder: Annotated[Path | None, typer.Option("--folder", help="Where to write it; default: ./NAME.")] = None,
    json_: JsonOption = False,
) -> None:
    """Write a skill that works as it is, with its test, to make another of."""
    from agent.skill_check import NAME
    from agent.skill_template import write_template
    from skills.registry import skills

    if not NAME.fullmatch(name):
        raise CliError(f"{name!r} is no name of a skill; use 2 to 40 small letters, digits and underscores")
    if name in skills():
        raise CliError(f"there is a skill {name!r}; choose another name")
    try:
        files = write_template(name, folder or Path(name))
    except OSError as error:
        raise CliError(str(error)) from error
    if json_:
        out_json({"files": [str(file) for file in files]})
        return
    for file in files:
        out(f"wrote {file}")
    where = files[0].parent
    out(f"check it: perdure skills check {name} --skill-folder {where}")
    out(f"learn it: perdure run --skills {name} --skill-folder {where}")


@app.command("check")
def check_(
    skill: Annotated[str, typer.Argument(metavar="SKILL", help="Name of a skill, or a file with one.")],
    robot: Annotated[str, typer.Option("--robot", help="Name of an installed robot, or gym:ID.")] = "minitaur",
    skill_folder: SkillFolderOption = None,
    json_: JsonOption = False,
) -> int:
    """Try a skill's functions on a simulated robot, in a process of its own; says what is wrong and how to mend it."""
    from dataclasses import asdict

    from agent.skill_check import check

    problems = check(_place_of(skill, skill_folder or []), robot)
    if json_:
        out_json([asdict(problem) for problem in problems])
    elif problems:
        out_table(("skill", "where", "what", "mend"), ((p.skill, p.where, p.what, p.mend) for p in problems))
    else:
        out(f"{skill} keeps what a skill promises, on {robot}")
    return 1 if problems else 0


def _place_of(skill: str, folders: list[Path]) -> Path | str:
    """The file that brings a skill, which is not loaded here, or the name of one that is installed.

    Raises:
        CliError: there is none.
    """
    from skills.registry import skills

    if skill.endswith(".py"):
        return Path(skill)
    for path in (folder / f"{skill}.py" for folder in folders or [Path(skill)]):
        if path.is_file():
            return path
    if skill in skills():
        return skill
    looked = ", ".join(map(str, folders)) or f"./{skill}"
    raise CliError(f"no skill {skill!r} is installed, and no file {skill}.py is in {looked}; name its --skill-folder")


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
    skill_folder: SkillFolderOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show a skill's goal by stored attempts: from the next run on, what is learned of them decides its success."""
    from agent.goals import learn_goal, remove_goal
    from agent.marked import attempt_ids
    from persistence.home import Home, lock_holder, typed
    from skills.skill import LearnedSkill

    paths = Home(existing_home(home))
    use_skills(skill_folder, paths.root)
    chosen = _skill(skill)
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
            stop = typed("stop", paths.root)
            raise CliError(f"a daemon uses {paths.root}; goals are read when a run starts: {stop} first")
        facts = learn_goal(paths, chosen, attempt_ids(success), attempt_ids(failure))
    if json_:
        out_json(facts)
    else:
        out_facts(facts)


def check_robot(robot: str) -> None:
    """Refuse a robot that is not installed.

    Raises:
        CliError: unknown name, with the valid ones.
    """
    from importlib.metadata import entry_points

    from agent.robots import GROUP, GYM_PREFIX
    from agent.settings import unknown_name

    robots = entry_points(group=GROUP).names
    if robot not in robots and not robot.startswith(GYM_PREFIX):
        raise CliError(unknown_name("robot", robot, robots))


def check_policy(which: str, option: str = "--policy") -> None:
    """Refuse what names no policy.

    Raises:
        CliError: it does not.
    """
    if which not in ("zoo", "latest", "deployed") and not which.isdecimal():
        raise CliError(f"{option} {which!r} is unknown; valid: zoo, latest, deployed, or a version number")


@app.command("eval")
def eval_(
    skill: SkillArgument,
    robot: Annotated[
        str | None, typer.Option("--robot", help="Name of an installed robot, or gym:ID; default: that of the home.")
    ] = None,
    policy: Annotated[str, typer.Option("--policy", help="zoo, latest, deployed, or a stored version.")] = "latest",
    against: Annotated[
        str | None,
        typer.Option("--against", help="Another policy, named alike: which is better? --attempts are of each at most."),
    ] = None,
    attempts: Annotated[int, typer.Option("--attempts", help="Number of attempts.", min=1)] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Seed of dynamics and starts.", min=0)] = 0,
    dynamics: Annotated[
        str, typer.Option("--dynamics", help="held-out: robots that training never saw; nominal: the one it trains on.")
    ] = DYNAMICS[0],
    skill_folder: SkillFolderOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Evaluate a skill, by default in dynamics that training never saw; a home keeps what is of its policies."""
    from agent.stored_config import stored_config

    use_skills(skill_folder, resolve_home(home))
    _skill(skill)
    robot = robot or stored_config(resolve_home(home)).run.robot
    check_robot(robot)
    for option, which in (("--policy", policy), ("--against", against)):
        if which is not None:
            check_policy(which, option)
    if dynamics not in DYNAMICS:
        raise CliError(f"--dynamics {dynamics!r} is unknown; valid: {', '.join(DYNAMICS)}")
    if against is not None:
        from agent.comparison import compare_policies

        facts = compare_policies(skill, robot, (policy, against), attempts, seed, resolve_home(home), dynamics=dynamics)
        if json_:
            out_json(facts)
        else:
            out_facts(facts)
        return
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
    if policy != "zoo" and facts["policy_version"] is not None:
        from agent.evaluation_rows import evaluation_row, stored_if_possible

        facts["evaluation"] = stored_if_possible(resolve_home(home), evaluation_row(facts))
    if json_:
        out_json(facts)
    else:
        out_facts(facts)
