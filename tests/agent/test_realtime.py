"""`perdure run --speed realtime` as a user starts it: guard, daemon and robot are processes of their own."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.permit import runtime_dir

PERDURE = (sys.executable, "-m", "agent.cli")
ACTS = ("--speed", "realtime", "--start", "zoo", "--set", "learner.enabled=false", "--seed", "0", "--no-web")


def perdure(*words: str) -> str:
    return subprocess.run((*PERDURE, *words), capture_output=True, text=True, check=True, timeout=30).stdout


class Running:
    """A run in the background."""

    def __init__(self, home: Path, *words: str) -> None:
        self.home = home
        command = (*PERDURE, "run", "--home", str(home), *ACTS, *words)
        self.guard = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    @property
    def daemon_pid(self) -> int:
        return children(self.guard.pid)[0]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        if not (self.home / "perdure.db").exists():
            return []
        with contextlib.closing(sqlite3.connect(self.home / "perdure.db")) as conn:
            try:
                return conn.execute(sql).fetchall()
            except sqlite3.OperationalError:
                return []  # the tables are yet to come

    def until(self, sql: str, seconds: float = 60.0) -> list[tuple[Any, ...]]:
        deadline_s = time.monotonic() + seconds
        while not (rows := self.rows(sql)):
            assert self.guard.poll() is None, self.guard.stderr.read().decode()
            assert time.monotonic() < deadline_s, f"it did not happen: {sql}"
            time.sleep(0.1)
        return rows

    def end(self) -> None:
        code = self.guard.wait(60.0)
        assert code == 0, self.guard.stderr.read().decode()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def run(tmp_path):
    made: list[Running] = []

    def start(*words: str, home: Path = tmp_path) -> Running:
        made.append(Running(home, *words))
        made[-1].until("SELECT 1 FROM attempts WHERE state = 'started'")
        time.sleep(1.0)
        return made[-1]

    yield start
    for running in made:
        if running.guard.poll() is None:
            for pid in children(running.guard.pid):
                os.kill(pid, signal.SIGKILL)
            running.guard.kill()
            running.guard.wait()
        shutil.rmtree(runtime_dir(running.home), ignore_errors=True)


@pytest.fixture
def disk(tmp_path):
    """A small file system that can be made to stand still, which root alone may."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(256 << 20)
    for command in (("mkfs.ext4", "-q", image), ("mount", "-o", "loop", image, folder)):
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no file system of its own can be mounted here: {error}")
    yield folder
    subprocess.run(("umount", folder), check=True)


OF_TASKS = "FROM attempts WHERE skill NOT IN ('return_home', 'stand_up')"


def test_a_robot_process_that_is_killed_costs_an_attempt_and_the_run_goes_on(run):
    running = run("--hours", "0.006")
    (robot,) = [p for p in children(running.daemon_pid) if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]
    ((before,),) = running.rows("SELECT max(id) FROM attempts")
    running.until(f"SELECT 1 {OF_TASKS} AND state = 'started' AND id > {before}")  # an attempt has just begun
    os.kill(robot, signal.SIGKILL)
    running.end()
    assert running.rows("SELECT kind FROM faults WHERE kind = 'robot_process'") == [("robot_process",)]
    first, *later = running.rows(f"SELECT outcome, end_reason {OF_TASKS} AND id > {before} ORDER BY id")
    assert first == ("fault", "sensor")
    assert any(outcome not in ("fault", "aborted") for outcome, _ in later)
    assert running.rows("SELECT 1 FROM state_intervals WHERE state = 'HOLD'")
    assert running.rows("SELECT cause FROM interventions") == []


def test_a_daemon_that_hangs_is_replaced_and_a_person_has_to_look(run):
    running = run("--hours", "0.008", "--set", "person.delay_s=1")
    frozen = running.daemon_pid
    os.kill(frozen, signal.SIGSTOP)
    running.until("SELECT 1 FROM runs WHERE id = 2")
    assert running.daemon_pid != frozen
    running.end()
    *crashes, last = [row[0] for row in running.rows("SELECT ended FROM runs ORDER BY id")]
    assert last == "stop"
    assert crashes in (["crash"], ["crash", "crash"])  # a machine that stands still for a second hangs one as well
    assert running.rows("SELECT 1 FROM state_intervals WHERE state = 'SAFE_STOP' AND run_id = 2")
    assert running.rows("SELECT count(*), count(closed_s) FROM interventions") == [(len(crashes),) * 2]
    assert running.rows("SELECT 1 FROM attempts WHERE run_id >= 2 AND outcome NOT IN ('fault', 'aborted')")


@pytest.mark.slow
def test_a_disk_that_stands_still_for_a_while_calls_nobody(disk, run):
    running = run("--hours", "0.013", home=disk / "home")
    for _ in range(2):
        ((before,),) = running.rows("SELECT count(*) FROM attempts WHERE state = 'finished'")
        subprocess.run(("fsfreeze", "--freeze", disk), check=True)
        try:
            time.sleep(4.0)
        finally:
            subprocess.run(("fsfreeze", "--unfreeze", disk), check=True)
        running.until(f"SELECT 1 FROM attempts WHERE state = 'finished' AND id > {before + 1}")
    running.end()
    assert running.rows("SELECT ended FROM runs") == [("stop",)]
    assert running.rows("SELECT cause FROM interventions") == []
    assert running.rows("SELECT kind FROM faults") == []


def test_without_its_guard_the_daemon_stops_the_robot_and_ends(run):
    running = run("--hours", "1")
    daemon = running.daemon_pid
    running.guard.kill()
    running.guard.wait()
    deadline_s = time.monotonic() + 60.0
    while Path(f"/proc/{daemon}").exists():
        assert time.monotonic() < deadline_s, "the daemon goes on without its guard"
        time.sleep(0.1)
    assert "guard_gone" in running.rows("SELECT data FROM events WHERE kind = 'run.ended'")[0][0]
    assert running.rows("SELECT cause, closed_s FROM interventions") == [("guard_gone", None)]


def test_an_emergency_stop_holds_until_it_is_released_and_motion_allowed(run):
    running = run("--set", "person.enabled=false")
    home = ("--home", str(running.home))
    perdure("estop", *home)
    running.until("SELECT 1 FROM interventions WHERE cause = 'estop' AND closed_s IS NULL")
    attempts = running.rows("SELECT count(*) FROM attempts")
    time.sleep(0.6)  # until the status says so
    help_ = ("--action", "looked at it")
    for words in (("ack", *help_), ("interventions", "close", "1", *help_), ("resume",)):
        refused = subprocess.run((*PERDURE, *words, *home), capture_output=True, text=True, timeout=30, check=False)
        assert refused.returncode == 1
        assert "held in ESTOP" in refused.stderr
    assert running.rows("SELECT closed_s FROM interventions") == [(None,)]
    assert running.rows("SELECT count(*) FROM attempts") == attempts
    perdure("ack", *home, "--action", "released it", "--released", "--operator", "Anna")
    time.sleep(1.5)
    assert running.rows("SELECT count(*) FROM attempts") == attempts  # an acknowledgement starts nothing
    perdure("resume", *home)
    running.until(f"SELECT 1 FROM attempts WHERE id > {attempts[0][0]}")
    perdure("stop", *home)
    running.end()
    assert running.rows("SELECT operator, action FROM interventions WHERE closed_s IS NOT NULL")[0][0] == "Anna"
