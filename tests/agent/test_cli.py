"""The command line: each mistake is one clear line and changes nothing; facts come as JSON."""

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.cli import main
from agent.cli_common import resolve_home
from agent.config import Config
from agent.skill_template import write_template
from agent.status import Status, write_status
from persistence.home import Home, HomeLock
from persistence.records import (
    AttemptEnd,
    AttemptStart,
    InterruptClass,
    Intervention,
    Outcome,
    RunStart,
    SkillKind,
    SkillRow,
    StateInterval,
)
from persistence.store import Store
from skills.registry import use_folders

COMMANDS = (
    ["run"],
    ["status"],
    ["stop"],
    ["metrics"],
    ["interventions", "list"],
    ["interventions", "add"],
    ["interventions", "close"],
    ["skills", "list"],
    ["skills", "show"],
    ["skills", "eval"],
    ["skills", "graph"],
    ["skills", "goal"],
    ["drift", "list"],
    ["drift", "kinds"],
    ["drift", "inject"],
    ["drift", "repair"],
    ["doctor"],
    ["limits"],
    ["bench"],
)


@pytest.fixture(autouse=True)
def no_home_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("PERDURE_HOME", str(tmp_path / "default-home"))


@pytest.fixture
def home(tmp_path):
    """A home whose robot worked for an hour and then got stuck."""
    folder = tmp_path / "home"
    folder.mkdir()
    with Store.open(folder / "perdure.db") as store:
        run = store.start_run(RunStart(robot="minitaur", started_s=0.0))
        store.heartbeat(run, 3600.0, StateInterval.of("ATTEMPT", 0.0, 3600.0))
        store.open_intervention(
            Intervention(cause="stuck", e10_class=InterruptClass.ASSIST, opened_s=3600.0, note="in the corner")
        )
    return folder


@pytest.fixture
def daemon(monkeypatch):
    """Stands in for the daemon: keeps what it was started with."""
    started = []

    def run_daemon(config, home, fresh):
        started.append((config, home, fresh))
        write_status(home, Status(pid=os.getpid(), state="SHUTDOWN"))
        return 0

    monkeypatch.setitem(sys.modules, "agent.daemon", SimpleNamespace(run_daemon=run_daemon))
    return started


