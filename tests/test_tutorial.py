"""The tutorial is followed word for word: its commands are run, its file is written, and the skill learns."""

import json
import re
import shlex
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent.policies import ZOO
from benchmarks import trotting_drifts

TEXT = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
SETTINGS, FAULTS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
(CODE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def perdure(folder, command, *more):
    """Run a command of the tutorial in a folder, as its reader would."""
    program, *words = shlex.split(command)
    assert program == "perdure"
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli", *words, *more],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def follow(folder, *more):
    """All steps; returns outcomes of the attempts of the skill, in order."""
    new, check, run, _ = COMMANDS
    perdure(folder, new)
    perdure(folder, check)  # what was written keeps what a skill promises
    (folder / "hop_in_place" / "hop_in_place.py").write_text(CODE)
    assert "keeps what a skill promises" in perdure(folder, check)
    perdure(folder, run, "--speed", "max", "--json", *more)
    with sqlite3.connect(folder / "hopper" / "perdure.db") as store:
        assert store.execute("SELECT count(*) FROM faults WHERE kind = 'skill_quarantined'").fetchone() == (0,)
        return [
            row[0] for row in store.execute("SELECT outcome FROM attempts WHERE skill = 'hop_in_place' ORDER BY id")
        ]


def test_few_commands_and_few_lines_are_enough():
    assert len(COMMANDS) <= 4
    assert len(CODE.splitlines()) <= 40


def test_the_tutorial_works(tmp_path):
    outcomes = follow(tmp_path, "--attempts", "2")
    assert len(outcomes) == 2
    assert (tmp_path / "hop_in_place" / "test_hop_in_place.py").is_file()


def test_a_policy_is_corrected_with_the_settings_that_were_measured():
    advised = {f"learner.{name}": value for name, value in tomllib.loads(SETTINGS)["learner"].items()}
    assert advised
    assert advised.items() <= trotting_drifts.SETTINGS.items()


def test_a_robot_with_faults_practises_by_the_schedule_that_the_zoo_learned_with(tmp_path):
    assert tomllib.loads(FAULTS) == tomllib.loads((ZOO / "faults.toml").read_text(encoding="utf-8"))
    (tmp_path / "faults.toml").write_text(FAULTS)
    *_, go_on = COMMANDS
    perdure(tmp_path, go_on, "--attempts", "1", "--json")
    with sqlite3.connect(tmp_path / "walker" / "perdure.db") as store:
        (config,) = store.execute("SELECT config FROM runs").fetchone()
    assert json.loads(config)["sim"]["drift"] == "faults.toml"


@pytest.mark.slow
def test_the_skill_is_learned_within_six_minutes(tmp_path):
    outcomes = follow(tmp_path, "--hours", "0.1")
    assert sum(outcome == "success" for outcome in outcomes[-10:]) >= 8
