"""The curriculum in the scheduler, in a run, in its books, and as it is explained."""

import json
from collections import Counter

import numpy as np
import pytest
from pilot_world import FakeSkill, Once, World, tip_over

from agent.cli import main
from agent.config import Config
from agent.curriculum import Curriculum, Standing, Tried
from agent.curriculum_books import BEGUN, open_curriculum, stored_curriculum, tries
from agent.curriculum_facts import explain
from agent.daemon import run_daemon
from agent.ledger import STANDINGS
from agent.quarantine import SKILL_QUARANTINED
from agent.scheduler import Pose2D, Scheduler
from agent.skill_template import write_template
from agent.states import State
from meta.drift_monitor import Finding
from persistence.home import Home
from persistence.records import AttemptEnd, AttemptStart, DriftEvent, Fault, Outcome, RunStart, SkillKind, SkillRow
from persistence.store import Store
from sim.workspace import Workspace
from skills.registry import use_folders
from skills.skill import Level, Progress
from skills.skill import SkillKind as Kind

MIDDLE = Pose2D(x_m=0.0, y_m=0.0, yaw_rad=0.0)
DISTANCES_M = {"near": 1.0, "far": 2.0, "farther": 4.0}
CONFIG = Config()
UNIFORM = Config.load(None, {"run.curriculum": "uniform"})


class Walk(FakeSkill):
    """Of some distance; done or not as a list of outcomes says, and from then on done."""

    def __init__(self, name, outcomes=()):
        super().__init__(name, Kind.TASK, seconds=0.2)
        self.level = Level(of="walk_to", axis="distance_m", value=DISTANCES_M[name])
        self.outcomes = list(outcomes)

    def controller(self, spec, dt_s):
        made = super().controller(spec, dt_s)
        done = self.outcomes.pop(0) if self.outcomes else True
        made._progress = lambda reading: Progress.SUCCEEDED if done else Progress.FAILED
        return made


def walks(**outcomes):
    return tuple(Walk(name, outcomes.get(name, ())) for name in DISTANCES_M)


class TestScheduler:
    def draws(self, curriculum, attempts=300):
        tasks, drawn = walks(), Counter()
        made = Scheduler(tasks, Workspace(), np.random.default_rng(0), curriculum)
        for i in range(attempts):
            chosen = made.choose(MIDDLE, 4.0 * i)
            made.attempted(chosen.name, MIDDLE, MIDDLE, 0.5, 4.0 * i + 2.0)
            drawn[chosen.name] += 1
        return drawn

    def test_gives_each_task_its_share(self):
        needs = {"near": (), "far": ("near",), "farther": ("far",)}
        earlier = [Tried(skill="near", success=True, mean_reward=0.0)] * 20
        curriculum = Curriculum(needs, earlier=earlier)
        drawn, shares = self.draws(curriculum), curriculum.shares()
        assert {name: drawn[name] / 300 for name in shares} == pytest.approx(shares, abs=0.1)
        assert shares["farther"] < 0.15 < 0.6 < shares["far"]

    def test_takes_turns_where_it_is_told_to(self):
        drawn = self.draws(Curriculum({"near": (), "far": ("near",), "farther": ("far",)}, "uniform"))
        assert max(drawn.values()) - min(drawn.values()) <= 15

    def test_makes_a_curriculum_of_its_tasks_by_itself(self):
        made = Scheduler(walks(), Workspace(), np.random.default_rng(0))
        assert made.curriculum.waits_for("far") == ("near",)
        made.leave_out("near")
        assert made.curriculum.waits_for("far") == ()
        assert set(made.scores(MIDDLE, 0.0)) == {"far", "farther"}


def rows(world, sql, *parameters):
    with Store.open(world.home.db, read_only=True) as store:
        return store.rows(sql, parameters)


KINDS = json.dumps(list(STANDINGS.values()))


