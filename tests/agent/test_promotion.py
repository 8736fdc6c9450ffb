"""Which policy is deployed: by comparisons whose outcome is decided here, on a home with real books."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from agent import comparison, evaluation, promotion
from agent.cli import main
from agent.config import Config
from agent.opening import fixed_policies
from agent.paired_test import paired
from agent.policies import POLICY_TENSOR, deployed_file, deployment, find_policy, zoo_version
from agent.promotion import MARGIN, not_worse, promote, roll_back
from agent.settings import ConfigError
from persistence.checkpoints import save_checkpoint
from persistence.home import Home
from persistence.records import Outcome, RunStart, SkillKind, SkillRow
from persistence.store import Store
from skills.policy import PolicyWeights
from skills.registry import get

SKILL = "walk_forward"
SHIPPED = zoo_version("minitaur", "walk")


def weights(version: int) -> PolicyWeights:
    return PolicyWeights(
        version=version,
        layers=((np.full((3, 4), version, np.float32), np.zeros(4, np.float32)),),
        obs_mean=np.zeros(2, np.float32),
        obs_std=np.ones(2, np.float32),
    )


@pytest.fixture
def home(tmp_path):
    paths = Home(tmp_path / "home").prepare()
    with Store.open(paths.db) as store:
        config = Config.load(None, {"run.robot": "minitaur"}).to_dict()
        run_id = store.start_run(RunStart(robot="minitaur", started_s=0.0, config=config))
        store.register_skill(SkillRow(name=SKILL, kind=SkillKind.TASK))
        store.end_run(run_id, 0.0)
    for seq, version in enumerate((10, 20, 30), start=1):
        tensors = {POLICY_TENSOR: np.frombuffer(weights(version).to_bytes(), np.uint8)}
        save_checkpoint(paths.checkpoints, seq, tensors, {})
    return paths.root


@pytest.fixture
def world(monkeypatch):
    """Attempts that succeed where a number drawn for the attempt is below the version's share."""
    made = SimpleNamespace(shares={10: 0.5, 20: 0.9, 30: 0.88}, seeds=[])

    def attempts_of(skill, robot, policy, n, seed, dynamics="held-out", config=None):
        made.seeds.append(seed)
        drawn = np.random.default_rng(seed).random(n)
        outcomes = [Outcome.SUCCESS if each < made.shares[policy.version] else Outcome.FALL for each in drawn]
        return [
            SimpleNamespace(outcome=each, return_=1.0, measures={"speed_mps": 1.0}, end_reason="") for each in outcomes
        ]

    monkeypatch.setattr(comparison, "attempts_of", attempts_of)
    monkeypatch.setattr(evaluation, "attempts_of", attempts_of)
    return made


def decide(home, policy, attempts=100):
    return promote(SKILL, "minitaur", policy, attempts, home, "Ada")


def rows(home, sql):
    with Store.open(Home(home).db, read_only=True) as store:
        return store.rows(sql)


def test_the_first_is_deployed_with_its_evaluation(home, world):
    done = decide(home, "10", attempts=10)
    assert (done["action"], done["policy_version"], done["before_version"]) == ("promote", 10, None)
    (row,) = rows(home, "SELECT * FROM v_deployed")
    assert (row["skill"], row["operator"], json.loads(row["evaluations"])) == (SKILL, "Ada", [1])
    (evaluated,) = rows(home, "SELECT * FROM evaluations")
    assert (evaluated["purpose"], evaluated["policy_version"], evaluated["dynamics"]) == ("eval", 10, "held-out")
    assert json.loads(evaluated["figures"])["success_interval"][0] < evaluated["success_rate"]
    found = find_policy("deployed", "minitaur", get(SKILL), home)
    assert found.sha256 == weights(10).sha256


