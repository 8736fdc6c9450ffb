"""A run with a dozen skills that make mistakes, and one that makes none."""

import json

import pytest

from agent.config import Config
from agent.daemon import run_daemon
from agent.quarantine import NO_SKILL_LEFT, SKILL_QUARANTINED
from agent.skill_template import write_template
from persistence.store import Store
from skills.registry import use_folders

SETTINGS = {"learner.hidden": [16], "learner.warmup_steps": 100_000, "workspace.size_m": 20.0}
FUNCTIONS = {
    "raises": "def over(self, o):\n        raise KeyError('hip')",
    "hangs": "def over(self, o):\n        while True:\n            pass",
    "sleeps": "def over(self, o):\n        __import__('time').sleep(60)",
    "is_slow": "def over(self, o):\n        __import__('time').sleep(0.03)",
    "exits": "def success(self, steps):\n        raise SystemExit(3)",
    "says_maybe": "def success(self, steps):\n        return 'maybe'",
    "measures_words": "def measures(self, steps):\n        return {'speed': 'fast'}",
    "earns_nothing_known": "def reward_terms(self, step):\n        return {'good': step.dt_s * float('nan')}",
    "earns_a_sum": "def reward_terms(self, step):\n        return {'good': step.dt_s.sum()}",
    "wants_memory": "def reward_terms(self, step):\n        return {'good': bytearray(1 << 60)}",
    "starts_nowhere": "def start_problem(self, o):\n        return o.no_such_sensor",
    "ends_in_numbers": "def over(self, o):\n        return 3",
}


@pytest.fixture(autouse=True)
def _nothing_stays():
    yield
    use_folders(())


def write(folder, name, function=""):
    """A skill whose time is short, and one of whose functions is another one."""
    file = write_template(name, folder / name)[0]
    text = file.read_text().replace("horizon_s = 10.0", "horizon_s = 1.0")
    if function:
        text = text.replace("\nSKILL = ", f"    {function}\n\n\nSKILL = ")
    (folder / f"{name}.py").write_text(text)


def run(tmp_path, names, attempts):
    settings = {"run.skills": names, "run.skill_folders": [str(tmp_path / "mine")], "run.attempts": attempts}
    run_daemon(Config.load(None, SETTINGS | settings), tmp_path / "home")
    with Store.open(tmp_path / "home" / "perdure.db", read_only=True) as store:
        faults = store.rows("SELECT detail, robot_s FROM faults WHERE kind = ? ORDER BY id", (SKILL_QUARANTINED,))
        attempts = store.rows("SELECT skill, outcome, end_reason, started_s FROM attempts ORDER BY id")
        (ended,) = store.rows("SELECT * FROM runs")
    return {json.loads(row["detail"])["skill"]: row for row in faults}, attempts, ended


def test_a_dozen_bad_skills_are_quarantined_and_the_run_goes_on(tmp_path):
    mine = tmp_path / "mine"
    for name, function in FUNCTIONS.items():
        write(mine, name, function)
    write(mine, "circle")
    faults, attempts, _ = run(tmp_path, [*FUNCTIONS, "circle"], 30)
    assert set(faults) == set(FUNCTIONS)
    detail = json.loads(faults["raises"]["detail"])
    assert (detail["where"], detail["what"]) == ("over", "KeyError: 'hip'")
    assert "took longer" in json.loads(faults["sleeps"]["detail"])["what"]
    assert sum(row["skill"] == "circle" for row in attempts) >= 30 - len(FUNCTIONS)
    for name, row in faults.items():
        mine_ = [each for each in attempts if each["skill"] == name]
        assert len(mine_) <= 1
        assert all((each["outcome"], each["end_reason"]) == ("fault", "quarantined") for each in mine_)
        assert all(each["started_s"] <= row["robot_s"] for each in mine_)


def test_without_any_skill_left_the_run_ends_and_says_why(tmp_path):
    write(tmp_path / "mine", "raises", FUNCTIONS["raises"])
    faults, attempts, ended = run(tmp_path, ["raises"], 5)
    assert list(faults) == ["raises"]
    assert len(attempts) == 1
    assert ended["end_reason"] == NO_SKILL_LEFT