class TestRun:
    def test_levels_come_one_by_one_and_the_books_say_when(self, tmp_path):
        world = World(tmp_path, attempts=80, tasks=walks(far=[False] * 5, farther=[False] * 8))
        world.run()
        told = rows(
            world, "SELECT kind, data FROM events WHERE kind IN (SELECT value FROM json_each(?)) ORDER BY seq", KINDS
        )
        said = [(row["kind"], json.loads(row["data"])) for row in told]
        assert [(kind, data["skill"]) for kind, data in said] == [
            ("skill.practising", "far"),
            ("skill.mastered", "near"),
            ("skill.practising", "farther"),
            ("skill.mastered", "far"),
            ("skill.mastered", "farther"),
        ]
        assert said[1][1] == {
            "skill": "near",
            "before": "practising",
            "after": "mastered",
            "successes": 10,
            "attempts": 10,
        }
        skills = [row["skill"] for row in rows(world, "SELECT skill FROM attempts ORDER BY id")]
        assert Counter(skills)["near"] < 40

    def test_the_books_alone_give_the_same_curriculum(self, tmp_path):
        """Of falls, too."""
        world = World(tmp_path, attempts=25, tasks=walks(near=[True, False] * 8))
        world.run(Once(lambda robot: world.state is State.ATTEMPT, tip_over))
        lived = world.pilot.practice._scheduler.curriculum
        with Store.open(world.home.db, read_only=True) as store:
            again = Curriculum(lived.needs, earlier=tries(store))
        assert [row["outcome"] for row in rows(world, "SELECT outcome FROM attempts")][:2] == ["fall", "timeout"]
        assert again.shares() == lived.shares()
        assert [list(history.newest) for history in again.histories.values()] == [
            list(history.newest) for history in lived.histories.values()
        ]

    def test_an_evaluation_does_not_count(self, tmp_path):
        world = World(tmp_path, attempts=3, tasks=walks())
        world.pilot.practice.evaluations.extend(world.tasks[:1])
        world.run()
        assert rows(world, "SELECT DISTINCT skill, evaluation FROM attempts") == [{"skill": "near", "evaluation": 1}]
        assert not world.pilot.practice._scheduler.curriculum.histories["near"].newest


@pytest.fixture
def store(tmp_path):
    with Store.open(Home(tmp_path).prepare().db) as opened:
        opened.start_run(RunStart(robot="fake", started_s=0.0, seed=0))
        for name in DISTANCES_M:
            opened.register_skill(SkillRow(name=name, kind=SkillKind.TASK), 0.0)
        opened.register_skill(SkillRow(name="learned", kind=SkillKind.TASK, family="walking"), 0.0)
        yield opened


def add(store, skill, *outcomes, evaluation=False, version=None, return_=None):
    for outcome in outcomes:
        start_s = 10.0 * (store.rows("SELECT count(*) AS n FROM attempts")[0]["n"])
        start = AttemptStart(run_id=1, skill=skill, started_s=start_s, evaluation=evaluation, policy_version=version)
        end = AttemptEnd(
            attempt_id=store.start_attempt(start), ended_s=start_s + 5.0, outcome=outcome, steps=10, return_=return_
        )
        store.finish_attempt(end)


SETTINGS = {"learner.hidden": [16], "learner.warmup_steps": 100_000, "workspace.size_m": 20.0}


def write_walk(folder, name, value, requires=()):
    """A skill that is done whatever it does."""
    file = write_template(name, folder / name)[0]
    lines = f'level = Level(of="circle", axis="size_m", value={value})', f"requires = {requires!r}", "horizon_s = 0.5"
    text = file.read_text().replace("horizon_s = 10.0", "\n    ".join(lines))
    text = text.replace("import LearnedSkill", "import LearnedSkill, Level").replace(
        "return bool(ahead", "return True or ("
    )
    (folder / f"{name}.py").write_text(text)


