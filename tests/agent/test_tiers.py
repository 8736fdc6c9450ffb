"""Tiers: bounds by hand, what the books show of a skill, whose evidence counts, and what a real robot is spared."""

import json
import math
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import daemon, tier_books, tier_trial
from agent.cli import main
from agent.config import Config
from agent.daemon import run_daemon
from agent.inbox import EVALUATED, Request, request
from agent.policies import zoo_version
from agent.robots import GROUP, load_robot
from agent.settings import ConfigError
from agent.tier_books import evaluation_of, judge, read_evidence, unearned
from agent.tier_trial import try_out
from agent.tiers import Evidence, Tier, share_lower, standing
from persistence.home import Home
from persistence.records import (
    AttemptEnd,
    AttemptStart,
    InterruptClass,
    Intervention,
    Outcome,
    PolicyRow,
    RunStart,
    SelfRecovery,
    SkillKind,
    SkillRow,
    StateInterval,
)
from persistence.recovery import CRASH_CAUSE
from persistence.store import Store
from skills.registry import get

SHIPPED = zoo_version("minitaur", "walk")
LATER = SHIPPED + 1000
TRUSTED = Evidence(attempts=100, calls=0, beyond_limits=0, hours=3.0, falls=30, got_up=30)


def tier(**changes) -> Tier:
    return standing(replace(TRUSTED, **changes)).tier


class TestRules:
    def test_each_tier_has_its_bound(self):
        assert tier() is Tier.UNATTENDED
        # exp(-3) is just under 1 - 0.95: three hours without a call, and no less
        assert tier(hours=2.99) is Tier.FALL_SAFE
        assert tier(calls=1) is Tier.FALL_SAFE
        assert tier(calls=1, hours=4.75) is Tier.UNATTENDED
        assert tier(got_up=28) is Tier.RESETTABLE
        assert tier(falls=24, got_up=24) is Tier.RESETTABLE
        assert tier(falls=0, got_up=0) is Tier.RESETTABLE
        assert tier(falls=0, got_up=0, can_fall=False) is Tier.UNATTENDED
        assert tier(attempts=51) is Tier.RESETTABLE
        assert tier(beyond_limits=2) is Tier.RESETTABLE
        assert tier(attempts=24) is Tier.SIM_ONLY
        assert tier(calls=6) is Tier.SIM_ONLY
        assert standing(None).tier is Tier.SIM_ONLY

    def test_what_is_missing_is_said_with_numbers(self):
        assert standing(TRUSTED).missing == ()
        (calls,) = standing(replace(TRUSTED, hours=1.5)).missing
        assert calls == "0 calls in 1.50 h: at most 2 per hour, needs 1"
        up, kept = standing(replace(TRUSTED, got_up=20, beyond_limits=50)).missing
        assert up.startswith("got up from 20 of 30 falls: at least 0.5")
        assert kept.startswith("within limits in 50 of 100 attempts: at least 0.4")

    def test_wilsons_bound_by_hand(self):
        # All of n: n / (n + z squared), with z = 1.645.
        assert share_lower(25, 25) == pytest.approx(25 / (25 + 2.7055), abs=1e-4)
        assert share_lower(0, 0) == 0.0
        assert share_lower(0, 30) == pytest.approx(0.0, abs=1e-12)
        # z from tables: 50 of 100 at 90 % two-sided is 0.4189 to 0.5811.
        assert share_lower(50, 100) == pytest.approx(0.4189, abs=1e-4)

    @given(st.integers(1, 400), st.data())
    def test_more_of_what_is_good_never_costs_a_tier(self, attempts, data):
        e = Evidence(
            attempts=attempts,
            calls=data.draw(st.integers(1, 5)),
            beyond_limits=data.draw(st.integers(0, attempts - 1)),
            hours=data.draw(st.floats(0.0, 50.0)),
            falls=data.draw(st.integers(1, 100)),
            got_up=0,
        )
        e = replace(e, got_up=data.draw(st.integers(0, e.falls - 1)))
        before = standing(e).tier.rank
        assert standing(replace(e, calls=e.calls - 1)).tier.rank >= before
        assert standing(replace(e, got_up=e.got_up + 1)).tier.rank >= before
        assert standing(replace(e, hours=e.hours + 1.0)).tier.rank >= before
        assert standing(replace(e, attempts=e.attempts + 1)).tier.rank >= before

    def test_evidence_comes_back_as_it_went_in(self):
        assert Evidence.of(json.loads(json.dumps(TRUSTED.facts()))) == TRUSTED
        assert TRUSTED.facts()["calls_per_h_upper"] == pytest.approx(-math.log(0.05) / 3.0)
        assert replace(TRUSTED, hours=0.0).facts()["calls_per_h_upper"] is None


