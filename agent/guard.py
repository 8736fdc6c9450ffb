"""The guard: a small process that owns the torque permit, and starts the daemon again when it hangs or crashes.

    python -m agent.guard HOME -- COMMAND...

It runs COMMAND, the daemon, as its child. Whatever becomes of that, the robot's process obeys the permit that the guard
writes (`agent.permit`), so silence of the control loop ends in damping and then in no torque, and `perdure estop` works
when everything else hangs. What it latches is kept in the home and cleared by a person alone. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.guard_watch import GuardWatch
from agent.latches import Acknowledgement, Latches, Level
from agent.permit import Permission, PermitMemory, runtime_dir
from agent.states import State
from persistence.files import atomic_write_json
from persistence.home import typed

LATCHES = "guard.json"
"""In the home: what the guard has latched."""
SOCKET = "guard.sock"
PERMIT = "permit"
PERIOD_S = 0.02
RETRY_S = 1.0
"""Between two tries to store latches."""
LONGEST_REQUEST = 4096
GUARDED_S = "PERDURE_GUARDED_S"
"""In the environment of a daemon under a guard: for how long the guard has run when it was started, 0 for the first."""
ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals by which somebody asks for the end."""
PRIORITY = 20
"""Above the control loop and the robot's process: it takes a hundredth of the time, and must not come late."""
UNREADABLE = "guard_latches_unreadable"


def is_guarded() -> bool:
    """Whether this process is a daemon under a guard."""
    return GUARDED_S in os.environ


def replaces_after_s() -> float:
    """For how long the guard had run when it started this daemon in place of another; 0: a person started it."""
    return float(os.environ.get(GUARDED_S, "0"))


def permit_path(home: Path) -> Path:
    """Where the permit of a home is shared."""
    return runtime_dir(home) / PERMIT


def stored_latches(home: Path) -> Latches:
    """What a guard of this home latched before; what cannot be read is itself a cause, for it held some.

    The time at which each was latched is 0: the clock may have begun anew since.
    """
    latches = Latches()
    for path in (home / LATCHES, runtime_dir(home) / LATCHES):
        try:
            stored = Latches.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError):
            stored = Latches().add(UNREADABLE, Level.L3, State.ESTOP, 0.0, active=False)
        for latch in stored:
            latches = latches.add(latch.cause, latch.level, latch.state, 0.0, active=latch.active)
    return latches


class Guard:
    """Permit, latches and operators of one home."""

    def __init__(self, home: Path) -> None:
        """Take over the permit; until a control loop answers there is no torque."""
        self._home = home
        self.watch = GuardWatch(stored_latches(home))
        in_memory = (runtime_dir(home) / LATCHES).exists()
        self._stored = None if in_memory else self.watch.latches
        """What is on disk; None where that is not all."""
        self._store_s = 0.0
        self._permit = PermitMemory(permit_path(home))
        self._permit.leave()
        self._permit.challenge()
        self._permit.allow(Permission.STOP, latched=bool(self.watch.latches))
        self._server = listen(runtime_dir(home) / SOCKET)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)

    def turn(self) -> Permission:
        """One turn of the guard's loop: wait for an operator for at most `PERIOD_S`, then look and decide."""
        for key, _ in self._selector.select(PERIOD_S):
            if key.fileobj is self._server:
                self._serve_operator()
        now_s = time.monotonic()
        if self._permit.answered:
            self.watch.heard(now_s)
            self._permit.challenge()
        elif self._permit.left:
            self.watch.gone()
        permission = self._enforce(now_s)
        self._store(now_s)  # afterwards: no robot and no operator waits for the disk
        return permission

    @property
    def left(self) -> bool:
        """Whether the daemon's control loop has ended as it should."""
        return self._permit.left

    def daemon_gone(self) -> None:
        """The daemon's process has ended: an answer that it left behind counts no more."""
        self._permit.leave()
        self.watch.gone()

    def close(self) -> bool:
        """Leave the robot without torque. Returns whether what is latched is on disk; else it is in memory alone."""
        self._permit.allow(max(Permission.STOP, self._permit.permission), latched=bool(self.watch.latches))
        kept = self._store(time.monotonic(), at_once=True)
        if not kept:
            self._note()
        self._selector.close()
        Path(self._server.getsockname()).unlink(missing_ok=True)
        self._server.close()
        self._permit.close()
        return kept

    def _enforce(self, now_s: float) -> Permission:
        """Put in force what follows from silence and latches."""
        permission = self.watch.update(now_s)
        self._permit.allow(permission, latched=bool(self.watch.latches))
        return permission

    def _note(self) -> None:
        """Keep what is latched in memory that outlives this process, which takes no time, until it is on disk."""
        if self.watch.latches != self._stored:
            with contextlib.suppress(OSError):
                atomic_write_json(runtime_dir(self._home) / LATCHES, self.watch.latches.to_json())

    def _store(self, now_s: float, *, at_once: bool = False) -> bool:
        """Keep what is latched. Returns whether it is on disk; a full disk is tried again after a while."""
        if self.watch.latches == self._stored:
            return True
        if not at_once and now_s < self._store_s:
            return False
        try:
            atomic_write_json(self._home / LATCHES, self.watch.latches.to_json())
        except OSError:
            self._store_s = now_s + RETRY_S
            return False
        self._stored = self.watch.latches
        (runtime_dir(self._home) / LATCHES).unlink(missing_ok=True)
        return True

    def _serve_operator(self) -> None:
        """Answer one request; an operator who says nothing or nonsense cannot hold up the guard."""
        try:
            connection, _ = self._server.accept()
            with connection:
                connection.settimeout(PERIOD_S)
                connection.sendall(json.dumps(self._answer(connection)).encode())
        except OSError:  # the operator is gone
            return

    def _answer(self, connection: socket.socket) -> dict[str, Any]:
        try:
            return self._carry_out(json.loads(connection.recv(LONGEST_REQUEST)))
        except Exception as error:  # whatever comes through the socket, the guard lives on
            return {"error": str(error) or type(error).__name__}

    def _carry_out(self, request: Mapping[str, Any]) -> dict[str, Any]:
        now_s = time.monotonic()
        if request["do"] == "estop":
            self.watch.estop(now_s)
        elif request["do"] == "acknowledge":
            by = Acknowledgement(
                name=str(request["name"]),
                action=str(request["action"]),
                torque_off=self._permit.permission >= Permission.STOP,
                physical_release=request["released"] is True,
                given_s=float(request.get("given_s", math.inf)),
            )
            if self.watch.latches:
                self.watch.acknowledge(by)
        elif request["do"] != "status":
            raise ValueError(f"unknown request {request['do']!r}; valid: estop, acknowledge, status")
        self._enforce(now_s)  # before the answer: whoever gets it acts on it
        self._note()
        return {"permission": self._permit.permission.name, "latches": self.watch.latches.to_json()}