class TestDaemon:
    @pytest.fixture(autouse=True)
    def _nothing_stays(self):
        yield
        use_folders(())

    def run(self, tmp_path, attempts, **changes):
        names = {"run.skills": ["small", "large"], "run.skill_folders": [str(tmp_path / "mine")]}
        config = Config.load(None, SETTINGS | names | {"run.attempts": attempts, **changes})
        run_daemon(config, tmp_path / "home")

    def test_a_run_goes_on_where_the_one_before_stood(self, tmp_path, capsys):
        write_walk(tmp_path / "mine", "small", 1.0)
        write_walk(tmp_path / "mine", "large", 2.0)
        self.run(tmp_path, 2)
        self.run(tmp_path, 3)
        with Store.open(tmp_path / "home" / "perdure.db", read_only=True) as store:
            skills = [row["skill"] for row in store.rows("SELECT skill FROM attempts ORDER BY id")]
            (begun_at,) = store.rows("SELECT robot_s FROM events WHERE kind = 'skill.practising'")
            (third,) = store.rows("SELECT ended_s FROM attempts WHERE skill = 'small' LIMIT 1 OFFSET 2")
            begun = [json.loads(row["data"]) for row in store.rows("SELECT data FROM events WHERE kind = ?", (BEGUN,))]
        assert skills.count("small") >= 3
        assert begun_at["robot_s"] == third["ended_s"]
        assert begun == [{"mode": "progress", "needs": {"large": ["small"], "small": []}}] * 2
        use_folders(())  # the books know enough
        assert main(["skills", "why", "small", "--home", str(tmp_path / "home")]) == 0
        n = skills.count("small")
        assert f"practised: new, {n} of {n} so far" in capsys.readouterr().out

    def test_skills_that_wait_for_each_other_are_refused_before_anything_is_in_the_books(self, tmp_path):
        write_walk(tmp_path / "mine", "small", 1.0, requires=("large",))
        write_walk(tmp_path / "mine", "large", 2.0)
        with pytest.raises(ValueError, match="skills wait for each other"):
            self.run(tmp_path, 2)
        with Store.open(tmp_path / "home" / "perdure.db", read_only=True) as store:
            assert store.rows("SELECT * FROM runs") == []


DONE, NOT = Outcome.SUCCESS, Outcome.TIMEOUT


class TestBooks:
    def test_only_attempts_that_say_something_count(self, store):
        add(store, "near", DONE, NOT, Outcome.FALL, Outcome.UNSAFE, return_=5.0)
        add(store, "near", Outcome.ABORTED, Outcome.FAULT)
        add(store, "near", DONE, evaluation=True)
        add(store, "learned", DONE)  # by its script
        add(store, "learned", DONE, version=3)
        found = list(tries(store))
        assert [(each.skill, each.success) for each in found] == [
            ("near", True),
            *[("near", False)] * 3,
            ("learned", True),
        ]
        assert [each.mean_reward for each in found] == [0.5] * 4 + [0.0]

    def test_nor_do_those_of_a_robot_that_was_not_what_it_was(self, store):
        add(store, "near", DONE)  # ends at 5 s
        store.add_drift(DriftEvent(kind="motor_strength", robot_s=6.0, source="injected"))
        add(store, "near", DONE)
        store.add_drift(DriftEvent(kind=Finding.CHANGED, robot_s=22.0))
        add(store, "near", NOT, NOT)
        store.add_drift(DriftEvent(kind=Finding.HABIT, robot_s=40.0))
        add(store, "near", DONE)
        assert [each.success for each in tries(store)] == [True, True, True]

    def test_no_curriculum_was_begun(self, store):
        assert stored_curriculum(store) is None
        assert explain(store) == ()

    def test_the_newest_run_counts_and_what_it_left_out(self, store):
        open_curriculum(store, walks(), UNIFORM, 0.0)
        assert stored_curriculum(store).mode == "uniform"
        open_curriculum(store, walks()[1:], CONFIG, 0.0)
        made = stored_curriculum(store)
        assert (made.mode, made.needs) == ("progress", {"far": (), "farther": ("far",)})
        store.add_fault(Fault(kind=SKILL_QUARANTINED, robot_s=1.0, detail={"skill": "far", "where": "over"}))
        assert stored_curriculum(store).standings() == {"farther": Standing.PRACTISING}