def test_one_that_never_succeeds_is_not_deployed_even_as_the_first(home, world, capsys):
    world.shares[10] = 0.0
    done = decide(home, "10", attempts=10)
    assert (done["action"], done["policy_version"], done["comparison"]) == ("keep", None, None)
    assert "never succeeded in 10 attempts" in done["reason"]
    assert deployment(home, SKILL) is None
    ((kept,),) = [tuple(row.values()) for row in rows(home, "SELECT id FROM evaluations")]
    assert done["evaluations"] == [kept]
    assert main(["skills", "promote", SKILL, "--policy", "10", "--attempts", "10", "--home", str(home)]) == 1
    assert "never succeeded" in capsys.readouterr().out


def test_a_better_one_replaces_it_and_a_worse_one_does_not(home, world):
    decide(home, "10")
    better = decide(home, "20")
    assert (better["action"], better["policy_version"], better["before_version"]) == ("promote", 20, 10)
    assert better["reason"].startswith("better: difference +0.")
    worse = decide(home, "10")
    assert (worse["action"], worse["policy_version"]) == ("keep", 20)
    assert deployment(home, SKILL)["policy_version"] == 20
    figures = [
        json.loads(row["figures"]) for row in rows(home, "SELECT * FROM evaluations WHERE purpose = 'comparison'")
    ]
    assert [each["against"] for each in figures] == [10, 20, 20, 10], "the evaluation that kept it is there too"


def test_one_that_is_hardly_worse_replaces_it_and_the_attempts_are_new_each_time(home, world):
    decide(home, "20")
    done = decide(home, "30", attempts=200)
    assert (done["action"], done["comparison"]["better"]) == ("promote", None)
    assert done["comparison"]["interval"][0] > -MARGIN
    assert done["reason"].startswith("not worse: ")
    first, *pairs = world.seeds
    assert first not in pairs
    assert len(pairs) == 2 * len(set(pairs)), "both made the same attempts"


def test_what_cannot_be_told_apart_is_not_deployed(home, world):
    decide(home, "20")
    assert decide(home, "30", attempts=10)["action"] == "keep", "ten pairs say next to nothing"
    assert not not_worse({"better": None, "interval": [-0.2, 0.3]}, "30")
    assert not not_worse({"better": "deployed", "interval": [-0.05, -0.01]}, "30")


def test_a_deployed_one_that_turns_out_worse_is_rolled_back(home, world):
    decide(home, "20")
    world.shares[30] = 0.95
    decide(home, "30")
    kept = roll_back(SKILL, "minitaur", 100, home, "Ada")
    assert (kept["action"], kept["policy_version"]) == ("keep", 30)
    world.shares[30] = 0.3  # the floor has been polished since
    done = roll_back(SKILL, "minitaur", 100, home, "Ada")
    assert (done["action"], done["policy_version"], done["before_version"]) == ("roll_back", 20, 30)
    actions = rows(home, "SELECT action, policy_version, before_version FROM deployments ORDER BY id")
    assert [tuple(row.values()) for row in actions] == [
        ("promote", 20, None),
        ("promote", 30, 20),
        ("roll_back", 20, 30),
    ]
    assert roll_back(SKILL, "minitaur", 100, home, "Ada")["action"] == "keep", "30 is the one before now"


def test_a_deployed_policy_outlives_its_checkpoint_and_is_checked(home, world):
    decide(home, "10", attempts=10)
    for seq in (4, 5, 6):
        tensors = {POLICY_TENSOR: np.frombuffer(weights(10 * seq).to_bytes(), np.uint8)}
        save_checkpoint(Home(home).checkpoints, seq, tensors, {})
    for which in ("deployed", "10"):
        assert find_policy(which, "minitaur", get(SKILL), home).version == 10
    path = deployed_file(home, SKILL, 10)
    path.write_bytes(weights(11).to_bytes())
    with pytest.raises(ValueError, match="is not what was deployed"):
        find_policy("deployed", "minitaur", get(SKILL), home)
    path.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        find_policy("deployed", "minitaur", get(SKILL), home)


