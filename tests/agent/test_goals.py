"""Goals that a person shows: learned on the command line, in force in the next run of the daemon."""

import json
from functools import partial

import numpy as np
import pytest
from goal_kit import door_goal

from agent import daemon, success_watch
from agent.cli import main
from agent.config import Config
from agent.daemon import run_daemon
from agent.goals import read_goals
from agent.marked import attempt_ids
from agent.success_watch import SUCCESS_WITHOUT_CAUSE, Jump, SuccessWatch
from persistence.episodes import Episode, write_episode
from persistence.files import sha256_file
from persistence.home import Home, HomeLock
from persistence.records import AttemptEnd, AttemptStart, Outcome, RunStart, SkillKind, SkillRow, StateInterval
from persistence.store import Store
from sim.kuka import kuka_spec, make_kuka
from sim.robot import FrameLayout
from skills.learners import success
from skills.registry import get
from skills.slide import END_M, OPEN_M
from tests.skills.arm_readings import reading

SPEC = kuka_spec()
LAYOUT = FrameLayout.of(SPEC)
GOOD, BAD = 10, 10
"""Attempts of `home` that end in the goal, the first ones, and that do not."""
NAN = np.float32("nan").tobytes()
SCRIPTED, UNFINISHED, OTHER_ROBOT = GOOD + BAD + 1, GOOD + BAD + 2, GOOD + BAD + 3


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    small = partial(success.SuccessConfig, hidden=(16,), ensemble=2, updates=200)
    monkeypatch.setattr(success, "SuccessConfig", small)