class TestWhy:
    def why(self, store, *told, newest=100):
        open_curriculum(store, walks(), CONFIG, 0.0)
        for skill, outcomes in told:
            add(store, skill, *outcomes)
        return {each.skill: each for each in explain(store, newest)}

    def test_before_the_first_attempt(self, store):
        found = self.why(store)
        assert found["near"].reason == "practised most: new, 0 of 0 so far"
        assert (found["near"].success_rate, found["near"].got_share) == (None, None)
        assert found["near"].wanted_share == pytest.approx(7 / 9)
        assert found["far"].reason == "waiting, tried now and then: needs near (0 of 0, enough from 3 of 3)"
        assert (found["far"].waits_for, found["far"].wanted_share) == (("near",), pytest.approx(1 / 9))

    def test_what_is_missing_is_named_with_its_figures(self, store):
        found = self.why(store, ("near", [DONE, NOT] * 10), ("far", [NOT] * 5))
        assert found["far"].reason == "waiting, tried now and then: needs near (10 of 20, enough from 14 of 20)"
        near = found["near"]
        assert (near.successes, near.attempts, near.success_rate) == (10, 20, 0.5)
        assert (near.lower, near.upper) == (pytest.approx(0.327, abs=1e-3), pytest.approx(0.673, abs=1e-3))
        assert near.reason == "practised most: success stays at 0.50"
        assert (near.got_share, found["far"].got_share) == (0.8, 0.2)

    def test_the_newest_attempts_tell_the_share(self, store):
        found = self.why(store, ("near", [NOT] * 5), ("far", [NOT] * 5), newest=5)
        assert (found["near"].got_share, found["far"].got_share) == (0.0, 1.0)

    def test_progress_mastery_and_its_loss_in_words(self, store):
        found = self.why(
            store, ("near", [DONE] * 20), ("far", [NOT] * 14 + [DONE] * 6), ("near", [NOT] * 14), ("far", [DONE] * 4)
        )
        assert found["near"].reason == (
            "practised again first: was mastered, and is not any more (6 of 20, mastered from 17 of 20)"
        )
        assert found["far"].reason.startswith("waiting, tried now and then: needs near (6 of 20")
        add(store, "near", *[DONE] * 20)
        found = {each.skill: each for each in explain(store)}
        assert found["near"].reason == "mastered (20 of 20, mastered from 17 of 20): practised now and then to keep it"
        assert found["far"].reason == "practised most: success went from 0.00 to 0.83"

    def test_where_success_stays_the_same_the_reward_is_told(self, store):
        open_curriculum(store, walks(), CONFIG, 0.0)
        for reward in (1.0, 4.0):
            add(store, "near", *[NOT] * 10, return_=reward)
        near = next(each for each in explain(store) if each.skill == "near")
        assert near.reason == "practised most: success stays at 0.00, reward per step went from 0.10 to 0.40"

    def test_all_alike(self, store):
        open_curriculum(store, walks(), UNIFORM, 0.0)
        found = {each.reason for each in explain(store)}
        assert found == {"practised in turn with the others (uniform): new, 0 of 0 so far"}

    def test_the_command(self, store, tmp_path, capsys):
        assert main(["skills", "why", "--home", str(tmp_path)]) == 1
        assert "start one with `perdure run`" in capsys.readouterr().err
        self.why(store, ("near", [DONE] * 2))
        assert main(["skills", "why", "--home", str(tmp_path), "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert [each["skill"] for each in printed] == ["far", "farther", "near"]
        assert printed[2]["standing"] == "practising"
        assert main(["skills", "why", "far", "--home", str(tmp_path)]) == 0
        assert "waiting, tried now and then: needs near (2 of 2, enough from 3 of 3)" in capsys.readouterr().out
        assert main(["skills", "why", "--home", str(tmp_path)]) == 0
        assert "near: practised most: new, 2 of 2 so far" in capsys.readouterr().out
        assert main(["skills", "why", "fra", "--home", str(tmp_path)]) == 1
        assert "far" in capsys.readouterr().err
        with store.transaction() as conn:  # the daemon's own, which a reader does not wait for
            conn.execute("UPDATE runs SET pid = 1")
            assert main(["skills", "why", "--home", str(tmp_path)]) == 0
