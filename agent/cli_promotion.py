"""``perdure skills promote`` and ``roll-back``: which policy of a skill is the deployed one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli_common import CliError, existing_home, out_facts, out_json
from agent.cli_options import HomeOption, JsonOption, SkillFolderOption
from agent.cli_skills import SkillArgument, check_policy, check_robot, use_skills

RobotOption = Annotated[
    str | None, typer.Option("--robot", help="Name of an installed simulated robot; default: that of the home.")
]
AttemptsOption = Annotated[int, typer.Option("--attempts", help="Of each policy, at most.", min=10)]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="Seed of starts and dynamics; default: one not used before.", min=0)
]


def promote(
    skill: SkillArgument,
    policy: Annotated[str, typer.Option("--policy", help="The candidate: zoo, latest, or a version.")] = "latest",
    robot: RobotOption = None,
    attempts: AttemptsOption = 100,
    seed: SeedOption = None,
    skill_folder: SkillFolderOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Deploy a policy if an evaluation finds it not worse than the deployed one; exit code 1 where it does not.

    Both make the same attempts in dynamics that training never saw. It is deployed where it is better, or where the
    95 % interval of the difference excludes that it is worse by 0.1; the first one, if it ever succeeds. `--policy
    deployed` and `--start deployed` use it.
    """
    from agent.cli_interventions import login
    from agent.promotion import promote as decide

    check_policy(policy)
    where, robot = _checked(home, skill_folder, robot)
    return _report(decide(skill, robot, policy, attempts, where, login(), seed), json_)


def roll_back(
    skill: SkillArgument,
    robot: RobotOption = None,
    attempts: AttemptsOption = 100,
    seed: SeedOption = None,
    skill_folder: SkillFolderOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Deploy the policy from before again if an evaluation finds it better; exit code 1 where it does not."""
    from agent.cli_interventions import login
    from agent.promotion import roll_back as decide

    where, robot = _checked(home, skill_folder, robot)
    return _report(decide(skill, robot, attempts, where, login(), seed), json_)


def _checked(home: Path | None, skill_folder: list[Path] | None, robot: str | None) -> tuple[Path, str]:
    """The home and its robot, or the one that is named."""
    from agent.stored_config import stored_config
    from persistence.home import Home, typed

    where = existing_home(home)
    if not Home(where).db.is_file():
        raise CliError(f"{where} has no books; policies are deployed in the home of a run: {typed('run', where)} first")
    use_skills(skill_folder, where)
    robot = robot or stored_config(where).run.robot
    check_robot(robot)
    return where, robot


def _report(facts: dict[str, Any], json_: bool) -> int:
    if json_:
        out_json(facts)
    else:
        out_facts({name: value for name, value in facts.items() if name != "comparison"})
    return 1 if facts["action"] == "keep" else 0
