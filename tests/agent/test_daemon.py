"""The daemon end to end with the real simulator and a real learner, as small as they get."""

import itertools
import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent import daemon
from agent.background import BackgroundWriter
from agent.config import Config
from agent.daemon import run_daemon
from agent.inbox import FOLDER
from agent.opening import abilities_of
from agent.status import read_status
from persistence.checkpoints import load_newest
from persistence.errors import HomeError, HomeLockedError
from persistence.home import Home, HomeLock, lock_holder
from persistence.metrics import metrics
from persistence.report import store_report
from persistence.store import Store
from sim.a1 import a1_spec
from sim.minitaur import minitaur_spec

TINY = {"learner.hidden": [32, 32], "learner.batch": 32, "learner.warmup_steps": 200}
STEPS = 250
"""Policy steps of an attempt that reaches its time limit."""
DESIGN_KEYS = {
    "productive_hours", "observed_hours", "attempts", "success_rate", "failures", "assists", "interventions",
    "mtbf_hours", "mtbf_lower_hours", "mtbf_upper_hours", "confidence", "mtbi_hours", "mttr_minutes", "availability",
    "falls", "falls_per_hour", "self_recoveries", "self_recovery_rate", "growth", "state_hours", "causes",
}  # fmt: skip


def config(**changes: Any) -> Config:
    return Config.load(None, TINY | {key.replace("__", "."): value for key, value in changes.items()})


@dataclass
class Facts:
    """What a home holds after a run."""

    attempts: list[dict[str, Any]]
    intervals: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    interventions: list[dict[str, Any]]
    head: str
    problems: list[str]
    metrics: dict[str, Any]
    status: dict[str, Any]
    updates: int
    steps_added: int

    @classmethod
    def of(cls, root: Path) -> "Facts":
        home = Home(root)
        with Store.open(home.db) as store:
            checkpoint = load_newest(home.checkpoints)
            status = read_status(root)
            return cls(
                attempts=store.rows("SELECT * FROM attempts ORDER BY id"),
                intervals=store.rows("SELECT * FROM state_intervals ORDER BY started_s"),
                runs=store.rows("SELECT * FROM runs ORDER BY id"),
                interventions=store.rows("SELECT * FROM interventions ORDER BY id"),
                head=store.chain_head().hash,
                problems=store.verify_chain(),
                metrics=metrics(store),
                status=status.to_dict() if status else {},
                updates=checkpoint.meta["updates"] if checkpoint else 0,
                steps_added=checkpoint.meta["steps_added"] if checkpoint else 0,
            )


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> tuple[Path, Facts, Facts]:
    """A home after two attempts, and after a resume for one more."""
    root = tmp_path_factory.mktemp("daemon") / "home"
    assert run_daemon(config(run__attempts=2), root) == 0
    first = Facts.of(root)
    assert run_daemon(config(run__attempts=1), root) == 0
    return root, first, Facts.of(root)


class TestRun:
    def test_it_does_what_it_was_asked_for(self, lived):
        _, first, _ = lived
        done = [(row["state"], row["run_id"]) for row in first.attempts]
        assert done == [("finished", 1)] * 2
        assert [row["id"] for row in first.attempts] == [1, 2]
        assert (first.runs[0]["ended"], first.runs[0]["end_reason"]) == ("stop", "attempts reached")

    def test_state_times_sum_to_the_observed_time(self, lived):
        for facts in lived[1:]:
            rows = facts.intervals
            assert all(before["ended_s"] == after["started_s"] for before, after in itertools.pairwise(rows))
            total = sum(row["ended_s"] - row["started_s"] for row in rows)
            assert total == pytest.approx(facts.runs[-1]["ended_s"], abs=1e-6)
            assert sum(facts.metrics["state_hours"].values()) == pytest.approx(
                facts.metrics["observed_hours"], abs=1e-9
            )
            assert facts.metrics["observed_hours"] == pytest.approx(total / 3600.0, abs=1e-9)

    def test_the_store_verifies(self, lived):
        root, first, second = lived
        assert first.problems == second.problems == []
        assert store_report(Home(root).db).ok

    def test_every_attempt_has_a_whole_episode(self, lived):
        root, _, second = lived
        stored = {row["episode_file"] for row in second.attempts if row["steps"]}
        assert stored == {path.name for path in Home(root).episodes.iterdir()}

    def test_metrics_have_the_keys_that_scripts_rely_on(self, lived):
        _, first, _ = lived
        assert set(first.metrics) >= DESIGN_KEYS
        assert first.metrics["attempts"] == 2
        json.dumps(first.metrics, allow_nan=False)

    def test_the_last_status_says_that_it_is_over(self, lived):
        root, first, second = lived
        assert (first.status["state"], first.status["attempts"]) == ("SHUTDOWN", 2)
        assert second.status["attempts"] == 3
        assert second.status["last_error"] is None
        assert lock_holder(Home(root)) is None


