"""``perdure run``, ``status`` and ``stop``."""

from __future__ import annotations

import os
import signal
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli_common import CliError, existing_home, out, out_json, resolve_home
from agent.cli_options import HomeOption, JsonOption

if TYPE_CHECKING:
    from agent.config import Config


def run(
    home: HomeOption = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Configuration file; default: perdure.toml in the home.")
    ] = None,
    robot: Annotated[str | None, typer.Option("--robot", help="Name of an installed robot, or gym:ID.")] = None,
    skills: Annotated[
        str | None, typer.Option("--skills", help="Skills that may run, separated by commas; default: all.")
    ] = None,
    hours: Annotated[float | None, typer.Option("--hours", help="Stop after this many hours of robot time.")] = None,
    attempts: Annotated[int | None, typer.Option("--attempts", help="Stop after this many attempts.")] = None,
    speed: Annotated[
        str | None, typer.Option("--speed", help="realtime: wall clock; max: as fast as physics goes, repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")] = None,
    start: Annotated[
        str | None, typer.Option("--start", help="What an empty home begins with: nothing, or the zoo's trained state.")
    ] = None,
    reset_free: Annotated[
        bool | None,
        typer.Option("--reset-free/--no-reset-free", help="A gym:ID environment is reset only by the person."),
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
        "run.hours": hours,
        "run.attempts": attempts,
        "run.speed": speed,
        "run.seed": seed,
        "run.start": start,
        "run.reset_free": reset_free,
        "run.web": web,
    }
    given = {name: value for name, value in overrides.items() if value is not None}
    settings = Config.load(config, dict(parse_assignment(text) for text in changes or ()) | given)
    check_names(settings)
    if settings.run.web:
        raise CliError("run.web is true, but this version has no web page yet; use --no-web, and `perdure status`")
    Home(where).prepare()
    _refuse_second_daemon(where)
    from agent.daemon import run_daemon
    from agent.view import viewer

    with nullcontext() if json_ else viewer(where, os.getpid()):
        code = run_daemon(settings, where, fresh)
    if json_:
        from agent.status import read_status

        out_json(read_status(where).to_dict())
    return code


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
    if config.run.skills:
        from skills.registry import skills

        known = skills()
        for name in config.run.skills:
            if name not in known:
                raise ConfigError(unknown_name("skill", name, known))


def _refuse_second_daemon(where: Path) -> None:
    """Say so before anything is loaded. The lock itself is taken by the daemon: this look decides nothing."""
    from persistence.home import Home, lock_holder

    if owner := lock_holder(Home(where)):
        raise CliError(
            f"another daemon (pid {owner.pid}) runs on {where}; stop it with `perdure stop`, or choose another --home"
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

    where = existing_home(home)
    request(where, Request(kind=RESUME, data={"operator": login()}))
    if json_:
        out_json({"resumed": True})
    else:
        out("motion is allowed again")
