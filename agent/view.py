"""The live view of a run: a panel on a terminal, one plain line every few seconds elsewhere.

It runs in a process of its own (``python -m agent.view``), so that drawing never takes time from the control loop. It
ends when its standard input does, which is when the daemon's process ends, however that happens.
"""

from __future__ import annotations

import argparse
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from agent.status import Status, read_status

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAIN_INTERVAL_S = 10.0
LIVE_INTERVAL_S = 0.5

_STATE_STYLES = {
    "ATTEMPT": "green",
    "RESET": "green",
    "ARMING": "green",
    "DEGRADED": "yellow",
    "HOLD": "yellow",
    "FALLING": "yellow",
    "RECOVER": "yellow",
    "NEED_HUMAN": "bold red",
    "SAFE_STOP": "bold red",
    "ESTOP": "bold red",
}


def duration(seconds: float) -> str:
    """Seconds as ``1:02:03``."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def hours(value: float | None) -> str:
    """Hours with three significant digits; a dash when there is no figure."""
    return "-" if value is None else f"{value:.3g} h"


def mtbf(status: Status) -> str:
    """The estimate with its interval, or the lower bound alone while there was no failure."""
    if status.mtbf_hours is None:
        return "-" if status.mtbf_lower_hours is None else f"> {hours(status.mtbf_lower_hours)}, no failure yet"
    return f"{hours(status.mtbf_hours)} ({hours(status.mtbf_lower_hours)} to {hours(status.mtbf_upper_hours)})"


def speed(status: Status) -> str:
    """Forward speed of the last forward walk."""
    return "-" if status.speed_mps is None else f"{status.speed_mps:.2f} m/s"


def drift(status: Status) -> str:
    """Whether the robot is what it was."""
    if status.drift is None:
        return "-"
    since = "" if status.drift_since_s is None else f" for {duration(status.robot_s - status.drift_since_s)}"
    known = "".join(f", {what}" for what in (status.drift_joint, status.drift_cause) if what)
    return f"{status.drift}{since}{known}"


def plain_line(status: Status) -> str:
    """One line with everything that matters, for logs and pipes."""
    policy = "-" if status.policy_version is None else str(status.policy_version)
    parts = [
        duration(status.robot_s),
        f"state={status.state}",
        f"skill={status.skill or '-'}",
        f"attempts={status.attempts}",
        f"speed={speed(status)}",
        f"falls={status.falls}",
        f"interventions={status.interventions}",
        f"mtbf={mtbf(status)}",
        *([f"drift={drift(status)}"] if status.drift_since_s is not None else []),
        f"learner={status.updates_per_s:.0f}/s",
        f"policy={policy}",
        f"x{status.realtime_factor:.1f}",
    ]
    if status.last_error:
        parts.append(f"error={status.last_error}")
    return "  ".join(parts)


def panel(status: Status) -> RenderableType:
    """The same as a panel for a terminal."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for _ in range(2):
        grid.add_column(style="dim", justify="right")
        grid.add_column(min_width=23)
    state = Text(status.state, style=_STATE_STYLES.get(status.state, "cyan"))
    policy = "-" if status.policy_version is None else str(status.policy_version)
    human = f"{status.interventions} ({status.failures} failures)"
    grid.add_row("state", state, "robot time", f"{duration(status.robot_s)} (x{status.realtime_factor:.1f})")
    grid.add_row("skill", Text(status.skill or "-"), "attempts", str(status.attempts))
    grid.add_row("speed", speed(status), "falls", f"{status.falls}, self-recoveries {status.self_recoveries}")
    grid.add_row("learner", f"{status.updates_per_s:.0f} updates/s", "interventions", human)
    grid.add_row("policy", f"version {policy}", "MTBF", mtbf(status))
    if status.drift is not None:
        grid.add_row("drift", drift(status))
    parts: list[RenderableType] = [grid]
    if status.last_error:
        parts.append(Text(f"last error: {status.last_error}", style="red"))
    title = Text(f"perdure  run {status.run_id or '-'}  {status.robot}  seed {status.seed}  {status.mode}")
    return Panel(Group(*parts), title=title, subtitle=Text(status.home), expand=False)


class PlainView:
    """Prints a line at most every ``interval_s`` seconds, whenever a person is needed, and at the end."""

    def __init__(self, out: IO[str], interval_s: float = PLAIN_INTERVAL_S) -> None:
        self._out = out
        self._interval_s = interval_s
        self._next_s = 0.0
        self._state = ""

    def update(self, status: Status, now_s: float) -> None:
        """Show ``status`` if it is time; ``now_s`` is monotonic wall time."""
        news = status.state != self._state and status.state in ("NEED_HUMAN", "SAFE_STOP", "ESTOP", "SHUTDOWN")
        self._state = status.state
        if now_s >= self._next_s or news:
            self._next_s = now_s + self._interval_s
            self._out.write(plain_line(status) + "\n")
            self._out.flush()


def follow(home: Path, pid: int, end: IO[str], interval_s: float = PLAIN_INTERVAL_S) -> None:
    """Show the run of process ``pid`` until ``end`` (a pipe from that process) is closed."""
    if not sys.stdout.isatty():
        view = PlainView(sys.stdout, interval_s)
        for status in _statuses(home, pid, end):
            view.update(status, time.monotonic())
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        for status in _statuses(home, pid, end):
            live.update(panel(status), refresh=True)


def _statuses(home: Path, pid: int, end: IO[str]) -> Iterator[Status]:
    """Each new status of process ``pid``, and its last one after the end."""
    last = None
    ended = False
    while not ended:
        ended = bool(select.select([end], [], [], LIVE_INTERVAL_S)[0])
        try:
            status = read_status(home).status
        except (ValueError, OSError):
            continue
        if status is not None and status.pid == pid and status != last:
            last = status
            yield status


@contextmanager
def viewer(home: Path, pid: int, interval_s: float = PLAIN_INTERVAL_S) -> Iterator[None]:
    """Show the run of process ``pid`` from a child process while the body runs."""
    command = [sys.executable, "-m", "agent.view", str(home), str(pid), str(interval_s)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        if child.stdin is not None:
            child.stdin.close()
        try:
            child.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _main() -> None:
    parser = argparse.ArgumentParser(description="Show a run until standard input ends.")
    parser.add_argument("home", type=Path)
    parser.add_argument("pid", type=int)
    parser.add_argument("interval_s", type=float)
    arguments = parser.parse_args()
    # The daemon answers Ctrl-C with a safe stop; the view stays until that is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow(arguments.home, arguments.pid, sys.stdin, arguments.interval_s)


if __name__ == "__main__":
    _main()