class TestResume:
    def test_numbers_and_robot_time_go_on(self, lived):
        _, first, second = lived
        assert [row["id"] for row in second.attempts] == [1, 2, 3]
        assert second.attempts[:2] == first.attempts
        assert second.attempts[2]["run_id"] == 2
        assert second.runs[1]["started_s"] == first.runs[0]["ended_s"]
        assert second.attempts[2]["started_s"] > first.attempts[1]["ended_s"]

    def test_a_clean_stop_is_no_intervention(self, lived):
        assert lived[2].interventions == []

    def test_learner_and_replay_go_on(self, lived):
        _, first, second = lived
        assert first.steps_added == sum(row["steps"] for row in first.attempts)
        assert first.updates > 0
        assert second.steps_added == first.steps_added + second.attempts[2]["steps"]
        per_step = Config().learner.updates_per_step
        assert second.updates == first.updates + per_step * second.attempts[2]["steps"]

    def test_the_first_policy_after_a_resume_is_the_last_one_before_it(self, lived):
        _, first, second = lived
        assert second.attempts[2]["policy_version"] == first.updates
        assert first.attempts[0]["policy_version"] == 0

    def test_without_the_learner_it_acts_with_the_newest_stored_policy(self, lived, monkeypatch):
        """Also: a signal in the middle of an attempt ends the run cleanly, within the attempt."""
        root, _, second = lived
        housekeeping = daemon.Run._housekeeping
        times_s: list[float] = []

        def interrupt(run: daemon.Run) -> None:
            times_s.append(run._clock.now_s())
            if len(times_s) == 150:
                os.kill(os.getpid(), signal.SIGTERM)
            housekeeping(run)

        monkeypatch.setattr(daemon.Run, "_housekeeping", interrupt)
        assert run_daemon(config(learner__enabled=False), root) == 0
        facts = Facts.of(root)
        last = facts.attempts[-1]
        assert (last["outcome"], last["end_reason"]) == ("aborted", "sigterm")
        assert last["policy_version"] == second.updates
        assert (facts.runs[-1]["ended"], facts.runs[-1]["end_reason"]) == ("stop", "sigterm")
        assert facts.runs[-1]["ended_s"] - facts.runs[-1]["started_s"] < 6.0
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def test_a_stop_that_comes_as_a_run_ends_leaves_it_to_end_in_order(self, tmp_path, monkeypatch):
        finish = daemon.Run._finish

        def stopped(run: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            finish(run)

        monkeypatch.setattr(daemon.Run, "_finish", stopped)
        assert run_daemon(config(run__attempts=1), tmp_path) == 0
        assert Facts.of(tmp_path).runs[-1]["ended"] == "stop"


class TestRefusals:
    def test_a_second_daemon_is_refused_and_touches_nothing(self, tmp_path):
        home = Home(tmp_path / "home").prepare()
        with HomeLock(home), pytest.raises(HomeLockedError, match=f"pid {os.getpid()}.*perdure stop"):
            run_daemon(config(run__attempts=1), home.root)
        assert not home.db.exists()

    def test_without_learner_and_policy_it_says_so_before_a_run_is_in_the_books(self, tmp_path):
        with pytest.raises(ValueError, match="no checkpoint in"):
            run_daemon(config(learner__enabled=False), tmp_path / "home")
        with Store.open(tmp_path / "home" / "perdure.db") as store:
            assert store.rows("SELECT 1 FROM runs") == []

    @pytest.mark.parametrize(
        ("settings", "match"),
        [
            ({"learner__prior_data": ["/no/such"]}, "no perdure.db"),
            ({"learner__population": ["foo=1"]}, "foo"),
        ],
    )
    def test_a_setting_that_no_learner_can_start_with_leaves_no_run_in_the_books(self, tmp_path, settings, match):
        """Else it would count as a crash of the daemon, and that as a failure of the robot."""
        with pytest.raises((ValueError, HomeError), match=match):
            run_daemon(config(run__attempts=1, **settings), tmp_path / "home")
        with Store.open(tmp_path / "home" / "perdure.db") as store:
            assert store.rows("SELECT 1 FROM runs") == []

    def test_skills_without_a_task_are_refused(self):
        with pytest.raises(ValueError, match=r"none of the skills stand_up is a task; add one of: walk_forward"):
            abilities_of(("stand_up",), minitaur_spec())

    def test_the_robot_can_always_help_itself(self):
        found = abilities_of(("turn_left",), minitaur_spec())
        assert [skill.name for skill in found.tasks] == ["turn_left"]
        assert [skill.name for skill in found.resets] == ["return_home"]
        assert found.stand_ups[-1].name == "stand_up"
        assert abilities_of(("turn_left",), minitaur_spec(), with_resets=False).resets == ()

    @pytest.mark.parametrize(
        ("make", "wanted", "names"),
        [
            (a1_spec, True, ["get_up", "stand_up"]),
            (a1_spec, False, ["stand_up"]),
            (minitaur_spec, True, ["stand_up"]),  # the library has no policy for it
        ],
    )
    def test_the_learned_way_to_get_up_comes_first_where_there_is_one(self, make, wanted, names):
        found = abilities_of((), make(), learned_get_up=wanted)
        assert [skill.name for skill in found.stand_ups] == names


class TestErrors:
    def test_an_error_of_ours_leaves_the_robot_limp_and_no_process_behind(self, tmp_path, monkeypatch):
        """The learner ignores signals: left alone it would keep the daemon from ending."""
        robots = []

        def fail(pilot) -> None:
            robots.append(pilot.loop.robot)
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(daemon.Pilot, "run", fail)
        with pytest.raises(ZeroDivisionError):
            run_daemon(config(run__attempts=1), tmp_path / "home")
        assert multiprocessing.active_children() == []
        assert "robot is closed" in robots[0].health().problems
        assert lock_holder(Home(tmp_path / "home")) is None
        with Store.open(tmp_path / "home" / "perdure.db") as store:
            assert store.recover().crashed


class TestFresh:
    def test_everything_is_moved_aside_and_nothing_deleted(self, tmp_path, monkeypatch):
        class Nothing:
            def __init__(self, config: Config, home: Home, background: BackgroundWriter) -> None:
                assert not home.db.exists()
                assert list(home.episodes.iterdir()) == []

            def execute(self) -> None: ...

        monkeypatch.setattr(daemon, "Run", Nothing)
        home = Home(tmp_path / "home").prepare()
        with Store.open(home.db):
            pass
        (home.episodes / "attempt-00000001.safetensors").write_bytes(b"episode")
        (home.root / "perdure.toml").write_text("[run]\n")
        (home.root / FOLDER).mkdir()
        before = {path.relative_to(home.root) for path in home.root.rglob("*") if path.is_file()}
        run_daemon(config(), home.root, fresh=True)
        (old,) = home.root.glob("old-*")
        moved = {path.relative_to(old) for path in old.rglob("*") if path.is_file()}
        moved -= {Path("perdure.db-shm"), Path("perdure.db-wal")}  # from looking into the database
        stay = {Path("perdure.toml"), Path("daemon.lock")}
        assert moved == before - stay
        assert (home.root / "perdure.toml").read_text() == "[run]\n"
        # Once more: what was moved aside before stays where it is.
        old = old.rename(home.root / "old-earlier")
        with Store.open(home.db):
            pass
        run_daemon(config(), home.root, fresh=True)
        assert (old / "episodes" / "attempt-00000001.safetensors").read_bytes() == b"episode"

    def test_a_home_that_has_lost_its_database_is_refused_and_moved_aside_if_asked(self, tmp_path, monkeypatch):
        """Its episodes have no rows any more; they must not be taken for what a crash has left over."""
        home = Home(tmp_path / "home").prepare()
        episode = home.episodes / "attempt-00000001.safetensors"
        episode.write_bytes(b"episode")
        with pytest.raises(HomeError, match=r"1 episode files but no perdure.db.*--fresh"):
            run_daemon(config(run__attempts=1), home.root)
        assert episode.read_bytes() == b"episode"
        assert not home.db.exists()
        monkeypatch.setattr(daemon.Run, "execute", lambda run: None)
        run_daemon(config(), home.root, fresh=True)
        assert not episode.exists()
        assert len(list(home.root.glob("old-*/episodes/attempt-00000001.safetensors"))) == 1


@pytest.mark.slow
def test_the_same_seed_gives_the_same_chain_and_another_does_not(tmp_path, lived):
    _, first, _ = lived
    heads = []
    for seed in (0, 1):
        run_daemon(config(run__attempts=2, run__seed=seed), tmp_path / str(seed))
        heads.append(Facts.of(tmp_path / str(seed)).head)
    assert heads[0] == first.head
    assert heads[1] != first.head


@pytest.mark.slow
def test_a_kill_is_one_failure_and_costs_at_most_the_attempt_under_way(tmp_path):
    root = tmp_path / "home"
    words = [f"--set={key}={value}" for key, value in TINY.items()]
    command = [sys.executable, "-m", "agent.cli", "run", "--home", str(root), "--json", "--no-web", *words]
    code = "import sys; from agent.cli import main; sys.exit(main())"
    command[1:3] = ["-c", code]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        _wait_for_attempt(root, 2, process)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    with sqlite3.connect(root / "perdure.db") as conn:
        acknowledged = conn.execute("SELECT id, outcome FROM attempts WHERE state = 'finished'").fetchall()
    assert run_daemon(config(run__attempts=1), root) == 0
    facts = Facts.of(root)
    assert facts.problems == []
    assert [row["id"] for row in facts.attempts] == list(range(1, len(facts.attempts) + 1))
    kept = {row["id"]: row["outcome"] for row in facts.attempts}
    assert all(kept[number] == outcome for number, outcome in acknowledged)
    under_way = [row for row in facts.attempts if row["id"] not in dict(acknowledged) and row["run_id"] == 1]
    assert [row["outcome"] for row in under_way] == ["aborted"]
    assert [(row["cause"], row["class"]) for row in facts.interventions] == [("daemon_crash", "failure")]
    assert facts.interventions[0]["closed_s"] is not None
    assert [row["ended"] for row in facts.runs] == ["crash", "stop"]
    assert facts.metrics["failures"] == 1
    tests = [row["e10"] for row in facts.intervals if row["state"] == "SELF_TEST" and row["run_id"] == 2]
    assert set(tests) <= {"unscheduled_down"}
    # The updates of the attempts that were kept are not lost with the process, though no checkpoint had been due.
    assert facts.steps_added == sum(row["steps"] or 0 for row in facts.attempts)
    assert facts.updates == Config().learner.updates_per_step * facts.steps_added


def _wait_for_attempt(root: Path, number: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120.0
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read().decode()
        if (root / "perdure.db").exists():
            with sqlite3.connect(root / "perdure.db") as conn:
                try:
                    if conn.execute(f"SELECT 1 FROM attempts WHERE id = {number} AND state = 'started'").fetchone():
                        return
                except sqlite3.OperationalError:
                    pass
        time.sleep(0.1)
    raise AssertionError("no attempt began")


def test_runs_without_a_single_update_between_them_end_cleanly(tmp_path):
    """Their last checkpoints hold the same policy version; the second must not be taken for a broken store."""
    for _ in range(2):
        assert run_daemon(config(run__attempts=1, learner__warmup_steps=100_000), tmp_path) == 0
    with Store.open(tmp_path / "perdure.db", read_only=True) as store:
        assert [row["seq"] for row in store.rows("SELECT seq FROM checkpoints ORDER BY seq")] == [1, 2]
        assert [row["version"] for row in store.rows("SELECT version FROM policies")] == [0]
