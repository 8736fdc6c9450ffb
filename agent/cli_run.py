"""``perdure run``, ``status`` and what an operator says to a running daemon."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli_common import CliError, existing_home, out, out_json, resolve_home
from agent.cli_options import HomeOption, JsonOption, OperatorOption, PartReplacedOption, SkillFolderOption
from agent.guard import is_guarded, replaces_after_s

if TYPE_CHECKING:
    from agent.config import Config


ACKNOWLEDGED_S = 3.0
"""An acknowledgement takes effect, and shows in the status, within this time."""


def run(
    context: typer.Context,
    home: HomeOption = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Configuration file; default: perdure.toml in the home.")
    ] = None,
    robot: Annotated[str | None, typer.Option("--robot", help="Name of an installed robot, or gym:ID.")] = None,
    skills: Annotated[
        str | None, typer.Option("--skills", help="Skills that may run, separated by commas; default: all.")
    ] = None,
    skill_folder: SkillFolderOption = None,
    hours: Annotated[float | None, typer.Option("--hours", help="Stop after this many hours of robot time.")] = None,
    attempts: Annotated[int | None, typer.Option("--attempts", help="Stop after this many attempts.")] = None,
    speed: Annotated[
        str | None, typer.Option("--speed", help="realtime: wall clock; max: as fast as physics goes, repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", help="What an empty home begins with: nothing or zoo; or deployed."),
    ] = None,
    reset_free: Annotated[
        bool | None,
        typer.Option("--reset-free/--no-reset-free", help="A gym:ID environment is reset only by the person."),
    ] = None,
    attended: Annotated[
        bool | None,
        typer.Option("--attended/--unattended", help="A person is beside the real robot: skills may run untried."),
    ] = None,
    web: Annotated[bool | None, typer.Option("--web/--no-web", help="Serve a web page; there is none yet.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start from an empty home; what is in it is moved aside, not deleted.")
    ] = False,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting as section.key=value; may be repeated.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="No view; the last status as JSON at the end.")] = False,
) -> int:
    """Start the daemon; it runs until --hours, --attempts, `perdure stop` or Ctrl-C."""
    from agent.config import CONFIG_NAME, Config, parse_assignment
    from persistence.home import Home

    where = resolve_home(home)
    if config is None and (where / CONFIG_NAME).is_file():
        config = where / CONFIG_NAME
    overrides: dict[str, Any] = {
        "run.robot": robot,
        "run.skills": _names(skills),
        "run.skill_folders": [str(folder.absolute()) for folder in skill_folder] if skill_folder else None,
        "run.hours": hours,
        "run.attempts": attempts,
        "run.speed": speed,
        "run.seed": seed,
        "run.start": start,
        "run.reset_free": reset_free,
        "run.attended": attended,
        "run.web": web,
    }
    given = {name: value for name, value in overrides.items() if value is not None}
    settings = Config.load(config, dict(parse_assignment(text) for text in changes or ()) | given)
    check_names(settings)
    if settings.run.web:
        raise CliError("run.web is true, but this version has no web page yet; use --no-web, and `perdure status`")
    Home(where).prepare()
    if not is_guarded():
        _refuse_second_daemon(where)
        if settings.run.speed == "realtime" and context.obj:
            os.execv(sys.executable, [sys.executable, "-m", "agent.guard", str(where), "--", *sys.orig_argv])
    elif passed_s := replaces_after_s():
        fresh = False
        if settings.run.hours is not None:
            settings = replace(settings, run=replace(settings.run, hours=_left(settings.run.hours, passed_s)))
    from agent.daemon import run_daemon
    from agent.view import viewer

    with nullcontext() if json_ else viewer(where, os.getpid()):
        code = run_daemon(settings, where, fresh)
    if json_:
        from agent.status import read_status

        out_json(read_status(where).to_dict())
    return code


def _left(hours: float, passed_s: float) -> float:
    """Hours that are left of a run; at least a second, so that it ends as it should."""
    return max(hours - passed_s / 3600.0, 1.0 / 3600.0)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def check_names(config: Config) -> None:
    """Refuse a robot or a skill that is not installed, before anything is created or imported for it.

    Raises:
        ConfigError: unknown name, with the valid ones.
    """
    from importlib.metadata import entry_points

    from agent.robots import GROUP, GYM_PREFIX
    from agent.settings import ConfigError, unknown_name

    robots = entry_points(group=GROUP).names
    if config.run.robot not in robots and not config.run.robot.startswith(GYM_PREFIX):
        raise ConfigError(unknown_name("robot", config.run.robot, robots))
    if config.run.skills or config.run.skill_folders:
        from skills.registry import skills, use_folders

        _check_files(config)
        use_folders(config.run.skill_folders)
        known = skills()
        for name in config.run.skills:
            if name not in known:
                raise ConfigError(unknown_name("skill", name, known))


def _check_files(config: Config) -> None:
    """Try skills of a user's own in a process of their own before they are loaded here.

    Raises:
        ConfigError: one does not keep what a skill promises.
    """
    from agent.settings import ConfigError
    from agent.skill_check import check
    from skills.folders import skill_files

    for path in (path for folder in config.run.skill_folders for path in skill_files(Path(folder))):
        if problems := check(path, config.run.robot):
            first = problems[0]
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise ConfigError(
                f"skill file {path}: {first.skill or 'no skill'}: {first.where} {first.what}; {first.mend}{more}. "
                f"`perdure skills check {path} --robot {config.run.robot}` says it all"
            )


def _refuse_second_daemon(where: Path) -> None:
    """Say so before anything is loaded. The lock itself is taken by the daemon: this look decides nothing."""
    from persistence.home import Home, lock_holder, typed

    if owner := lock_holder(Home(where)):
        stop = typed("stop", where)
        raise CliError(
            f"another daemon (pid {owner.pid}) runs on {where}; stop it with {stop}, or choose another --home"
        )


def status(home: HomeOption = None, json_: JsonOption = False) -> None:
    """What the daemon is doing now."""
    from agent.cli_status import show_status

    show_status(home, json_)


def stop(
    home: HomeOption = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the end.", min=0.0)] = 30.0,
    json_: JsonOption = False,
) -> None:
    """Stop the daemon: safe pose, torque off, everything stored; waits until it has ended."""
    from persistence.home import Home, lock_holder

    where = existing_home(home)
    paths = Home(where)
    owner = lock_holder(paths)
    if owner is None:
        raise CliError(f"no daemon runs on {where}; name the home of a running one with --home")
    if owner.pid <= 1:
        raise CliError(f"the lock of {where} is held, but names no process; try again in a second")
    started = time.monotonic()
    os.kill(owner.pid, signal.SIGTERM)
    while lock_holder(paths) is not None:
        if time.monotonic() - started > timeout:
            raise CliError(f"the daemon (pid {owner.pid}) has not ended within {timeout:g} s; it may still be stopping")
        time.sleep(0.05)
    seconds = round(time.monotonic() - started, 2)
    if json_:
        out_json({"stopped": True, "pid": owner.pid, "seconds": seconds})
    else:
        out(f"stopped (pid {owner.pid}, {seconds:g} s)")


def resume(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Allow motion again after an intervention was closed; closing one never starts the robot by itself."""
    from agent.cli_interventions import login
    from agent.inbox import RESUME, Request, request
    from agent.states import LATCHING
    from agent.status import read_status
    from persistence.home import typed

    where = existing_home(home)
    deadline_s = time.monotonic() + ACKNOWLEDGED_S
    while (now := read_status(where)).running and now.status is not None and now.status.state in LATCHING:
        if time.monotonic() > deadline_s:
            told = typed("ack --action ...", where)
            raise CliError(f"the robot is held in {now.status.state}; say with {told} that it has been helped")
        time.sleep(0.1)
    request(where, Request(kind=RESUME, data={"operator": login()}))
    if json_:
        out_json({"resumed": True})
    else:
        out("motion is allowed again")