class Books:
    """A robot's life as the tests tell it."""

    def __init__(self, store: Store, robot: str = "minitaur", **settings) -> None:
        self.store, self.now_s = store, 0.0
        config = Config.load(None, {"run.robot": robot, **settings}).to_dict()
        self.run_id = store.start_run(RunStart(robot=robot, started_s=0.0, config=config))
        for name, kind in (("walk_forward", "task"), ("turn_left", "task"), ("return_home", "reset")):
            store.register_skill(SkillRow(name=name, kind=SkillKind(kind)))

    def attempt(self, skill: str, seconds: float = 10.0, outcome: Outcome = Outcome.SUCCESS, end: str = "time") -> None:
        number = self.store.start_attempt(AttemptStart(run_id=self.run_id, skill=skill, started_s=self.now_s))
        row = self.spent("ATTEMPT", seconds)
        done = AttemptEnd(attempt_id=number, ended_s=self.now_s, outcome=outcome, end_reason=end)
        self.store.finish_attempt(done, [row])

    def spent(self, state: str, seconds: float) -> StateInterval:
        began_s, self.now_s = self.now_s, self.now_s + seconds
        return StateInterval.of(state, began_s, self.now_s)

    def called(self, cause: str) -> None:
        self.store.add_intervention(
            Intervention(cause=cause, e10_class=InterruptClass.ASSIST, opened_s=self.now_s), self.now_s
        )
        self.store.record_intervals(self.run_id, [self.spent("NEED_HUMAN", 60.0)])

    def fell(self, *, got_up: bool) -> None:
        row = self.spent("RECOVER", 5.0)
        self.store.record_intervals(self.run_id, [row])
        fall = SelfRecovery(kind="fall", started_s=row.started_s, ended_s=row.ended_s, recovered=got_up)
        self.store.add_self_recovery(fall)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home").prepare()


@pytest.fixture
def store(home):
    with Store.open(home.db) as opened:
        yield opened


class TestBooks:
    def test_what_follows_an_attempt_counts_for_its_task(self, store):
        books = Books(store)
        books.attempt("walk_forward")
        books.attempt("return_home")
        books.called("reset_failed")
        books.attempt("turn_left", end="jolt", outcome=Outcome.UNSAFE)
        books.fell(got_up=True)
        books.attempt("walk_forward", outcome=Outcome.ABORTED)
        books.fell(got_up=False)
        books.called(CRASH_CAUSE)
        walk, turn = (read_evidence(store, name, can_fall=True) for name in ("walk_forward", "turn_left"))
        assert walk == Evidence(
            attempts=1, calls=1, beyond_limits=0, hours=(10.0 + 10.0 + 10.0 + 5.0) / 3600.0, falls=1, got_up=0
        )
        assert turn == Evidence(attempts=1, calls=0, beyond_limits=1, hours=15.0 / 3600.0, falls=1, got_up=1)

    def test_only_the_newest_attempts_count(self, store):
        books = Books(store)
        books.attempt("walk_forward")
        books.called("stand_up_failed")
        books.attempt("walk_forward")
        newest = read_evidence(store, "walk_forward", can_fall=True, newest=1)
        assert (newest.attempts, newest.calls, newest.hours) == (1, 0, 10.0 / 3600.0)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A library in which the zoo's policy of walk_forward may be left alone with a Minitaur."""
    row = evaluation_of(get("walk_forward"), "minitaur", TRUSTED, SHIPPED, "held-out", 0) | {"wall_utc": ""}
    path = tmp_path / "tiers.json"
    path.write_text(json.dumps([row]), encoding="utf-8")
    monkeypatch.setattr(tier_books, "LIBRARY", path)


class TestWhoseEvidence:
    ZOO = Config.load(None, {"run.robot": "minitaur", "run.start": "zoo"})

    def test_the_zoos_counts_for_a_run_that_begins_with_it_and_what_is_learned_on_from_it(self, store, shipped):
        walk = get("walk_forward")
        assert judge(walk, ("minitaur",), self.ZOO, store).standing.tier is Tier.UNATTENDED
        assert judge(walk, ("minitaur",), Config(), store).standing.tier is Tier.SIM_ONLY, "it has learned nothing"
        assert judge(walk, ("a1",), self.ZOO, store).standing.tier is Tier.SIM_ONLY
        assert judge(get("turn_left"), ("minitaur",), self.ZOO, store).standing.tier is Tier.SIM_ONLY
        store.add_policy(PolicyRow(version=LATER, robot_s=1.0, origin={"begun": "zoo", "version": SHIPPED}))
        store.add_policy(PolicyRow(version=LATER + 100, robot_s=2.0, parent=LATER))
        found = judge(walk, ("minitaur",), Config(), store)
        assert (found.version, found.evaluated_version, found.source) == (LATER + 100, SHIPPED, "library")
        store.add_policy(PolicyRow(version=LATER + 200, robot_s=3.0, origin={"begun": "nothing"}))
        assert judge(walk, ("minitaur",), self.ZOO, store).standing.tier is Tier.SIM_ONLY, "it is of another line"

    def test_the_homes_own_and_newest_goes_before_the_librarys(self, home, store, shipped):
        Books(store)
        store.add_policy(PolicyRow(version=LATER, robot_s=1.0, origin={"begun": "zoo", "version": SHIPPED}))
        worse = replace(TRUSTED, calls=3)
        store.close()
        for evidence, version in ((TRUSTED, LATER), (worse, LATER), (TRUSTED, 999)):
            row = evaluation_of(get("walk_forward"), "minitaur", evidence, version, "held-out", 0)
            request(home.root, Request(kind=EVALUATED, data=row))
        with Store.open(home.db, read_only=True) as books:
            found = judge(get("walk_forward"), ("minitaur",), self.ZOO, books)
        assert (found.source, found.evidence, found.standing.tier) == ("home", worse, Tier.FALL_SAFE)

    def test_what_has_not_earned_it_is_named_with_what_to_do(self, store, shipped):
        tasks = (get("walk_forward"), get("turn_left"))
        assert unearned(tasks[:1], ("minitaur",), self.ZOO, store) == ""
        problem = unearned(tasks, ("my_minitaur", "minitaur"), self.ZOO, store)
        assert problem.startswith("skill 'turn_left' is sim-only on 'my_minitaur'")
        assert "`perdure skills tier turn_left --robot my_minitaur --earn`" in problem
        assert "--attended" in problem

    def test_a_skill_that_the_home_does_not_know_is_not_stored(self, home, store):
        Books(store)
        store.close()
        row = evaluation_of(get("stand_up"), "minitaur", TRUSTED, None)
        with pytest.raises(ValueError, match="no run of this home has had the skill 'stand_up'"):
            request(home.root, Request(kind=EVALUATED, data=row))


