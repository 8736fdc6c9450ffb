"""The guard with real processes: a daemon that hangs, crashes or ends, operators, and what outlives them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent import guard as guard_module
from agent.guard import LATCHES, SOCKET, UNREADABLE, Guard, ask_guard, permit_path, stored_latches
from agent.guard_watch import ESTOP, SILENT_LOOP
from agent.permit import Permission, PermitMemory, runtime_dir

LOOP = """
import os, sys, time
from pathlib import Path
from agent.guard import permit_path
from agent.permit import PermitMemory
home = Path(sys.argv[1])
permit = PermitMemory(permit_path(home))
with (home / "starts").open("a") as file:
    file.write("x")
end_s = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end_s:
    permit.renew()
    time.sleep(0.02)
permit.leave()
code = int(sys.argv[3])
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""
"""A daemon that does nothing but renew its permit; a negative exit code is a signal that it dies of after its end."""


def until(condition, seconds: float = 20.0):
    deadline_s = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.01)
    return found


@pytest.fixture
def home(tmp_path):
    yield tmp_path
    shutil.rmtree(runtime_dir(tmp_path))


@pytest.fixture
def supervised(home):
    """Starts a guard over a stand-in for the daemon; returns the guard's process and the permit."""
    made: list[subprocess.Popen] = []

    def start(seconds: float = 60.0, code: int = 0) -> tuple[subprocess.Popen, PermitMemory]:
        daemon = (sys.executable, "-c", LOOP, str(home), str(seconds), str(code))
        made.append(subprocess.Popen((sys.executable, "-m", "agent.guard", str(home), "--", *daemon)))
        return made[-1], PermitMemory(permit_path(home))

    yield start
    for process in made:
        for pid in children(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def starts(home: Path) -> int:
    return len((home / "starts").read_text()) if (home / "starts").exists() else 0


class TestSupervision:
    def test_a_daemon_that_renews_has_torque_and_its_end_is_the_guards(self, supervised, home):
        process, permit = supervised(1.0, code=3)
        until(lambda: permit.permission is Permission.TORQUE)
        assert process.wait(10.0) == 3
        assert permit.permission >= Permission.DAMPING
        assert starts(home) == 1
        until(lambda: stored_latches(home).level is None)

    def test_one_that_hangs_is_stopped_latched_and_replaced(self, supervised, home):
        process, permit = supervised()
        until(lambda: permit.permission is Permission.TORQUE)
        (daemon,) = children(process.pid)
        os.kill(daemon, signal.SIGSTOP)
        begun_s = time.monotonic()
        until(lambda: permit.permission >= Permission.DAMPING)
        assert time.monotonic() - begun_s < 0.3
        until(lambda: permit.permission is Permission.STOP)
        until(lambda: starts(home) == 2)
        assert daemon not in children(process.pid)
        time.sleep(0.3)  # the new one renews, and yet: a person has to look first
        assert permit.permission is Permission.STOP
        assert [latch.cause for latch in stored_latches(home)] == [SILENT_LOOP]
        assert starts(home) == 2

    def test_one_that_crashes_is_replaced_and_nothing_is_latched(self, supervised, home):
        process, permit = supervised()
        until(lambda: permit.permission is Permission.TORQUE)
        os.kill(children(process.pid)[0], signal.SIGKILL)
        until(lambda: starts(home) == 2)
        until(lambda: permit.permission is Permission.TORQUE)

    def test_who_tells_the_guard_to_end_tells_the_daemon(self, supervised):
        process, permit = supervised()
        until(lambda: permit.permission is Permission.TORQUE)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5.0) == 128 + signal.SIGTERM

    def test_a_guard_that_is_killed_leaves_damping_at_most(self, supervised):
        process, permit = supervised()
        until(lambda: permit.permission is Permission.TORQUE)
        (daemon,) = children(process.pid)
        process.kill()
        process.wait()
        until(lambda: permit.permission is Permission.DAMPING, 1.0)
        os.kill(daemon, signal.SIGKILL)

    def test_it_is_small(self, supervised):
        process, permit = supervised()
        until(lambda: permit.permission is Permission.TORQUE)
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        (kilobytes,) = [int(line.split()[1]) for line in status if line.startswith("VmRSS")]
        assert kilobytes < 40_000

    def test_a_second_guard_of_the_same_home_is_refused(self, supervised, home):
        _, permit = supervised()
        until(lambda: permit.permission is Permission.TORQUE)
        second, _ = supervised()
        assert second.wait(10.0) == 1
        assert permit.permission is Permission.TORQUE
        assert starts(home) == 1

    def test_a_full_disk_stops_neither_the_guard_nor_the_robots_stop(self, home, monkeypatch):
        guard = Guard(home)

        def full(path, value):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(guard_module, "atomic_write_json", full)
            guard.watch.estop(time.monotonic())
            assert guard.turn() is Permission.CUT
        until(lambda: stored_latches(home).level is None)
        until(lambda: guard.turn() and stored_latches(home).level, 5.0)
        guard.close()

    def test_what_is_latched_outlives_a_guard_that_never_could_write_it(self, home, monkeypatch):
        def full(path, value):
            if path.parent == home:
                raise OSError(28, "No space left on device")
            return written(path, value)

        guard, written = Guard(home), guard_module.atomic_write_json
        with monkeypatch.context() as patched:
            patched.setattr(guard_module, "atomic_write_json", full)
            guard.watch.estop(time.monotonic())
            guard.turn()
            assert not guard.close()
        again = Guard(home)
        assert again.turn() is Permission.CUT
        assert again.close()
        assert (home / LATCHES).exists()

    def test_its_end_does_not_weaken_a_cut(self, home):
        guard, permit = Guard(home), PermitMemory(permit_path(home))
        guard.watch.estop(time.monotonic())
        guard.turn()
        guard.close()
        assert permit.permission is Permission.CUT

    @pytest.mark.parametrize("group", [False, True], ids=["the guard", "all processes"])
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_an_end_that_was_asked_for_is_no_crash(self, supervised, home, number, group):
        process, permit = supervised()
        until(lambda: permit.permission is Permission.TORQUE)
        if group:
            for child in children(process.pid):
                os.kill(child, number)
        process.send_signal(number)
        process.wait(5.0)
        assert starts(home) == 1

    def test_who_asks_while_the_daemon_hangs_gets_no_new_one(self, supervised, home):
        process, permit = supervised()
        until(lambda: permit.permission is Permission.TORQUE)
        os.kill(children(process.pid)[0], signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        process.wait(5.0)
        assert starts(home) == 1

    def test_a_crash_after_an_orderly_end_is_not_answered(self, supervised, home):
        process, _ = supervised(0.5, code=-signal.SIGSEGV)
        assert process.wait(10.0) == 128 + signal.SIGSEGV
        assert starts(home) == 1


class TestOperator:
    def test_an_emergency_stop_cuts_at_once_and_a_restart_does_not_clear_it(self, supervised, home):
        process, permit = supervised()
        until(lambda: permit.permission is Permission.TORQUE)
        assert ask_guard(home, {"do": "estop"})["permission"] == "CUT"
        assert permit.permission is Permission.CUT
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _, again = supervised()
        until(lambda: starts(home) == 2)
        time.sleep(0.3)
        assert again.permission is Permission.CUT

    def test_it_works_while_the_daemon_hangs(self, supervised, home):
        process, permit = supervised()
        until(lambda: permit.permission is Permission.TORQUE)
        os.kill(children(process.pid)[0], signal.SIGSTOP)
        assert ask_guard(home, {"do": "estop"})["permission"] == "CUT"

    def test_a_person_clears_it_with_a_release(self, supervised, home):
        _, permit = supervised()
        until(lambda: permit.permission is Permission.TORQUE)
        ask_guard(home, {"do": "estop"})
        request = {"do": "acknowledge", "name": "Anna", "action": "looked", "released": False}
        assert ask_guard(home, request)["latches"] != []
        assert ask_guard(home, request | {"released": True})["latches"] == []
        until(lambda: stored_latches(home).level is None)

    @pytest.mark.parametrize(
        "request_",
        [
            b"",
            b"nonsense",
            b"[]",
            b"{}",
            b'{"do": "start"}',
            b'{"do": "acknowledge"}',
            b'{"do": "acknowledge", "name": "", "action": "", "released": true}',
            b'{"do": "acknowledge", "name": "Anna", "action": "x", "released": true, "given_s": "now"}',
            b"x" * 5000,
            b"[" * 4096,
        ],
        ids=["nothing", "no JSON", "list", "no word", "unknown word", "nobody", "no name", "no time", "long", "deep"],
    )
    def test_nonsense_changes_nothing_and_holds_nothing_up(self, home, request_):
        guard = Guard(home)
        try:
            guard.watch.estop(0.0)
            with socket.socket(socket.AF_UNIX) as operator:
                operator.connect(str(runtime_dir(home) / SOCKET))
                operator.sendall(request_)
                begun_s = time.monotonic()
                assert guard.turn() is Permission.CUT
                assert time.monotonic() - begun_s < 0.2
                assert "error" in json.loads(operator.recv(1000))
            assert [latch.cause for latch in guard.watch.latches] == [ESTOP]
        finally:
            guard.close()

    def test_only_yes_means_released(self, home):
        guard = Guard(home)
        try:
            guard.watch.estop(0.0)
            guard.turn()
            request = {"do": "acknowledge", "name": "Anna", "action": "looked", "released": "no"}
            assert guard._carry_out(request)["latches"] != []
        finally:
            guard.close()

    def test_without_a_guard_it_says_how_to_get_one(self, home):
        with pytest.raises(ConnectionError, match="perdure run --speed realtime"):
            ask_guard(home, {"do": "status"})


class TestLatches:
    @pytest.mark.parametrize("text", ["", "{", "[1]", '[{"cause": "x"}]', "null"])
    def test_a_file_that_cannot_be_read_is_a_cause_itself(self, tmp_path, text):
        (tmp_path / LATCHES).write_text(text)
        assert [latch.cause for latch in stored_latches(tmp_path)] == [UNREADABLE]