def estop(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Cut the torque at once, whatever the daemon does; it stays off until `perdure ack --released` and `resume`."""
    from agent.guard import ask_guard
    from persistence.home import typed

    where = existing_home(home)
    answer = ask_guard(where, {"do": "estop"})
    if json_:
        out_json(answer)
    else:
        release = typed("ack --released --action ...", where)
        out(f"torque is cut; release with {release}, then {typed('resume', where)}")


def ack(
    action: Annotated[str, typer.Option("--action", help="What was done, and why the robot may go on.")],
    released: Annotated[bool, typer.Option("--released", help="The emergency stop was released at the robot.")] = False,
    part_replaced: PartReplacedOption = False,
    operator: OperatorOption = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Say that the robot has been helped, closing all open interventions; it moves again after `perdure resume`."""
    from agent.cli_interventions import login
    from agent.inbox import ACKNOWLEDGE, Request, request

    if not action.strip():
        raise CliError("--action is empty; say what was done")
    data = {
        "operator": operator or login(),
        "action": action.strip(),
        "released": released,
        "part_replaced": part_replaced,
    }
    answer = request(existing_home(home), Request(kind=ACKNOWLEDGE, data=data))
    if json_:
        out_json(answer)
    else:
        out(f"acknowledged; {answer['closed']} interventions closed")
