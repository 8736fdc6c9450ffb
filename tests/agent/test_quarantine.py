"""A run with a dozen skills that make mistakes, and one that makes none."""

import json

import pytest

from agent.config import Config
from agent.daemon import run_daemon
from agent.quarantine import NO_SKILL_LEFT, SKILL_QUARANTINED, quarantine_what_ends_the_daemon
from agent.skill_template import write_template
from persistence.home import Home
from persistence.records import AttemptStart, RunStart, SkillKind, SkillRow
from persistence.store import Store
from skills.contained import mistake_of
from skills.registry import get, use_folders

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
        ended = store.rows("SELECT * FROM runs ORDER BY id")[-1]
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


def crash(home, skill):
    """A daemon that ends while it attempts a skill."""
    with Store.open(Home(home).prepare().db) as store:
        store.recover()
        run_id = store.start_run(RunStart(robot="minitaur", started_s=0.0, seed=0))
        store.register_skill(SkillRow(name=skill, kind=SkillKind.TASK), 0.0)
        store.start_attempt(AttemptStart(run_id=run_id, skill=skill, started_s=0.0))


def mistake_after_crashes(home, skill):
    """What a start of the daemon has against a skill."""
    with Store.open(Home(home).prepare().db) as store:
        store.recover()
        quarantine_what_ends_the_daemon(store, [skill])
    return mistake_of(skill)


class TestWhatEndsTheDaemon:
    def test_is_quarantined_before_it_does_so_a_third_time_and_the_run_goes_on(self, tmp_path):
        write(tmp_path / "mine", "fatal")
        write(tmp_path / "mine", "circle")
        for _ in range(2):
            crash(tmp_path / "home", "fatal")
        faults, attempts, _ = run(tmp_path, ["fatal", "circle"], 3)
        assert [row["skill"] for row in attempts] == ["fatal"] * 2 + ["circle"] * 3
        what = json.loads(faults["fatal"]["detail"])["what"]
        assert "the daemon ended during each of its newest 2 attempts" in what
        assert str(tmp_path / "mine" / "fatal.py") in what

    def test_once_may_be_a_power_cut(self, tmp_path):
        write(tmp_path / "mine", "fatal")
        use_folders([tmp_path / "mine"])
        crash(tmp_path / "home", "fatal")
        assert mistake_after_crashes(tmp_path / "home", get("fatal")) is None
        crash(tmp_path / "home", "fatal")
        assert mistake_after_crashes(tmp_path / "home", get("fatal")) is not None

    def test_a_file_that_was_changed_since_has_another_chance(self, tmp_path):
        for _ in range(2):
            crash(tmp_path / "home", "fatal")
        write(tmp_path / "mine", "fatal")
        use_folders([tmp_path / "mine"])
        assert mistake_after_crashes(tmp_path / "home", get("fatal")) is None

    def test_perdures_own_skills_are_not_suspected(self, tmp_path):
        for _ in range(2):
            crash(tmp_path, "walk_forward")
        assert mistake_after_crashes(tmp_path, get("walk_forward")) is None