@pytest.mark.parametrize("robot", sorted(entry_points(group=GROUP).names))
def test_every_robot_that_perdure_brings_is_a_simulation(robot):
    made = load_robot(robot, 0)
    assert made.spec.simulated
    made.close()


def test_held_out_robots_differ_from_the_nominal_one_and_by_seed():
    drawn = []
    for seed, held_out in ((1, True), (2, True), (1, True), (1, False)):
        robot = load_robot("minitaur", seed, held_out=held_out)
        drawn.append(robot.dynamics)
        robot.close()
    assert drawn[0] == drawn[2]
    assert len({str(each) for each in drawn}) == 3


def test_a_real_robot_is_left_alone_with_nothing_that_has_not_earned_it(tmp_path, monkeypatch):
    def load(*words, **options):
        robot = load_robot(*words, **options)
        robot._spec = replace(robot.spec, simulated=False)
        return robot

    monkeypatch.setattr(daemon, "load_robot", load)
    settings = {"run.robot": "minitaur", "run.start": "zoo", "run.attempts": 1, "learner.enabled": False}
    with pytest.raises(ConfigError, match=r"skill '\w+' is [\w-]+ on 'minitaur'.*--attended"):
        run_daemon(Config.load(None, settings), tmp_path / "alone")
    with Store.open(tmp_path / "alone" / "perdure.db", read_only=True) as store:
        assert store.rows("SELECT 1 FROM runs") == [], "nothing moved"
    run_daemon(Config.load(None, settings | {"run.attended": True}), tmp_path / "attended")
    with Store.open(tmp_path / "attended" / "perdure.db", read_only=True) as store:
        assert store.rows("SELECT count(*) AS n FROM attempts") == [{"n": 1}]


@pytest.mark.slow
def test_a_trial_is_a_run_of_the_daemon_on_robots_that_differ(tmp_path):
    told = []
    evidence, version = try_out(
        get("walk_forward"), "minitaur", "zoo", tmp_path, hours=0.01, rounds=2, seed=3, falls=2, told=told.append
    )
    assert version == SHIPPED
    assert evidence.attempts > 2
    assert 0.008 < evidence.hours < 0.013
    assert evidence.falls >= 2
    assert [line.partition(":")[0] for line in told[:2]] == ["robot 1 of 2", "robot 2 of 2"]
    assert list(tmp_path.iterdir()) == [], "the home is only read"


@pytest.mark.slow
def test_the_command_stores_what_was_earned(home, capsys, monkeypatch):
    monkeypatch.setattr(tier_trial, "try_out", partial(try_out, falls=2))
    with Store.open(home.db) as store:
        books = Books(store, **{"run.start": "zoo"})
        store.end_run(books.run_id, 0.0)
    words = ["skills", "tier", "--home", str(home.root), "--json"]
    assert main([*words, "walk_forward", "--earn", "--hours", "0.01", "--rounds", "1", "--seed", "3"]) == 0
    earned = json.loads(capsys.readouterr().out)
    assert (earned["id"], earned["policy_version"], earned["dynamics"]) == (1, SHIPPED, "held-out")
    assert main([*words, "walk_forward"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["source"], shown["tier"]) == ("home", earned["figures"]["tier"])
    assert shown["missing"] == earned["missing"] != []


def test_what_the_library_says_follows_from_its_figures_and_is_of_the_zoos_policies():
    rows = json.loads(tier_books.LIBRARY.read_text(encoding="utf-8"))
    assert len({(row["robot"], row["skill"]) for row in rows}) == len(rows) > 0
    for row in rows:
        assert row["figures"]["tier"] == standing(Evidence.of(row["figures"])).tier.value
        assert row["dynamics"] == "held-out"
        skill = get(row["skill"])
        assert row["policy_version"] == zoo_version(row["robot"], skill.family.name)
        assert f"--robot {row['robot']} --skills {row['skill']} " in row["command"]
