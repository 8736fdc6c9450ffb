"""Status and log are written in the background: no disk that is full or stands still may hold up the control loop."""

import json
import threading
from contextlib import closing

import pytest
import structlog

from agent import daemon, reporter
from agent.background import BackgroundWriter
from agent.config import Config
from agent.logs import configure_logging

TINY = {"learner.hidden": [16], "learner.batch": 16, "learner.warmup_steps": 100_000, "run.skills": ["walk_forward"]}


@pytest.fixture
def stands_still():
    """A disk on which nothing is written before it is set free."""
    free = threading.Event()
    yield free
    free.set()


def test_writes_come_in_order_and_all_before_it_is_closed():
    done = []
    with closing(BackgroundWriter()) as background:
        for number in range(100):
            background.submit(lambda n=number: done.append(n))
    assert done == list(range(100))
    background.close()
    background.submit(lambda: done.append("late"))
    assert done == list(range(100))


def test_nobody_waits_and_what_is_too_much_is_left_out(stands_still):
    begun, done = threading.Event(), []

    def stuck():
        begun.set()
        stands_still.wait()

    with closing(BackgroundWriter(capacity=2)) as background:
        background.submit(stuck)
        assert begun.wait(10.0)
        for number in range(5):
            background.submit(lambda n=number: done.append(n))
        assert done == []
        stands_still.set()
    assert done == [0, 1]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("not a number")])
def test_a_write_that_fails_is_left_out(error):
    done = []

    def full():
        raise error

    with closing(BackgroundWriter()) as background:
        background.submit(full)
        background.submit(lambda: done.append("next"))
    assert done == ["next"]


def test_whoever_logs_does_not_wait_for_the_disk(tmp_path, stands_still):
    path = tmp_path / "perdure.log"
    with closing(BackgroundWriter()) as background:
        configure_logging(path, background)
        background.submit(stands_still.wait)
        structlog.get_logger().info("robot.moved", far_m=1.5)
        assert path.read_text() == ""
        stands_still.set()
    (line,) = path.read_text().splitlines()
    assert json.loads(line).items() >= {"event": "robot.moved", "far_m": 1.5, "level": "info"}.items()


def test_a_status_that_cannot_be_written_does_not_end_a_run(tmp_path, monkeypatch):
    threads = set()

    def full(home, status):
        threads.add(threading.current_thread())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reporter, "write_status", full)
    assert daemon.run_daemon(Config.load(None, TINY | {"run.attempts": 1}), tmp_path) == 0
    assert threads and threading.main_thread() not in threads
    assert json.loads((tmp_path / "perdure.log").read_text().splitlines()[-1])["event"] == "run.ended"
