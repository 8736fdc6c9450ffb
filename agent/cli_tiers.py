"""``perdure skills tier``: how far each skill can be trusted on a robot, and how it earns more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli_common import CliError, out, out_json, out_table, resolve_home
from agent.cli_options import HomeOption, JsonOption, SkillFolderOption
from agent.cli_skills import check_policy, use_skills

if TYPE_CHECKING:
    from agent.config import Config
    from agent.tier_books import Judged
    from persistence.store import Store
    from sim.robot import RobotSpec
    from skills.skill import Skill


def tier(
    skill: Annotated[str | None, typer.Argument(metavar="SKILL", help="A task; default: all of the robot's.")] = None,
    robot: Annotated[
        str | None, typer.Option("--robot", help="Name of an installed robot; default: that of the home.")
    ] = None,
    earn: Annotated[bool, typer.Option("--earn", help="Evaluate SKILL and store what it earns.")] = False,
    policy: Annotated[
        str | None,
        typer.Option("--policy", help="To evaluate: zoo, latest, deployed or a version; default: what the home has."),
    ] = None,
    hours: Annotated[float, typer.Option("--hours", help="Robot time to evaluate for.", min=0.01)] = 3.2,
    rounds: Annotated[int, typer.Option("--rounds", help="Robots to try, each with other dynamics.", min=1)] = 8,
    seed: Annotated[int, typer.Option("--seed", help="Seed of dynamics and starts.", min=0)] = 0,
    skill_folder: SkillFolderOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show the tier of skills: sim-only, resettable, fall-safe or unattended; --earn runs the evaluation for it.

    A simulated robot is tried in dynamics that training never saw; of a real one the books of its home are read.
    """
    where = resolve_home(home)
    use_skills(skill_folder, where)
    config = _config(where, robot)
    spec, tasks = _tasks(where, config.run.robot, skill)
    if not earn:
        with _books(where) as store:
            _show(_judged(tasks, spec, config, store), json_)
        return
    if policy is not None:
        check_policy(policy)
    if skill is None:
        raise CliError("name the SKILL that is to earn a tier")
    facts = _earned(where, config, spec, tasks[0], policy, hours, rounds, seed, quiet=json_)
    if json_:
        out_json(facts)
    else:
        figures = facts["figures"]
        out(f"{skill} on {facts['robot']} (policy {facts['policy_version']}): {figures['tier']}")
        for line in facts["missing"]:
            out(f"for more: {line}")
        stored = f"evaluation {facts['id']} of {where}" if facts["id"] else f"not stored: {where} has no books yet"
        out(stored)


def _earned(
    where: Path,
    config: Config,
    spec: RobotSpec,
    task: Skill,
    policy: str | None,
    hours: float,
    rounds: int,
    seed: int,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Evaluate a task, and store the evaluation where there are books."""
    from agent.inbox import EVALUATED, Request, request
    from agent.tier_books import evaluation_of, judge, read_evidence
    from agent.tiers import standing
    from persistence.checkpoints import checkpoint_seqs
    from persistence.home import Home, typed

    if spec.simulated:
        from agent.tier_trial import try_out

        which = policy or ("latest" if checkpoint_seqs(Home(where).checkpoints) else "zoo")
        evidence, version = try_out(
            task,
            config.run.robot,
            which,
            where,
            hours=hours,
            rounds=rounds,
            seed=seed,
            told=(lambda line: None) if quiet else out,
        )
        row = evaluation_of(task, config.run.robot, evidence, version, "held-out", seed)
    else:
        with _books(where) as store:
            if store is None:
                raise CliError(f"{where} has no books of this robot yet; {typed('run --attended', where)} makes them")
            evidence = read_evidence(store, task.name, can_fall=bool(spec.n_feet))
            version = judge(task, (config.run.robot, spec.name), config, store).version
        row = evaluation_of(task, config.run.robot, evidence, version)
    stored = request(where, Request(kind=EVALUATED, data=row)) if Home(where).db.is_file() else {"id": None}
    return {**row, "missing": list(standing(evidence).missing), **stored}


def _config(where: Path, robot: str | None) -> Config:
    """That of the home; where there is none, a run that begins with the zoo."""
    from agent.config import Config
    from agent.stored_config import stored_config
    from persistence.home import Home

    config = stored_config(where) if Home(where).db.is_file() else Config.load(None, {"run.start": "zoo"})
    return config if robot is None else Config.load(None, Config().changes(config) | {"run.robot": robot})


def _tasks(where: Path, robot: str, skill: str | None) -> tuple[RobotSpec, tuple[Skill, ...]]:
    """The robot, and its tasks, or the one that is named.

    Raises:
        CliError: a daemon has the robot.
    """
    from agent.opening import abilities_of
    from agent.robots import load_robot
    from persistence.home import Home, lock_holder, typed

    if lock_holder(Home(where)) is not None:
        # A driver serves one process.
        raise CliError(f"a daemon uses {where}; {typed('stop', where)} first, or name another home")
    made = load_robot(robot, 0)
    try:
        return made.spec, abilities_of((skill,) if skill else (), made.spec).tasks
    finally:
        made.close()


@contextlib.contextmanager
def _books(where: Path) -> Iterator[Store | None]:
    """Of a home; None where there are none."""
    from agent.cli_policies import open_books
    from persistence.home import Home

    if not Home(where).db.is_file():
        yield None
        return
    with open_books(where) as store:
        yield store


def _judged(tasks: tuple[Skill, ...], spec: RobotSpec, config: Config, store: Store | None) -> list[tuple[str, Judged]]:
    from agent.tier_books import judge

    return [(task.name, judge(task, (config.run.robot, spec.name), config, store)) for task in tasks]


def _show(judged: list[tuple[str, Judged]], json_: bool) -> None:
    facts = [
        {
            "skill": name,
            "tier": each.standing.tier.value,
            "missing": list(each.standing.missing),
            "policy_version": each.version,
            "evaluated_version": each.evaluated_version,
            "source": each.source,
            "dynamics": each.dynamics,
            "wall_utc": each.wall_utc,
            "evidence": each.evidence.facts() if each.evidence is not None else None,
        }
        for name, each in judged
    ]
    if json_:
        out_json(facts)
        return
    columns = ("skill", "tier", "policy_version", "evaluated_version", "source", "missing")
    out_table(columns, ([row[column] for column in columns] for row in facts))