def listen(path: Path) -> socket.socket:
    """A socket at ``path`` that this user alone can connect to."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        server.bind(str(path))
    finally:
        os.umask(before)
    server.listen(8)
    return server


def ask_guard(home: Path, request: Mapping[str, Any], timeout_s: float = 1.0) -> dict[str, Any]:
    """Have a guard carry out a request.

    Returns:
        ``permission`` and ``latches`` afterwards.

    Raises:
        ConnectionError: no guard runs for this home, or it does not answer.
        ValueError: it refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(runtime_dir(home) / SOCKET))
            connection.sendall(json.dumps(dict(request)).encode())
            answer = json.loads(connection.recv(1 << 16))
        except OSError as error:
            raise ConnectionError(
                f"no guard answers for {home}: one runs beside `perdure run --speed realtime` alone; "
                f"end any other run with {typed('stop', home)}"
            ) from error
    if "error" in answer:
        raise ValueError(str(answer["error"]))
    return dict(answer)


def supervise(home: Path, command: Sequence[str]) -> int:
    """Run the daemon under the guard until it ends by its own will. Returns its exit code."""
    with contextlib.suppress(OSError):  # where the system allows it; what it starts is scheduled as usual
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    lock = (runtime_dir(home) / "guard.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write(f"Error: another guard runs for {home}; stop it with {typed('stop', home)}\n")
        return 1
    guard = Guard(home)
    daemon = _Daemon(command)
    for number in ASKED:
        signal.signal(number, daemon.ask)
    try:
        daemon.start()
        guard.watch.begun(time.monotonic())
        while True:
            guard.turn()
            if guard.watch.frozen and daemon.poll() is None:
                daemon.kill()
            code = daemon.poll()
            if code is None:
                continue
            wanted = daemon.asked or guard.left
            guard.daemon_gone()
            if code >= 0 or wanted or -code in ASKED or not guard.watch.crashed(time.monotonic()):
                guard.turn()
                return code if code >= 0 else 128 - code
            daemon.start()
            guard.watch.begun(time.monotonic())
    finally:
        if guard.close():
            shutil.rmtree(runtime_dir(home), ignore_errors=True)
        else:
            sys.stderr.write(
                f"Error: {home / LATCHES} cannot be written; what holds the robot is kept until a reboot\n"
            )


class _Daemon:
    """The guard's child, started again and again."""

    def __init__(self, command: Sequence[str]) -> None:
        self.asked = False
        """Whether somebody has asked for the end."""
        self._command = command
        self._begun_s = time.monotonic()
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; tells it for how long the guard has run, 0 the first time."""
        guarded_s = 0.0 if self._child is None else time.monotonic() - self._begun_s
        self._child = subprocess.Popen(self._command, env=os.environ | {GUARDED_S: f"{guarded_s:.3f}"})
        if self.asked:  # while it was being started
            self._child.terminate()

    def ask(self, number: int, frame: object) -> None:
        """Handle a signal to the guard: the daemon ends, then the guard. A terminal tells both, which counts once."""
        del frame
        self.asked = True
        if self._child is not None:
            self._child.send_signal(number)

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        assert self._child is not None
        return self._child.poll()

    def kill(self) -> None:
        """End it at once."""
        assert self._child is not None
        self._child.kill()


def main() -> int:
    """Run from a command line."""
    home, separator, *command = sys.argv[1:]
    if separator != "--" or not command:
        sys.stderr.write("usage: python -m agent.guard HOME -- COMMAND...\n")
        return 2
    return supervise(Path(home), command)


if __name__ == "__main__":
    sys.exit(main())
