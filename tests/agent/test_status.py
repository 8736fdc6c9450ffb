"""The status file: whole or absent, and never believed when its daemon is dead; the views that show it."""

import io
import json
import math
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from agent.status import Status, read_status, write_status
from agent.view import PlainView, drift, duration, mtbf, panel, plain_line
from persistence.home import Home, HomeLock

FULL = Status(
    pid=os.getpid(),
    run_id=3,
    state="ATTEMPT",
    skill="walk_forward",
    attempt=41,
    attempts=40,
    robot_s=3723.5,
    speed_mps=0.4321,
    falls=7,
    self_recoveries=6,
    interventions=2,
    failures=1,
    mtbf_hours=1.0,
    mtbf_lower_hours=0.211,
    mtbf_upper_hours=19.5,
    policy_version=12,
    updates=9000,
    updates_per_s=151.2,
    realtime_factor=7.25,
    robot="minitaur",
)


class TestFile:
    def test_round_trip_while_the_daemon_runs(self, tmp_path):
        with HomeLock(Home(tmp_path)):
            write_status(tmp_path, FULL)
            report = read_status(tmp_path)
        assert report.running
        assert report.status is not None
        assert report.status.to_dict() | {"wall_utc": ""} == FULL.to_dict()
        assert 0.0 <= report.age_s < 5.0

    def test_without_the_lock_the_daemon_is_dead(self, tmp_path):
        write_status(tmp_path, FULL)
        report = read_status(tmp_path)
        assert not report.running
        assert report.status is not None

    def test_a_starting_daemon_is_not_shown_with_its_predecessors_status(self, tmp_path):
        write_status(tmp_path, Status(pid=FULL.pid + 1))
        with HomeLock(Home(tmp_path)):
            report = read_status(tmp_path)
        assert (report.running, report.status) == (True, None)

    def test_no_status_yet(self, tmp_path):
        assert read_status(tmp_path).to_dict() == {"running": False, "age_s": None}

    def test_age_is_wall_time_since_the_write(self, tmp_path):
        written = datetime.now(UTC) - timedelta(seconds=100)
        write_status(tmp_path, Status(wall_utc=written.isoformat()))
        assert 99.0 < read_status(tmp_path).age_s < 110.0

    def test_not_finite_becomes_null(self, tmp_path):
        write_status(tmp_path, Status(speed_mps=math.nan, updates_per_s=math.inf))
        data = json.loads((tmp_path / "status.json").read_text())
        assert (data["speed_mps"], data["updates_per_s"]) == (None, None)

    def test_a_newer_daemons_fields_are_ignored(self, tmp_path):
        (tmp_path / "status.json").write_text('{"state": "HOLD", "future": 1}')
        assert read_status(tmp_path).status.state == "HOLD"

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
    def test_damage_is_one_clear_line(self, tmp_path, text):
        (tmp_path / "status.json").write_text(text)
        with pytest.raises(ValueError, match=r"status\.json is damaged"):
            read_status(tmp_path)

    def test_missing_home(self, tmp_path):
        with pytest.raises(ValueError, match="no home directory"):
            read_status(tmp_path / "none")

    def test_a_reader_never_sees_a_part(self, tmp_path):
        writer = (
            "import sys; from pathlib import Path; from agent.status import Status, write_status\n"
            "while True: write_status(Path(sys.argv[1]), Status(last_error='x' * 50_000))"
        )
        child = subprocess.Popen([sys.executable, "-c", writer, str(tmp_path)])
        try:
            deadline, seen = time.monotonic() + 10.0, 0
            while seen < 200 and time.monotonic() < deadline:
                status = read_status(tmp_path).status
                if status is not None:
                    seen += 1
                    assert len(status.last_error) == 50_000
        finally:
            child.kill()
            child.wait()
        assert seen == 200


