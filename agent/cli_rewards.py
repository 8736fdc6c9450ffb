"""``perdure skills reward`` and ``prefer``: what a skill is learned with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli_common import CliError, existing_home, out, out_facts, out_json, out_table
from agent.cli_options import HomeOption, JsonOption, SkillFolderOption

if TYPE_CHECKING:
    from persistence.home import Home
    from skills.skill import LearnedSkill

SkillArgument = Annotated[str, typer.Argument(metavar="SKILL", help="Name of a skill that is learned.")]


def reward(
    skill: SkillArgument,
    success: Annotated[
        str, typer.Option("--success", metavar="IDS", help="Attempts that ended in the goal, such as 12,15-18.")
    ] = "",
    failure: Annotated[str, typer.Option("--failure", metavar="IDS", help="Attempts that did not.")] = "",
    own: Annotated[bool, typer.Option("--own", help="Go back to the skill's own terms.")] = False,
    skill_folder: SkillFolderOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show what a skill is learned with, or learn it from attempts that a person judged, from the next run on."""
    from agent.marked import attempt_ids
    from agent.rewards import OWN, forget_reward, learn_from_examples, reward_facts

    paths, chosen = _learned(skill, skill_folder, home)
    if own and (success or failure):
        raise CliError("--own takes neither --success nor --failure")
    if own:
        forget_reward(paths, skill)
    if success or failure:
        if not (success and failure):
            raise CliError("name attempts with both --success and --failure")
        _refuse_while_running(paths)
        facts = learn_from_examples(paths, chosen, attempt_ids(success), attempt_ids(failure))
    else:
        facts = reward_facts(paths, skill)
    _tell(facts, json_)
    if facts["reward"] != OWN and not json_:
        out(f"back to its own terms: perdure skills reward {skill} --own")


def prefer(
    skill: SkillArgument,
    better: Annotated[
        str, typer.Option("--better", metavar="IDS", help="Better attempts, such as 12,40-43, one for each worse one.")
    ] = "",
    worse: Annotated[str, typer.Option("--worse", metavar="IDS", help="Worse attempts, in the same order.")] = "",
    propose: Annotated[
        int, typer.Option("--propose", metavar="N", help="Show N pairs to compare: the least certain ones.", min=0)
    ] = 0,
    remove: Annotated[
        bool, typer.Option("--remove", help="Forget all pairs, and the reward learned from them.")
    ] = False,
    skill_folder: SkillFolderOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Say which of two attempts is better: from the next run on the skill is learned with what that teaches.

    The first of the better attempts is better than the first of the worse ones, the second than the second, and so on.
    Pairs add up from call to call; what is said anew takes the place of what was said before.
    """
    from agent.marked import attempts_as_listed
    from agent.rewards import forget_preferences, learn_from_preferences, reward_facts
    from agent.rewards import propose as proposed

    paths, chosen = _learned(skill, skill_folder, home)
    if sum((bool(better or worse), bool(propose), remove)) != 1 or bool(better) != bool(worse):
        raise CliError("name attempts with both --better and --worse, or --propose N, or --remove")
    if remove:
        forget_preferences(paths, skill)
        _tell(reward_facts(paths, skill), json_)
        return
    _refuse_while_running(paths)
    if propose:
        _show_pairs(skill, proposed(paths, chosen, propose), json_)
        return
    facts = learn_from_preferences(paths, chosen, attempts_as_listed(better), attempts_as_listed(worse))
    _tell(facts, json_)
    if facts["needed"] and not json_:
        out(f"nothing is learned yet: {facts['needed']} more pairs are needed")


def _show_pairs(skill: str, pairs: list[dict[str, Any]], json_: bool) -> None:
    if json_:
        out_json(pairs)
        return
    sides = ("first", "second")
    columns = ("doubt", *(name for side in sides for name in (side, f"{side}_outcome", f"{side}_measures")))
    out_table(columns, ([pair[column] for column in columns] for pair in pairs))
    out(f"say which are better: perdure skills prefer {skill} --better IDS --worse IDS")


def _learned(name: str, folders: list[Path] | None, home: Path | None) -> tuple[Home, LearnedSkill]:
    """A home, and a skill that can have a reward.

    Raises:
        CliError: there is no such home, or no such skill.
    """
    from agent.settings import unknown_name
    from agent.stored_config import stored_config
    from persistence.home import Home
    from skills.registry import skills, use_folders
    from skills.skill import LearnedSkill

    paths = Home(existing_home(home))
    use_folders([str(folder) for folder in folders or ()] or stored_config(paths.root).run.skill_folders)
    known = skills()
    if name not in known:
        raise CliError(unknown_name("skill", name, known))
    chosen = known[name]
    if not isinstance(chosen, LearnedSkill):
        raise CliError(f"skill {name!r} is scripted: it has no reward")
    return paths, chosen


def _refuse_while_running(home: Home) -> None:
    """Learning needs to know the robot, and a driver serves one process."""
    from persistence.home import lock_holder, typed

    if lock_holder(home) is not None:
        stop = typed("stop", home.root)
        raise CliError(f"a daemon uses {home.root}; rewards are read when a run starts: {stop} first")


def _tell(facts: dict[str, Any], json_: bool) -> None:
    if json_:
        out_json(facts)
    else:
        out_facts(facts)
