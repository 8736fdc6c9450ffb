"""Rewards that a person shows: learned on the command line, in force in the next run and for all stored steps."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from learner_kit import learner_job

from agent import daemon
from agent.cli import main
from agent.config import Config
from agent.daemon import run_daemon
from agent.learning import Studies
from agent.marked import attempts_as_listed
from agent.rewards import read_pairs, read_rewards
from persistence.episodes import Episode, write_episode
from persistence.files import sha256_file
from persistence.home import Home, HomeLock
from persistence.records import AttemptEnd, AttemptStart, Outcome, RunStart, SkillKind, SkillRow, StateInterval
from persistence.store import Store
from sim.kuka import kuka_spec
from sim.minitaur import minitaur_spec
from sim.robot import FrameLayout
from skills.experience import transitions
from skills.learned_reward import RewardWeights, Source, reward_width
from skills.learners import rewards, success
from skills.registry import get
from skills.walk import WALKING_SKILLS
from tests.skills.arm_readings import reading

SPEC = kuka_spec()
LAYOUT = FrameLayout.of(SPEC)
N = 30
"""Attempts of `finished`, the later the wider the door is open in the end."""
DOORS_M = np.linspace(0.0, 0.16, N)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(success, "SuccessConfig", partial(success.SuccessConfig, hidden=(16,), ensemble=2, updates=150))
    monkeypatch.setattr(rewards, "PreferenceConfig", partial(rewards.PreferenceConfig, hidden=(16,), updates=80))


def episode(number, door_m):
    """An attempt in which the door goes somewhere."""
    frames = np.stack([LAYOUT.pack(reading(door=at)) for at in np.linspace(0.06, door_m, 21)])
    actions = np.random.default_rng(number).uniform(-0.1, 0.1, (20, 5)).astype(np.float32)
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
    """A home with attempts of the arm, and one of a script."""
    home = Home(tmp_path_factory.mktemp("rewards")).prepare()
    with Store.open(home.db) as store:
        run = store.start_run(RunStart(robot="kuka", started_s=0.0))
        store.register_skill(SkillRow(name="slide_open", kind=SkillKind.TASK, family="hand"))
        store.register_skill(SkillRow(name="stand_up", kind=SkillKind.RECOVERY))
        for index in range(N + 1):
            file = write_episode(home, episode(index + 1, DOORS_M[index])) if index < N else None
            skill = "slide_open" if file else "stand_up"
            end = AttemptEnd(
                attempt_id=store.start_attempt(AttemptStart(run_id=run, skill=skill, started_s=0.0)),
                ended_s=1.0,
                outcome=Outcome.TIMEOUT,
                steps=20,
                measures={"open_m": DOORS_M[index]} if file else {},
                episode_file=file and file.name,
                episode_sha256=file and file.sha256,
            )
            store.finish_attempt(end)
        store.end_run(run, 1.0, rest=[StateInterval.of("STANDBY", 0.0, 1.0)])
    return home


@pytest.fixture
def home(finished):
    yield finished
    for path in finished.rewards.glob("*"):
        path.unlink()


@pytest.fixture
def run(capsys, home):
    """Run ``perdure skills prefer`` or ``reward``; returns exit code, standard output and standard error."""

    def command(name, *words, skill="slide_open"):
        code = main(["skills", name, skill, *map(str, words), "--home", str(home.root)])
        return code, *capsys.readouterr()

    return command


def facts(answer):
    code, printed, error = answer
    assert code == 0, error
    return json.loads(printed)


WIDER = ("--better", "16-30", "--worse", "1-15", "--json")


def by_door(home, spec=SPEC):
    """What the stored reward gives a step that ends with the door shut, and open."""
    reward = read_rewards(home, spec, [get("slide_open")])["slide_open"].reward
    frames = np.stack([LAYOUT.pack(reading(door=at)) for at in (0.01, 0.01, 0.15)])
    steps = transitions(LAYOUT, _arrays(frames))
    return reward(steps)


def _arrays(frames):
    from skills.experience import AttemptArrays

    actions = np.zeros((len(frames) - 1, 5), np.float32)
    stamps = 0.1 * np.arange(len(frames))
    return AttemptArrays(
        family="hand",
        frames=frames,
        stamps_s=stamps,
        actions=actions,
        proposed=actions,
        resting=actions[0],
        phase_rad=np.zeros(len(frames), np.float32),
    )


class TestPrefer:
    def test_what_is_preferred_earns_more(self, run, home):
        told = facts(run("prefer", *WIDER))
        assert (told["reward"], told["pairs"], told["held_out"], told["needed"]) == ("preferences", 15, 15, 0)
        assert told["held_out_accuracy"] >= 0.8
        assert told["sha256"] == sha256_file(Path(told["file"]))
        shut, opened = by_door(home)
        assert opened > shut + 0.5

    def test_pairs_add_up_from_call_to_call_and_teach_once_there_are_enough(self, run, home):
        first = facts(run("prefer", "--better", "16-22", "--worse", "1-7", "--json"))
        assert (first["reward"], first["pairs"], first["needed"]) == ("own", 7, 3)
        assert "3 more pairs" in run("prefer", "--better", 16, "--worse", 1)[1]  # said before: no further pair
        again = facts(run("prefer", "--better", "23-30", "--worse", "8-15", "--json"))
        assert (again["reward"], again["pairs"], again["needed"]) == ("preferences", 15, 0)

    def test_what_is_said_anew_takes_the_place_of_what_was_said(self, run, home):
        facts(run("prefer", "--better", "4,5", "--worse", "9,9", "--json"))
        facts(run("prefer", "--better", "9", "--worse", "4", "--json"))
        assert read_pairs(home, "slide_open") == ((5, 9), (9, 4))

    def test_remove_forgets_all(self, run, home):
        facts(run("prefer", *WIDER))
        assert facts(run("prefer", "--remove", "--json"))["reward"] == "own"
        assert list(home.rewards.iterdir()) == []
        assert "no preferences" in run("prefer", "--remove")[2]

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            (("--better", "1,2", "--worse", "3"), "2 better and 1 worse"),
            (("--better", "1,2", "--worse", "3,2"), "attempt 2 cannot be better than itself"),
            (("--better", "1,2", "--worse", "2,1"), "attempt 1 is said to be better than 2, and worse"),
            (("--better", "1", "--worse", "99"), "no attempt 99 in this home; it has 1 to 31"),
            (("--better", "1", "--worse", N + 1), "attempt 31 is one of stand_up"),
            (("--better", "1-x", "--worse", "2"), "'1-x' is no attempt"),
            (("--better", "1"), "--worse"),
            ((), "--propose N"),
            (("--remove", "--propose", "3"), "or --remove"),
        ],
    )
    def test_a_mistake_is_one_clear_line_and_stores_nothing(self, run, home, words, part):
        code, printed, error = run("prefer", *words)
        assert (code, printed, error.count("\n")) == (1, "", 1)
        assert part in error
        assert not list(home.rewards.glob("*"))

    def test_a_scripted_skill_has_no_reward(self, run):
        assert "scripted" in run("prefer", *WIDER, skill="return_home")[2]

    def test_the_robot_of_a_running_daemon_is_left_alone(self, run, home):
        with HomeLock(home):
            assert "perdure stop" in run("prefer", *WIDER)[2]

    def test_lists_keep_their_order(self):
        assert attempts_as_listed("9,2-4,9") == (9, 2, 3, 4, 9)


class TestPropose:
    def test_without_a_reward_pairs_are_drawn_by_lot_each_attempt_once(self, run):
        pairs = facts(run("prefer", "--propose", 5, "--json"))
        named = [pair[side] for pair in pairs for side in ("first", "second")]
        assert len(pairs) == 5
        assert len(set(named)) == 10
        assert all(pair["doubt"] is None for pair in pairs)
        assert pairs[0]["first_measures"] == {"open_m": pytest.approx(DOORS_M[pairs[0]["first"] - 1])}

    def test_where_attempts_are_few_they_are_asked_about_again(self, run):
        pairs = facts(run("prefer", "--propose", 40, "--json"))
        named = [pair[side] for pair in pairs for side in ("first", "second")]
        assert len({(pair["first"], pair["second"]) for pair in pairs}) == 40
        assert set(named) == set(range(1, N + 1))
        assert max(map(named.count, named)) <= 4

    def test_with_one_those_come_first_whose_order_is_least_certain(self, run):
        facts(run("prefer", "--better", "21-30", "--worse", "1-10", "--json"))
        pairs = facts(run("prefer", "--propose", 4, "--json"))
        doubts = [pair["doubt"] for pair in pairs]
        assert doubts == sorted(doubts, reverse=True)
        assert doubts[0] > 0.0
        # Nobody asks whether a door wide open is better than one that is shut.
        assert all(abs(pair["first"] - pair["second"]) < 15 for pair in pairs)

    def test_what_was_compared_is_not_asked_again(self, run):
        facts(run("prefer", *WIDER))
        said = {frozenset((16 + i, 1 + i)) for i in range(15)}
        pairs = facts(run("prefer", "--propose", 15, "--json"))
        assert not said & {frozenset((pair["first"], pair["second"])) for pair in pairs}

    def test_people_get_a_table_and_the_next_command(self, run):
        printed = run("prefer", "--propose", 2)[1]
        assert "open_m=" in printed
        assert "perdure skills prefer slide_open --better" in printed


class TestReward:
    def test_own_terms_are_what_counts_where_nothing_was_shown(self, run):
        told = facts(run("reward", "--json"))
        assert (told["reward"], told["held_out_accuracy"], told["file"]) == ("own", None, None)

    def test_it_is_learned_from_examples_and_says_how_to_go_back(self, run, home):
        code, printed, error = run("reward", "--success", "21-30", "--failure", "1-12")
        assert code == 0, error
        assert "perdure skills reward slide_open --own" in printed
        assert facts(run("reward", "--json"))["reward"] == "examples"
        shut, opened = by_door(home)
        assert opened > shut + 0.5
        assert facts(run("reward", "--own", "--json"))["reward"] == "own"
        assert "own terms" in run("reward", "--own")[2]

    def test_what_was_compared_outlives_another_reward(self, run, home):
        facts(run("prefer", *WIDER))
        facts(run("reward", "--success", "21-30", "--failure", "1-12", "--json"))
        told = facts(run("reward", "--json"))
        assert (told["reward"], told["pairs"]) == ("examples", 15)
        facts(run("prefer", "--remove", "--json"))
        assert facts(run("reward", "--json"))["reward"] == "examples"

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            (("--success", "21-30"), "--failure"),
            (("--own", "--success", "1"), "--own takes neither"),
            (("--success", "1-10", "--failure", "10-20"), "attempt 10 is marked as success and as failure"),
            (("--success", "1-4", "--failure", "10-20"), "too few"),
        ],
    )
    def test_a_mistake_is_one_clear_line_and_stores_nothing(self, run, home, words, part):
        code, printed, error = run("reward", *words)
        assert (code, printed, error.count("\n")) == (1, "", 1)
        assert part in error
        assert not list(home.rewards.glob("*.safetensors"))


def constant(reward, source=Source.PREFERENCES, spec=SPEC, family="slide_open"):
    """A reward that is the same for each step."""
    width = reward_width(spec, get(family).family, source)
    layer = np.zeros((1, width, 1), np.float32), np.full((1, 1, 1), reward, np.float32)
    zero, one = np.zeros(width, np.float32), np.ones(width, np.float32)
    return RewardWeights(layers=(layer,), mean=zero, std=one, caution=0.0, source=source, held_out_accuracy=1.0)


class TestLearner:
    def test_every_stored_step_earns_what_was_shown_whoever_made_it(self, finished, tmp_path):
        told = {"slide_open": constant(2.5)}
        job = learner_job(tmp_path, tmp_path, spec=SPEC, family="hand", skills=("slide_open", "slide_close"))
        own, shown = Studies(job), Studies(replace(job, rewards=told))
        for path in sorted(finished.episodes.iterdir()):
            own.ingest(path)
            shown.ingest(path)
        drawn, before = (studies.buffer.sample(np.random.default_rng(0), 400) for studies in (shown, own))
        going_on = drawn.terminated[:, 0] == 0
        assert going_on.sum() > 100
        np.testing.assert_allclose(drawn.reward[going_on, 0], 2.5)
        assert len(np.unique(before.reward[:, 0])) > 10
        np.testing.assert_allclose(drawn.reward[:, 1], before.reward[:, 1])

    def test_an_end_goes_on_for_ever(self, finished, tmp_path):
        job = learner_job(tmp_path, tmp_path, spec=SPEC, family="hand", skills=("slide_open",))
        studies = Studies(
            replace(job, rewards={"slide_open": constant(2.0)}, settings={**job.settings, "discount": 0.75})
        )
        studies.ingest(finished.episodes / f"attempt-{N:08d}.safetensors")
        drawn = studies.buffer.sample(np.random.default_rng(0), 400)
        assert drawn.terminated.any()
        np.testing.assert_allclose(drawn.reward, np.where(drawn.terminated, 8.0, 2.0))

    def test_no_mirror_image_tells_it_what_another_skill_earns(self, tmp_path):
        spec = minitaur_spec()
        names = tuple(skill.name for skill in WALKING_SKILLS)
        job = learner_job(tmp_path, tmp_path, spec=spec, skills=names, symmetry=True, settings={"batch": 16})
        kept = {}
        for skill in (None, "walk_forward", "turn_left"):
            told = {skill: constant(1.0, spec=spec, family=skill)} if skill else {}
            kept[skill] = Studies(replace(job, rewards=told))._mirrors()
        assert len(kept[None]) == 3
        assert [mirror.skill_of.tolist() for mirror in kept["walk_forward"]] == [[0, 1, 3, 2]]  # left for right
        assert [mirror.skill_of.tolist() for mirror in kept["turn_left"]] == [[1, 0, 2, 3]]  # turned about

    @pytest.mark.parametrize(
        ("changes", "part"),
        [
            ({"algorithm": "ars"}, "--own"),
            ({"population": ({"hidden": (16,), "batch": 16, "discount": 0.9},)}, "gamma"),
        ],
    )
    def test_a_learner_that_cannot_use_it_says_so(self, tmp_path, changes, part):
        job = learner_job(tmp_path, tmp_path, spec=SPEC, family="hand", skills=("slide_open",), **changes)
        Studies(job)
        with pytest.raises(ValueError, match=part):
            Studies(replace(job, rewards={"slide_open": constant(1.0)}))


NAN = np.float32("nan").tobytes()


class TestDaemon:
    CONFIG = Config.load(
        None,
        {
            "run.robot": "kuka",
            "run.skills": ["slide_open"],
            "run.speed": "max",
            "run.attempts": 1,
            "learner.hidden": [16, 16],
            "learner.warmup_steps": 100_000,
        },
    )

    @pytest.fixture
    def shown(self, tmp_path):
        home = Home(tmp_path).prepare()
        home.rewards.mkdir()
        self.path(home).write_bytes(constant(1.0).to_bytes())
        return home

    @staticmethod
    def path(home):
        return home.rewards / "slide_open.safetensors"

    def test_a_run_goes_by_it_and_says_so_and_another_one_is_another_phase(self, shown):
        run_daemon(self.CONFIG, shown.root)
        self.path(shown).unlink()
        run_daemon(self.CONFIG, shown.root)
        with Store.open(shown.db, read_only=True) as store:
            events = [
                json.loads(row["data"]) for row in store.rows("SELECT data FROM events WHERE kind = 'goals.read'")
            ]
            phases = [row["reason"] for row in store.rows("SELECT reason FROM phases ORDER BY id")]
            (attempt,) = store.rows("SELECT return, reward_terms FROM attempts LIMIT 1")
        assert list(events[0]["rewards"]) == ["slide_open"]
        assert events[1] == {"goals": {}, "rewards": {}}
        assert phases[1].startswith("reward of slide_open: ")
        assert phases[1].endswith(" -> own terms")
        assert len(json.loads(attempt["reward_terms"])) > 1, "the books go by the skill's own terms"

    def test_the_learners_process_is_told(self, shown, monkeypatch):
        jobs, make = [], daemon.learner_job

        def listen(*given):
            jobs.append(make(*given))
            return jobs[-1]

        monkeypatch.setattr(daemon, "learner_job", listen)
        run_daemon(self.CONFIG, shown.root)
        (job,) = jobs
        assert job.rewards["slide_open"].to_bytes() == constant(1.0).to_bytes()

    @pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: data[:-4] + NAN])
    def test_a_damaged_file_is_refused_before_the_run_is_in_the_books(self, shown, damage):
        self.path(shown).write_bytes(damage(self.path(shown).read_bytes()))
        with pytest.raises(ValueError, match=r"reward of slide_open in .*--own"):
            run_daemon(self.CONFIG, shown.root)
        with Store.open(shown.db, read_only=True) as store:
            assert store.rows("SELECT * FROM runs") == []