@pytest.fixture
def fails(capsys):
    """Run a command that must fail; returns its one line."""

    def run(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert code not in (0, None)
        assert out == ""
        assert err.startswith("Error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return run


@pytest.fixture
def facts(capsys):
    """Run a command with --json; returns what it prints."""

    def run(*words, code=0):
        assert main([*(str(word) for word in words), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


class TestEveryCommand:
    @pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
    def test_has_help(self, words, capsys):
        assert main([*words, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"perdure {' '.join(words)}" in text
        assert "--json" in text

    @pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
    def test_refuses_an_option_that_does_not_exist(self, words, fails):
        assert "--nonsense" in fails(*words, "--nonsense")

    @pytest.mark.parametrize("words", [["nonsense"], ["skills", "nonsense"], ["interventions", "nonsense"]])
    def test_unknown_commands(self, words, fails):
        assert "nonsense" in fails(*words)

    @pytest.mark.parametrize(
        "words",
        [["status"], ["stop"], ["metrics"], ["interventions", "list"], ["drift", "list"], ["doctor", "--store"]],
    )
    def test_a_home_that_does_not_exist_is_not_created(self, words, fails, tmp_path):
        assert str(tmp_path / "none") in fails(*words, "--home", tmp_path / "none")
        assert not (tmp_path / "none").exists()


class TestOwnSkills:
    def test_are_written_once_and_checked_by_name_or_file(self, facts, fails, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        files = facts("skills", "new", "circle")["files"]
        assert [Path(file).name for file in files] == ["circle.py", "test_circle.py", "README.md"]
        assert "already" in fails("skills", "new", "circle")
        assert facts("skills", "check", "circle") == []
        assert facts("skills", "check", "walk_forward") == []
        file = Path(files[0])
        file.write_text(file.read_text().replace("SKILL = ", "NOTHING = "))
        (problem,) = facts("skills", "check", file, code=1)
        assert problem["where"] == "loading"

    @pytest.mark.parametrize(("name", "why"), [("Circle", "small letters"), ("walk_forward", "there is a skill")])
    def test_need_a_name_of_their_own(self, fails, name, why):
        assert why in fails("skills", "new", name)

    def test_that_are_nowhere_are_named(self, fails):
        assert "no file other.py" in fails("skills", "check", "other")


class TestRun:
    def test_hands_the_configuration_over(self, daemon, facts, tmp_path):
        home = tmp_path / "new" / "home"
        options = ["--hours", "1", "--speed", "max", "--seed", "5", "--no-web", "--set", "learner.batch=64", "--fresh"]
        assert facts("run", "--home", home, *options)["state"] == "SHUTDOWN"
        ((config, where, fresh),) = daemon
        assert (where, fresh) == (home, True)
        assert (config.run.hours, config.run.seed, config.run.web, config.learner.batch) == (1.0, 5, False, 64)

    def test_a_web_page_that_does_not_exist_is_not_promised(self, fails, tmp_path):
        assert "no web page yet" in fails("run", "--home", tmp_path / "new", "--web")
        assert not (tmp_path / "new").exists()

    def test_reads_the_file_of_the_home_unless_another_is_named(self, daemon, facts, tmp_path):
        (tmp_path / "perdure.toml").write_text("[run]\nseed = 3\n")
        other = tmp_path / "other.toml"
        other.write_text("[run]\nseed = 4\n")
        facts("run", "--home", tmp_path)
        facts("run", "--home", tmp_path, "--config", other)
        facts("run", "--home", tmp_path, "--seed", "5")
        assert [config.run.seed for config, _, _ in daemon] == [3, 4, 5]

    def test_a_skill_of_ones_own_is_tried_before_anything_begins(self, daemon, fails, facts, tmp_path):
        file = write_template("circle", tmp_path / "circle")[0]
        options = ("--skills", "circle", "--skill-folder", file.parent, "--home", tmp_path / "home")
        facts("run", *options)
        ((config, _, _),) = daemon
        assert config.run.skill_folders == (str(file.parent.absolute()),)
        file.write_text(file.read_text().replace("horizon_s = 10.0", "horizon_s = -1.0"))
        message = fails("run", *options)
        assert "horizon_s is -1.0" in message
        assert "perdure skills check" in message
        assert len(daemon) == 1
        assert "nowhere" in fails("run", "--skill-folder", tmp_path / "nowhere", "--home", tmp_path / "home")
        use_folders(())

    def test_passes_the_exit_code_on(self, monkeypatch, tmp_path):
        fake = SimpleNamespace(run_daemon=lambda config, home, fresh: 3)
        monkeypatch.setitem(sys.modules, "agent.daemon", fake)
        assert main(["run", "--home", str(tmp_path)]) == 3

    @pytest.mark.parametrize(
        ("options", "parts"),
        [
            (["--robot", "minitar"], ("unknown robot 'minitar'", "did you mean 'minitaur'")),
            (["--skills", "walk_forwrd"], ("unknown skill 'walk_forwrd'", "walk_forward", "walk_backward")),
            (["--hours", "nan"], ("--hours", "nan", "0.0001 to 100000 h")),
            (["--hours", "-1"], ("--hours", "-1", "0.0001 to 100000 h")),
            (["--hours", "soon"], ("--hours", "number")),
            (["--speed", "fast"], ("--speed", "'fast'", "'realtime', 'max'")),
            (["--seed", "-1"], ("--seed", "-1", "0 to 4294967295")),
            (["--set", "learner.gama=0.9"], ("'gama'", "did you mean 'gamma'", "updates_per_step")),
            (["--set", "nonsense"], ("'nonsense'", "section.key=value")),
            (["--config", "/no/such.toml"], ("/no/such.toml", "No such file")),
        ],
    )
    def test_bad_input_starts_nothing(self, daemon, fails, tmp_path, options, parts):
        message = fails("run", "--home", tmp_path / "home", *options)
        for part in parts:
            assert part in message
        assert daemon == []
        assert not (tmp_path / "home").exists()

    def test_an_unknown_key_of_the_file_is_named_with_its_line(self, daemon, fails, tmp_path):
        path = tmp_path / "perdure.toml"
        path.write_text("[run]\nseed = 1\nhour = 2\n")
        assert f"{path}:3: unknown key in [run] 'hour'; did you mean 'hours'?" in fails("run", "--home", tmp_path)
        assert daemon == []

    def test_a_home_that_cannot_be_written(self, daemon, fails, tmp_path):
        (tmp_path / "file").write_text("mine")
        message = fails("run", "--home", tmp_path / "file" / "home")
        assert "not writable" in message
        assert "--home" in message
        assert daemon == []
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_second_daemon(self, daemon, fails, home):
        before = (home / "perdure.db").read_bytes()
        with HomeLock(Home(home)):
            message = fails("run", "--home", home)
        assert f"pid {os.getpid()}" in message
        assert "perdure stop" in message
        assert daemon == []
        assert (home / "perdure.db").read_bytes() == before


class TestStatus:
    def test_running(self, facts, tmp_path):
        write_status(tmp_path, Status(pid=os.getpid(), state="ATTEMPT", skill="turn_left"))
        with HomeLock(Home(tmp_path)):
            now = facts("status", "--home", tmp_path)
        assert (now["running"], now["state"], now["skill"]) == (True, "ATTEMPT", "turn_left")

    def test_for_people(self, capsys, tmp_path):
        write_status(tmp_path, Status(state="ATTEMPT", skill="turn\x1b[31m_left"))
        assert main(["status", f"--home={tmp_path}"]) == 0
        text = capsys.readouterr().out
        assert "not running" in text
        assert "\x1b" not in text

    def test_answers_within_half_a_second(self, tmp_path):
        write_status(tmp_path, Status())
        command = [sys.executable, "-m", "agent.cli", "status", "--home", str(tmp_path), "--json"]
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
        assert min(seconds) < 0.5

    def test_loads_nothing_heavy(self, tmp_path):
        write_status(tmp_path, Status())
        code = (
            "import sys; from agent.cli import main\n"
            f"main(['status', '--home', {str(tmp_path)!r}, '--json'])\n"
            "heavy = {'torch', 'numpy', 'scipy', 'pybullet', 'sqlite_utils', 'sqlite3', 'typer', 'rich', 'pydantic'}\n"
            "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "[]"


class TestStop:
    def test_ends_the_daemon_and_waits(self, facts, tmp_path):
        child = _daemon(tmp_path, "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), sys.exit(0)))")
        try:
            answer = facts("stop", "--home", tmp_path)
            assert (answer["stopped"], answer["pid"]) == (True, child.pid)
            assert answer["seconds"] >= 0.25
            assert child.wait(timeout=5.0) == 0
        finally:
            child.kill()
            child.wait()

    def test_says_when_the_daemon_does_not_end(self, fails, tmp_path):
        child = _daemon(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
        try:
            assert "within 0.2 s" in fails("stop", "--home", tmp_path, "--timeout", "0.2")
            assert child.poll() is None
        finally:
            child.kill()
            child.wait()

    def test_never_signals_a_process_that_does_not_hold_the_lock(self, fails, monkeypatch, tmp_path):
        sent = []
        monkeypatch.setattr(os, "kill", lambda *signal: sent.append(signal))
        (tmp_path / "daemon.lock").write_text(json.dumps({"pid": os.getpid(), "started_utc": "x"}))
        assert "no daemon runs" in fails("stop", "--home", tmp_path)
        assert sent == []


def _daemon(home, handler):
    code = (
        "import signal, sys, time; from pathlib import Path; from persistence.home import Home, HomeLock\n"
        f"{handler}\n"
        "with HomeLock(Home(Path(sys.argv[1]))):\n    print('up', flush=True)\n    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "up\n"
    return child


class TestInterventions:
    def test_list_add_close(self, facts, home):
        (stuck,) = facts("interventions", "list", "--open", "--home", home)
        assert (stuck["cause"], stuck["class"], stuck["note"], stuck["open"]) == ("stuck", "assist", "in the corner", 1)
        close = ["interventions", "close", stuck["id"], "--action", "moved it", "--operator", "Ada", "--home", home]
        assert facts(*close) == {"id": stuck["id"]}
        assert facts("interventions", "list", "--open", "--home", home) == []
        added = facts(
            "interventions", "add", "--cause", "cable", "--class", "failure", "--minutes", "3", "--home", home
        )
        causes = {row["id"]: row["cause"] for row in facts("interventions", "list", "--home", home)}
        assert added["id"] in causes
        assert added["minutes"] == pytest.approx(3.0)

    def test_help_longer_ago_than_the_robots_clock_goes_is_cut_with_a_word(self, capsys, home):
        words = ["interventions", "add", "--cause", "cable", "--home", str(home)]
        assert main([*words, "--minutes", "10"]) == 0
        assert "counts" not in capsys.readouterr().out
        assert main([*words, "--minutes", "90"]) == 0
        assert "counts 60.0 minutes" in capsys.readouterr().out

    def test_closing_twice_names_what_is_open(self, facts, fails, home):
        close = ["interventions", "close", "1", "--action", "moved it", "--home", home]
        facts(*close)
        assert "was closed" in fails(*close)

    @pytest.mark.parametrize(
        ("options", "parts"),
        [
            (["--cause", " "], ("--cause",)),
            (["--cause", "x", "--class", "bad"], ("'bad'", "assist, failure")),
            (["--cause", "x", "--minutes", "nan"], ("--minutes", "nan")),
            (["--cause", "x", "--minutes", "-1"], ("--minutes", "-1")),
            ([], ("--cause",)),
        ],
    )
    def test_bad_input_stores_nothing(self, fails, facts, home, options, parts):
        message = fails("interventions", "add", *options, "--home", home)
        for part in parts:
            assert part in message
        assert len(facts("interventions", "list", "--home", home)) == 1

    def test_hostile_notes_do_not_reach_the_terminal(self, capsys, home):
        main(["interventions", "add", "--cause", "x\x1b[2J", "--note", "a\rb", "--home", str(home)])
        capsys.readouterr()
        assert main(["interventions", "list", "--home", str(home)]) == 0
        text = capsys.readouterr().out
        assert "\x1b" not in text
        assert "\r" not in text


def test_an_emergency_stop_where_no_guard_runs_says_what_stops_the_run(fails, home):
    message = fails("estop", "--home", home)
    assert message.startswith("Error: no guard answers")
    assert f"`perdure stop --home {home}`" in message


class TestNewerDatabase:
    @pytest.mark.parametrize(
        "words", [["metrics"], ["interventions", "list"], ["interventions", "add", "--cause", "x"]]
    )
    def test_is_refused_and_untouched(self, words, fails, home):
        with Store.open(home / "perdure.db") as store:
            store.connection.execute("PRAGMA user_version = 999")
            store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = (home / "perdure.db").read_bytes()
        message = fails(*words, "--home", home)
        assert "999" in message
        assert "newer" in message
        assert (home / "perdure.db").read_bytes() == before


class TestMetrics:
    def test_prints_the_facts(self, facts, home):
        found = facts("metrics", "--home", home)
        assert found["observed_hours"] == pytest.approx(1.0)
        assert (found["assists"], found["failures"], found["mtbf_hours"]) == (1, 0, None)

    @pytest.mark.parametrize("by", ["skill", "cause", "day", "phase"])
    def test_breakdowns_print(self, by, capsys, facts, home):
        found = facts("metrics", "--by", by, "--home", home)
        assert main(["metrics", "--by", by, "--home", str(home)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert any(line.startswith("assists") for line in lines)
        if found["groups"]:
            assert by in lines[-len(found["groups"]) - 1].split()

    @pytest.mark.parametrize(
        ("options", "part"),
        [
            (["--by", "week"], "skill, cause, day, phase"),
            (["--confidence", "1.5"], "between 0 and 1"),
            (["--since", "yesterday"], "yesterday"),
        ],
    )
    def test_bad_input(self, fails, home, options, part):
        assert part in fails("metrics", *options, "--home", home)


class TestSkills:
    def test_list_and_show(self, facts):
        listed = {skill["name"]: skill for skill in facts("skills", "list")}
        assert {"walk_forward", "walk_backward", "turn_left", "turn_right", "stand_up"} <= set(listed)
        assert facts("skills", "show", "stand_up")["kind"] == "recovery"

    @pytest.mark.parametrize("command", ["show", "eval"])
    def test_unknown_skill(self, command, fails):
        message = fails("skills", command, "walk_forwad")
        assert "did you mean 'walk_forward'" in message
        assert "turn_left" in message

    def test_eval_hands_over_and_prints(self, facts, monkeypatch, tmp_path):
        given = {"policy_version": None}
        fake = SimpleNamespace(evaluate_skill=lambda **words: given | {"given": words | {"home": str(words["home"])}})
        monkeypatch.setitem(sys.modules, "agent.evaluation", fake)
        options = ["--policy", "3", "--attempts", "2", "--seed", "9", "--home", tmp_path]
        assert facts("skills", "eval", "walk_forward", *options)["given"] == {
            "skill": "walk_forward",
            "robot": "minitaur",
            "policy": "3",
            "attempts": 2,
            "seed": 9,
            "home": str(tmp_path),
            "dynamics": "held-out",
        }

    def test_eval_is_on_the_robot_of_the_home(self, facts, monkeypatch, tmp_path):
        fake = SimpleNamespace(evaluate_skill=lambda **words: {"policy_version": None, "robot": words["robot"]})
        monkeypatch.setitem(sys.modules, "agent.evaluation", fake)
        config = Config.load(None, {"run.robot": "a1"})
        monkeypatch.setattr("agent.stored_config.stored_config", lambda home: config)
        assert facts("skills", "eval", "walk_forward", "--home", tmp_path)["robot"] == "a1"
        assert facts("skills", "eval", "walk_forward", "--robot", "minitaur", "--home", tmp_path)["robot"] == "minitaur"

    @pytest.mark.parametrize(
        ("options", "part"),
        [
            (["--robot", "cat"], "minitaur"),
            (["--policy", "best"], "zoo, latest"),
            (["--attempts", "0"], "--attempts"),
            (["--dynamics", "moon"], "held-out, nominal"),
        ],
    )
    def test_eval_bad_input(self, fails, options, part):
        assert part in fails("skills", "eval", "walk_forward", *options)

    def test_graph_draws_and_prints(self, facts, fails, home, tmp_path):
        picture = tmp_path / "graph.svg"
        assert "no attempt" in fails("skills", "graph", "--file", picture, "--home", home)
        assert not picture.exists()
        with Store.open(home / "perdure.db") as store:
            store.register_skill(SkillRow(name="out", kind=SkillKind.TASK))
            attempt_id = store.start_attempt(AttemptStart(run_id=1, skill="out", started_s=3600.0))
            store.finish_attempt(AttemptEnd(attempt_id=attempt_id, ended_s=3610.0, outcome=Outcome.SUCCESS))
        found = facts("skills", "graph", "--file", picture, "--home", home)
        assert picture.read_text().startswith("<svg")
        assert found["nodes"]
        assert found["file"] == str(picture)
        assert "--file" in fails("skills", "graph", "--file", tmp_path / "no" / "graph.svg", "--home", home)


class TestHome:
    def test_option_before_variable(self, facts, monkeypatch, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            write_status(tmp_path / name, Status(state=name))
        monkeypatch.setenv("PERDURE_HOME", str(tmp_path / "a"))
        assert facts("status")["state"] == "a"
        assert facts("status", "--home", tmp_path / "b")["state"] == "b"

    def test_default_is_the_users_data_directory(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        assert resolve_home(None) == tmp_path / "perdure"


class TestErrors:
    def test_an_unforeseen_error_is_one_line_too(self, monkeypatch, fails, tmp_path):
        def broken(config, home, fresh):
            raise KeyError("x\ny")

        monkeypatch.setitem(sys.modules, "agent.daemon", SimpleNamespace(run_daemon=broken))
        message = fails("run", "--home", tmp_path)
        assert "unexpected KeyError" in message
        assert "PERDURE_TRACEBACK" in message

    def test_ctrl_c_is_130(self, monkeypatch, capsys, tmp_path):
        def interrupted(config, home, fresh):
            raise KeyboardInterrupt

        monkeypatch.setitem(sys.modules, "agent.daemon", SimpleNamespace(run_daemon=interrupted))
        assert main(["run", "--home", str(tmp_path), "--json"]) == 130
        assert capsys.readouterr().err.strip().endswith("Error: interrupted")

    def test_a_closed_pipe_is_silent(self, home):
        command = f"{sys.executable} -m agent.cli interventions list --home {home} | true"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
        assert done.stderr == ""


def test_the_written_defaults_are_a_valid_file(tmp_path):
    assert tomllib.loads(Config.load().to_toml())["learner"]["batch"] == 128


def test_limits_come_with_their_sources(capsys, facts, fails):
    assert main(["limits", "--robot", "a1"]) == 0
    text = capsys.readouterr().out
    assert "joint_torque" in text
    assert "Isaac Lab" in text
    assert facts("limits")["battery"] == {
        "name": "battery",
        "unit": "V",
        "lower": [14.0],
        "upper": None,
        "source": "four lithium cells at 3.5 V",
    }
    assert "no table of limits" in fails("limits", "--robot", "gym:Pendulum-v1")