class TestView:
    @pytest.mark.parametrize(
        ("seconds", "text"), [(0, "0:00:00"), (59.9, "0:00:59"), (3723.5, "1:02:03"), (360000, "100:00:00")]
    )
    def test_duration(self, seconds, text):
        assert duration(seconds) == text

    def test_mtbf_shows_its_interval_or_only_the_bound(self):
        assert mtbf(FULL) == "1 h (0.211 h to 19.5 h)"
        assert mtbf(Status(mtbf_lower_hours=0.434)) == "> 0.434 h, no failure yet"
        assert mtbf(Status()) == "-"

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({}, "-"),
            ({"drift": "usual"}, "usual"),
            ({"drift": "changed", "drift_since_s": 30.0}, f"changed for {duration(70.0)}"),
            ({"drift": "habit", "drift_since_s": 30.0, "drift_joint": "knee"}, f"habit for {duration(70.0)}, knee"),
        ],
    )
    def test_drift_says_what_is_known(self, fields, text):
        status = Status(robot_s=100.0, **fields)
        assert drift(status) == text
        assert (f"drift={text}" in plain_line(status)) is ("drift_since_s" in fields)

    def test_plain_line_has_all_that_matters(self):
        line = plain_line(FULL)
        assert "\n" not in line
        for part in (
            "1:02:03",
            "ATTEMPT",
            "walk_forward",
            "attempts=40",
            "0.43 m/s",
            "falls=7",
            "151/s",
            "policy=12",
            "x7.2",
        ):
            assert part in line

    @pytest.mark.parametrize("status", [FULL, Status(), Status(last_error="[red]no markup[/red]", skill="[b]")])
    def test_panel_draws_any_status(self, status):
        from rich.console import Console

        screen = io.StringIO()
        Console(file=screen, width=80).print(panel(status))
        text = screen.getvalue()
        for part in (status.state, status.skill or "-", status.last_error or "MTBF"):
            assert part in text

    def test_panel_cuts_nothing_off_on_a_usual_terminal(self):
        from rich.console import Console

        screen = io.StringIO()
        Console(file=screen, width=80).print(panel(FULL))
        for part in ("1:02:03 (x7.2)", "1 h (0.211 h to 19.5 h)", "7, self-recoveries 6", "151 updates/s"):
            assert part in screen.getvalue()

    def test_plain_view_shows_how_a_short_run_ended(self):
        out = io.StringIO()
        view = PlainView(out, interval_s=10.0)
        for now_s, state in ((0.0, "ARMING"), (0.5, "ATTEMPT"), (1.0, "SHUTDOWN"), (1.5, "SHUTDOWN")):
            view.update(Status(state=state), now_s)
        assert [line.split("state=")[1].split()[0] for line in out.getvalue().splitlines()] == ["ARMING", "SHUTDOWN"]

    def test_plain_view_keeps_its_interval_but_not_for_alarms(self):
        out = io.StringIO()
        view = PlainView(out, interval_s=10.0)
        for second in range(0, 25):
            view.update(Status(state="ATTEMPT", robot_s=float(second)), float(second))
        assert [line[:7] for line in out.getvalue().splitlines()] == ["0:00:00", "0:00:10", "0:00:20"]
        view.update(Status(state="NEED_HUMAN"), 25.0)
        assert "NEED_HUMAN" in out.getvalue().splitlines()[-1]

    def test_viewer_ends_with_its_parent_and_shows_the_last_status(self, tmp_path):
        parent = (
            "import os, sys; from pathlib import Path; from agent.status import Status, write_status\n"
            "from agent.view import viewer\n"
            "home = Path(sys.argv[1])\n"
            "with viewer(home, os.getpid(), 0.0):\n"
            "    write_status(home, Status(pid=os.getpid() + 1, state='OTHER'))\n"
            "    write_status(home, Status(pid=os.getpid(), state='ENDING'))\n"
        )
        done = subprocess.run([sys.executable, "-c", parent, str(tmp_path)], capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")
        assert "state=ENDING" in done.stdout
        assert "OTHER" not in done.stdout