def test_a_run_acts_with_what_is_deployed_for_each_skill_and_does_not_learn(home, world):
    decide(home, "10", attempts=10)
    config = Config.load(None, {"run.robot": "minitaur", "run.start": "deployed", "learner.enabled": False})
    (acting,) = fixed_policies(config, Home(home), (get(SKILL),), 3)
    assert (acting.version, acting.skill) == (10, SKILL)
    with pytest.raises(ValueError, match=r"no policy of 'turn_left' is deployed .*perdure skills promote turn_left"):
        fixed_policies(config, Home(home), (get("turn_left"),), 3)
    learning = Config.load(None, {"run.robot": "minitaur", "run.start": "deployed"})
    with pytest.raises(ConfigError, match=r"learner\.enabled=false"):
        fixed_policies(learning, Home(home), (get(SKILL),), 3)


def test_what_makes_no_sense_says_why(home, world):
    with pytest.raises(ValueError, match=r"no policy is deployed of 'walk_forward'; there is nothing to go back to"):
        roll_back(SKILL, "minitaur", 10, home, "Ada")
    decide(home, "10", attempts=10)
    with pytest.raises(ValueError, match="policy 10 was the first deployed one"):
        roll_back(SKILL, "minitaur", 10, home, "Ada")
    with pytest.raises(ValueError, match="policy 10 is the deployed one of 'walk_forward' already"):
        decide(home, "10")
    with pytest.raises(ValueError, match="scripted"):
        promote("stand_up", "minitaur", "zoo", 10, home, "Ada")


def test_a_policy_of_the_zoo_is_a_candidate_unless_it_acts_at_other_rates(home, world):
    world.shares[SHIPPED] = 0.9
    assert decide(home, "zoo", attempts=10)["policy_version"] == SHIPPED
    with Store.open(Home(home).db) as store:
        config = Config.load(None, {"run.robot": "minitaur", "control.policy_rate_hz": 10}).to_dict()
        run_id = store.start_run(RunStart(robot="minitaur", started_s=0.0, config=config))
        store.end_run(run_id, 0.0)
    with pytest.raises(ValueError, match=r"other settings than this home has: control\.policy_rate_hz: 10 -> 25"):
        decide(home, "zoo")


def test_the_commands_tell_it_and_the_exit_code_says_whether_it_was_deployed(home, world, capsys):
    words = ["--home", str(home)]
    assert main(["skills", "promote", SKILL, "--policy", "20", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["policy_version"] == 20
    assert main(["skills", "promote", SKILL, "--policy", "10", *words]) == 1
    assert "policy 10 is not shown to be as good" in capsys.readouterr().out
    assert main(["policies", "deployments", *words, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["policy_version"], row["evaluations"]) == (20, [1])
    assert main(["skills", "promote", SKILL, "--policy", "newest", *words]) == 1
    assert "valid: zoo, latest, deployed, or a version number" in capsys.readouterr().err


def test_an_evaluation_of_a_homes_policy_is_stored_and_one_of_the_zoos_is_not(home, world, capsys):
    world.shares[SHIPPED] = 0.9
    words = ["skills", "eval", SKILL, "--home", str(home), "--attempts", "5", "--seed", "4", "--json"]
    assert main([*words, "--policy", "20"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["evaluation"] == 1
    (row,) = rows(home, "SELECT skill, policy_version, robot, dynamics, seed, attempts, purpose FROM evaluations")
    assert tuple(row.values()) == (SKILL, 20, "minitaur", "held-out", 4, 5, "eval")
    assert main([*words, "--policy", "zoo"]) == 0
    assert "evaluation" not in json.loads(capsys.readouterr().out)
    assert len(rows(home, "SELECT 1 FROM evaluations")) == 1


def test_a_policy_worse_by_the_margin_is_hardly_ever_deployed():
    """Pairs that share nothing, the hardest case; about one of forty, and 600 draws leave that room."""
    rng = np.random.default_rng(0)
    deployed = 0
    for _ in range(600):
        candidate, now = rng.random(100) < 0.8, rng.random(100) < 0.9
        for n in range(10, 101, 10):
            found = paired(candidate[:n].tolist(), now[:n].tolist(), 100)
            if found.decided:
                break
        better = None if not found.decided else ("new" if found.z > 0 else "old")
        deployed += not_worse({"better": better, "interval": found.interval}, "new")
    assert deployed / 600 < 0.05
    assert promotion.MARGIN == 0.1