def episode(number, door_m, width=LAYOUT.width):
    """An attempt in which the door goes somewhere."""
    frames = np.stack([LAYOUT.pack(reading(door=at)) for at in np.linspace(0.06, door_m, 21)])[:, :width]
    actions = np.zeros((20, 5), np.float32)
    return Episode(
        uid=f"attempt-{number:08d}",
        skill="slide_open",
        action_space="hand",
        policy_version="1",
        frames=frames,
        stamps=0.1 * np.arange(21),
        actions=actions,
        proposed=actions,
        resting=actions[0],
        phase=np.zeros(21, np.float32),
        terminated=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A home with attempts of the arm, one of a walk, one that has not ended, and one of another robot."""
    home = Home(tmp_path_factory.mktemp("goals")).prepare()
    with Store.open(home.db) as store:
        run = store.start_run(RunStart(robot="kuka", started_s=0.0))
        store.register_skill(SkillRow(name="slide_open", kind=SkillKind.TASK, family="hand"))
        store.register_skill(SkillRow(name="stand_up", kind=SkillKind.RECOVERY))
        rng = np.random.default_rng(0)

        def add(run_id, skill, file):
            number = store.start_attempt(AttemptStart(run_id=run_id, skill=skill, started_s=0.0))
            end = AttemptEnd(
                attempt_id=number,
                ended_s=1.0,
                outcome=Outcome.TIMEOUT,
                episode_file=file and file.name,
                episode_sha256=file and file.sha256,
            )
            store.finish_attempt(end)

        for number in range(1, GOOD + BAD + 1):
            door_m = rng.uniform(0.12, 0.16) if number <= GOOD else rng.uniform(0.0, 0.09)
            add(run, "slide_open", write_episode(home, episode(number, door_m)))
        add(run, "stand_up", None)
        add(run, "slide_open", None)
        store.end_run(run, 1.0, rest=[StateInterval.of("STANDBY", 0.0, 1.0)])
        other = store.start_run(RunStart(robot="minitaur", started_s=1.0))
        add(other, "slide_open", write_episode(home, episode(OTHER_ROBOT, 0.1)))
        store.end_run(other, 2.0, rest=[StateInterval.of("STANDBY", 1.0, 2.0)])
    return home


@pytest.fixture
def home(finished):
    yield finished
    for path in finished.goals.glob("*"):
        path.unlink()


@pytest.fixture
def run(capsys, home):
    """Run ``perdure skills goal``; returns exit code, standard output and standard error."""

    def command(*words, skill="slide_open"):
        code = main(["skills", "goal", skill, *map(str, words), "--home", str(home.root)])
        return code, *capsys.readouterr()

    return command


SHOWN = ("--success", f"1-{GOOD}", "--failure", f"{GOOD + 1}-{GOOD + BAD}")


class TestCommand:
    def test_learns_what_the_person_marked_and_stores_it(self, run, home):
        code, out, _ = run(*SHOWN, "--json")
        facts = json.loads(out)
        assert code == 0
        path = home.goals / "slide_open.safetensors"
        assert (facts["skill"], facts["successes"], facts["failures"]) == ("slide_open", GOOD, BAD)
        assert (facts["file"], facts["sha256"]) == (str(path), sha256_file(path))
        assert facts["held_out"] == 4
        assert facts["held_out_accuracy"] >= 0.5
        goal = read_goals(home, SPEC, [get("slide_open"), get("slide_close")])["slide_open"]
        assert goal.sha256 == facts["sha256"]
        assert goal.classifier.reached(reading(door=0.15))
        assert not goal.classifier.reached(reading(door=0.03))

    def test_prints_facts_for_people_too(self, run):
        code, out, _ = run(*SHOWN)
        assert code == 0
        assert "held_out_accuracy" in out

    def test_remove_goes_back_to_the_skills_own_rule(self, run, home):
        run(*SHOWN)
        assert run("--remove", "--json")[0] == 0
        assert read_goals(home, SPEC, [get("slide_open")]) == {}
        assert "own rule is in force" in run("--remove")[2]

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            (("--success", "1-10", "--failure", "99"), "no attempt 99 in this home; it has 1 to 23"),
            (("--success", "1-10", "--failure", "5,11-20"), "attempt 5 is marked as success and as failure"),
            (("--success", "1-4", "--failure", "11-20"), "4 attempts marked as success are too few"),
            (("--success", "1-10", "--failure", "11-13"), "at least 5 of success and 5 of failure"),
            (("--success", "1-10", "--failure", SCRIPTED), "attempt 21 is one of stand_up"),
            (("--success", "1-10", "--failure", UNFINISHED), "attempt 22 of slide_open has no episode file"),
            (("--success", "1-10", "--failure", OTHER_ROBOT), "several robots, kuka, minitaur"),
            (("--success", "1-x", "--failure", "11-20"), "'1-x' is no attempt"),
            (("--success", "10-1", "--failure", "11-20"), "'10-1' is no range"),
            (("--success", "1-10"), "--failure"),
            ((), "--remove"),
            (("--remove", "--success", "1"), "--remove takes neither"),
        ],
    )
    def test_a_mistake_is_one_clear_line_and_stores_nothing(self, run, home, words, part):
        code, out, err = run(*words)
        assert code == 1
        assert (out, err.count("\n")) == ("", 1)
        assert part in err
        assert not list(home.goals.glob("*"))

    def test_a_scripted_skill_has_no_features_to_learn_from(self, run):
        assert "scripted" in run(*SHOWN, skill="return_home")[2]

    def test_an_unknown_skill_is_named(self, run):
        assert "did you mean 'slide_open'" in run(*SHOWN, skill="slide_opn")[2]

    def test_the_robot_of_a_running_daemon_is_left_alone(self, run, home):
        with HomeLock(home):
            assert "perdure stop" in run(*SHOWN)[2]

    def test_a_damaged_episode_is_named(self, run, home):
        path = home.episodes / "attempt-00000003.safetensors"
        whole = path.read_bytes()
        try:
            path.write_bytes(whole[:-1])
            assert path.name in run(*SHOWN)[2]
        finally:
            path.write_bytes(whole)


@pytest.mark.parametrize(
    ("text", "ids"), [("12", (12,)), ("12,15-18", (12, 15, 16, 17, 18)), (" 3 - 4 , 1,3", (1, 3, 4)), ("", ())]
)
def test_lists_of_attempts(text, ids):
    assert attempt_ids(text) == ids


@pytest.mark.parametrize("text", ["a", "-3", "3-", "1.5", "1-99999999999"])
def test_what_is_no_list_of_attempts(text):
    with pytest.raises(ValueError, match="12,15-18"):
        attempt_ids(text)


def config(**more):
    return Config.load(
        None,
        {
            "run.robot": "kuka",
            "run.skills": ["slide_open", "slide_close"],
            "run.speed": "max",
            "run.attempts": 1,
            "learner.hidden": [16, 16],
            "learner.warmup_steps": 100_000,
            **more,
        },
    )


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """A home in which the goal of opening the door is that it is open so far; the door begins shut."""
    home = Home(tmp_path).prepare()
    home.goals.mkdir()

    def load(name, seed, **_):
        arm = make_kuka(seed)
        arm.put_door(0.0)
        return arm

    monkeypatch.setattr(daemon, "load_robot", load)

    def show(open_from_m):
        (home.goals / "slide_open.safetensors").write_bytes(door_goal(open_from_m).to_bytes())
        return home

    return show


def rows(home, query):
    with Store.open(home.db, read_only=True) as store:
        return [tuple(row.values()) for row in store.rows(query)]


class TestDaemon:
    ATTEMPT = "SELECT skill, outcome, end_reason, measures FROM attempts"

    def test_the_attempt_succeeds_and_ends_where_the_person_wants_it(self, shown):
        home = shown(0.06)
        run_daemon(config(), home.root)
        ((skill, outcome, reason, measures),) = rows(home, self.ATTEMPT)
        assert (skill, outcome, reason) == ("slide_open", "success", "goal")
        assert json.loads(measures)["off_m"] > END_M  # the skill's own rule would have gone on
        ((data,),) = rows(home, "SELECT data FROM events WHERE kind = 'goals.read'")
        sha256 = sha256_file(home.goals / "slide_open.safetensors")
        assert json.loads(data) == {"goals": {"slide_open": sha256}, "rewards": {}}
        assert '"goals.read"' in home.log.read_text()

    def test_what_the_own_rule_takes_for_success_is_none(self, shown):
        home = shown(OPEN_M + 0.1)
        run_daemon(config(), home.root)
        ((skill, outcome, *_),) = rows(home, self.ATTEMPT)
        assert (skill, outcome) == ("slide_open", "timeout")

    @pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"", lambda data: data[:-4] + NAN])
    def test_a_damaged_file_is_refused_before_the_run_is_in_the_books(self, shown, damage):
        home = shown(0.06)
        path = home.goals / "slide_open.safetensors"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(ValueError, match=r"goal of slide_open in .*--remove"):
            run_daemon(config(), home.root)
        assert rows(home, "SELECT count(*) FROM runs") == [(0,)]

    def test_so_is_one_of_another_robot(self, shown):
        home = shown(0.06)
        weights = door_goal(0.06)
        narrow = type(weights)(
            layers=((weights.layers[0][0][:, :-1], weights.layers[0][1]),),
            mean=weights.mean[:-1],
            std=weights.std[:-1],
            caution=0.5,
            threshold=0.5,
        )
        (home.goals / "slide_open.safetensors").write_bytes(narrow.to_bytes())
        with pytest.raises(ValueError, match="features"):
            run_daemon(config(), home.root)

    def test_one_of_a_skill_that_does_not_run_is_not_looked_at(self, shown):
        home = shown(0.06)
        (home.goals / "walk_forward.safetensors").write_bytes(b"nonsense")
        run_daemon(config(), home.root)

    def test_success_without_cause_is_in_the_books_and_the_log(self, shown, monkeypatch):
        def found(skill, tried):
            return Jump(skill=skill, before=0.1, after=1.0, attempts=1, p_success=1e-9, p_reward=0.5)

        monkeypatch.setattr(success_watch, "find_jump", found)
        monkeypatch.setattr(daemon, "SuccessWatch", partial(SuccessWatch, window=1))
        home = shown(0.06)
        run_daemon(config(**{"run.attempts": 3}), home.root)
        found_rows = rows(home, "SELECT kind, source, detail FROM drift_events")
        assert len(found_rows) == 1  # three attempts, two of one skill
        kind, source, detail = found_rows[0]
        assert (kind, source) == (SUCCESS_WITHOUT_CAUSE, "detected")
        assert json.loads(detail)["skill"] in ("slide_open", "slide_close")
        assert (json.loads(detail)["before"], json.loads(detail)["after"]) == (0.1, 1.0)
        assert '"success.without_cause"' in home.log.read_text()
