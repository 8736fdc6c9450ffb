"""Whether a skill keeps its promises, before it drives a robot: tried on a simulated one, in a process of its own.

The process that tries it (`agent.skill_trial`) may be hung, killed, or eat all memory by what it tries; the one that
asks only reads what it says, function by function, so that even then it knows which one it was.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

STAGE_TIMEOUT_S = 10.0
"""A function that takes longer hangs. Starting Python and the simulator counts as one, so it is generous."""
NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")


@dataclass(frozen=True)
class Problem:
    """Something that a skill does not keep."""

    skill: str
    """Empty where no skill could be loaded."""
    where: str
    """The function or field."""
    what: str
    mend: str


def check(what: Path | str, robot: str) -> list[Problem]:
    """Try a skill, or all skills of a file, on a robot.

    Args:
        what: a file, as `skills.folders.load_file` takes it, or the name of a built-in or installed skill.
        robot: name of an installed simulated robot, or ``gym:ID``.

    Returns:
        What is wrong, in the order in which it was found; nothing where all is well.
    """
    command = [sys.executable, "-B", "-m", "agent.skill_trial", str(what), robot]
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as told:
        child = subprocess.Popen(
            [*command, str(write)], pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(write)
        try:
            return _listen(child, told.fileno())
        finally:
            child.kill()
            child.wait()


def _listen(child: subprocess.Popen[bytes], told: int) -> list[Problem]:
    problems: list[Problem] = []
    skill, stage, rest = "", "starting", b""
    deadline = time.monotonic() + STAGE_TIMEOUT_S
    while True:
        if not select.select([told], [], [], max(0.0, deadline - time.monotonic()))[0]:
            what, mend = f"takes longer than {STAGE_TIMEOUT_S:g} s", "functions return at once; look for endless loops"
            return [*problems, Problem(skill, stage, what, mend)]
        data = os.read(told, 1 << 16)
        if not data:
            code = child.wait()
            what = f"ends the process with {'signal' if code < 0 else 'code'} {abs(code)}"
            return [*problems, Problem(skill, stage, what, "nothing may exit, and no memory may run out")]
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "stage" in message:
                skill, stage = message["skill"], message["stage"]
                deadline = time.monotonic() + STAGE_TIMEOUT_S
            elif "problem" in message:
                problems.append(Problem(**message["problem"]))
            else:
                return problems
