"""Jobs on the robot clock: when they run, and that they run the same way each time."""

from datetime import UTC

import pytest
from apscheduler.triggers.cron import CronTrigger

from agent.jobs import RobotClockJobs


class Journal:
    def __init__(self, start_s: float = 0.0) -> None:
        self.jobs = RobotClockJobs(start_s)
        self.ran: list[tuple[float, str]] = []
        self.now_s = start_s

    def note(self, name: str):
        return lambda: self.ran.append((self.now_s, name))

    def every(self, name: str, minutes: float) -> None:
        self.jobs.every(name, minutes, self.note(name))

    def at(self, now_s: float) -> list[str]:
        self.now_s = now_s
        return self.jobs.run_due(now_s)


@pytest.mark.parametrize("start_s", [0.0, 7.25, 1e6 + 0.02])
def test_the_first_time_is_after_the_interval(start_s):
    journal = Journal(start_s)
    journal.every("backup", 5.0)
    assert journal.at(start_s) == []
    assert journal.at(start_s + 299.98) == []
    assert journal.at(start_s + 300.0) == ["backup"]
    assert journal.at(start_s + 300.0) == []
    assert journal.at(start_s + 599.98) == []
    assert journal.at(start_s + 600.0) == ["backup"]


def test_missed_times_run_once_and_keep_the_raster():
    journal = Journal()
    journal.every("checkpoint", 1.0)
    assert journal.at(350.0) == ["checkpoint"]
    assert journal.at(359.0) == []
    assert journal.at(360.0) == ["checkpoint"]
    assert len(journal.ran) == 2


def test_due_jobs_run_in_the_order_in_which_they_were_added():
    journal = Journal()
    for name in ("evaluation", "checkpoint", "backup"):
        journal.every(name, 2.0)
    assert journal.at(120.0) == ["evaluation", "checkpoint", "backup"]
    assert [name for _, name in journal.ran] == ["evaluation", "checkpoint", "backup"]


def test_zero_minutes_are_never():
    journal = Journal()
    journal.every("backup", 0.0)
    assert journal.at(1e6) == []


def test_the_same_times_give_the_same_runs():
    def life() -> list[tuple[float, str]]:
        journal = Journal(12.34)
        journal.every("evaluation", 0.7)
        journal.every("checkpoint", 0.3)
        for i in range(300):
            journal.at(12.34 + 0.37 * i)
        return journal.ran

    first = life()
    assert first == life()
    assert len(first) == int(299 * 0.37 / 42) + int(299 * 0.37 / 18)


def test_a_cron_expression_is_read_on_the_robot_clock():
    """Robot time 0 is midnight: 06:30 comes 23,400 s later, and again a day after that."""
    journal = Journal()
    journal.jobs.add("night", CronTrigger.from_crontab("30 6 * * *", timezone=UTC), journal.note("night"))
    assert journal.at(23_399.0) == []
    assert journal.at(23_400.0) == ["night"]
    assert journal.at(23_400.0 + 86_399.0) == []
    assert journal.at(23_400.0 + 86_400.0) == ["night"]
    assert journal.at(23_400.0 + 10 * 86_400.0) == ["night"]


def test_a_name_that_is_taken_is_refused():
    journal = Journal()
    journal.every("backup", 1.0)
    with pytest.raises(ValueError, match=r"'backup' exists already.*\['backup'\]"):
        journal.every("backup", 2.0)


def test_a_job_that_fails_is_not_run_again_for_the_same_time():
    jobs = RobotClockJobs(0.0)
    calls = []

    def fail() -> None:
        calls.append(1)
        raise OSError("disk full")

    jobs.every("backup", 1.0, fail)
    with pytest.raises(OSError, match="disk full"):
        jobs.run_due(60.0)
    assert jobs.run_due(61.0) == []
    assert len(calls) == 1
