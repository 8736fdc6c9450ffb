"""Where a policy comes from, as the books of a home tell it."""

import json

import pytest

from agent.cli import main
from agent.config import Config
from agent.lineage import line_of, policy_facts, stored_policies
from persistence.home import Home
from persistence.records import (
    AttemptEnd,
    AttemptStart,
    CheckpointRow,
    Evaluation,
    Outcome,
    PolicyRow,
    RunStart,
    SkillKind,
    SkillRow,
    StateInterval,
)
from persistence.store import Store


class Books:
    """Two runs of one home: the second goes on from a checkpoint, with other settings."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now_s = 0.0

    def run(self, commit: str, **settings) -> None:
        config = Config.load(None, {"run.robot": "minitaur", **settings}).to_dict()
        versions = {"perdure": "0.1.0", "numpy": "2.3", "machine": {"commit": commit}}
        self.run_id = self.store.start_run(
            RunStart(robot="minitaur", started_s=self.now_s, config=config, versions=versions)
        )
        self.store.register_skill(SkillRow(name="walk_forward", kind=SkillKind.TASK))

    def attempt(self, version: int) -> None:
        start = AttemptStart(run_id=self.run_id, skill="walk_forward", started_s=self.now_s, policy_version=version)
        number = self.store.start_attempt(start)
        began_s, self.now_s = self.now_s, self.now_s + 5.0
        end = AttemptEnd(
            attempt_id=number,
            ended_s=self.now_s,
            outcome=Outcome.SUCCESS,
            episode_file=f"{number}.safetensors",
            episode_sha256="ab",
        )
        self.store.finish_attempt(end, [StateInterval.of("ATTEMPT", began_s, self.now_s, attempt_id=number)])

    def policy(self, version: int, parent: int | None, attempts: int, origin: dict) -> None:
        seq = len(self.store.rows("SELECT 1 FROM checkpoints")) + 1
        self.store.add_checkpoint(
            CheckpointRow(
                seq=seq, robot_s=self.now_s, path=f"ckpt-{seq}", manifest_sha256=f"sha{seq}", replay_attempt_id=attempts
            )
        )
        row = PolicyRow(
            version=version,
            robot_s=self.now_s,
            family="walk",
            updates=version,
            file=f"ckpt-{seq}",
            parent=parent,
            origin=origin,
            attempts=attempts,
        )
        self.store.add_policy(row)


@pytest.fixture
def home(tmp_path):
    paths = Home(tmp_path / "home").prepare()
    with Store.open(paths.db) as store:
        books = Books(store)
        books.run("aaa", **{"run.start": "zoo"})
        books.attempt(40)
        books.policy(50, None, 1, {"begun": "zoo", "version": 40})
        books.attempt(50)
        books.policy(60, 50, 2, {})
        store.end_run(books.run_id, books.now_s)
        books.run("bbb", **{"learner.lr": 1e-3, "learner.prior_data": ["/somewhere"]})
        books.attempt(60)
        books.policy(70, 60, 3, {"begun": "checkpoint", "seq": 2, "prior_attempts": 8})
        store.add_evaluation(
            Evaluation(skill="walk_forward", robot_s=0.0, attempts=10, policy_version=60, purpose="eval", seed=3)
        )
    return paths.root


@pytest.fixture
def store(home):
    with Store.open(Home(home).db, read_only=True) as opened:
        yield opened


def test_parents_data_code_and_configuration(store):
    facts = policy_facts(store, 70)
    assert facts["parents"] == {
        "version": 60,
        "origin": {"begun": "checkpoint", "seq": 2, "prior_attempts": 8},
        "prior_homes": ["/somewhere"],
    }
    assert facts["data"] == {
        "attempts": 3,
        "last_attempt_id": 3,
        "prior_attempts": 8,
        "skills": {"walk_forward": 3},
    }
    assert facts["code"] == {"perdure": "0.1.0", "commit": "bbb", "packages": {"perdure": "0.1.0", "numpy": "2.3"}}
    assert facts["configuration"]["changes"] == [
        "learner.lr: 0.0003 -> 0.001",
        "learner.prior_data: [] -> ['/somewhere']",
    ]
    assert [each["version"] for each in facts["ancestors"]] == [60, 50]
    assert [each["begun"] for each in facts["ancestors"]] == ["", "zoo version 40"]
    assert facts["ancestors"][0]["commit"] == "aaa"


def test_what_came_of_a_version(store):
    facts = policy_facts(store, 60)
    assert facts["attempts_made"] == [{"skill": "walk_forward", "evaluation": 0, "attempts": 1, "success_rate": 1.0}]
    assert [(each["purpose"], each["seed"]) for each in facts["evaluations"]] == [("eval", 3)]


def test_the_learners_hash_tells_settings_apart_but_not_where_data_lies(store):
    one, two, three = (each["learner_sha256"] for each in stored_policies(store))
    assert one == two != three
    here, there = (Config.load(None, {"learner.prior_data": [where]}).to_dict() for where in ("/a", "/b"))
    from agent.lineage import learner_sha256

    assert learner_sha256(here) == learner_sha256(there)


def test_a_line_ends_where_it_began(store):
    line = line_of(store, 70)
    assert (line.versions, line.origin) == ((70, 60, 50), {"begun": "zoo", "version": 40})
    assert line_of(store, 999).versions == (999,)


def test_a_version_that_was_never_stored_is_told_by_its_neighbours(store):
    with pytest.raises(ValueError, match=r"policy 40 acted, but was never stored; the nearest stored: 50 "):
        policy_facts(store, 40)
    with pytest.raises(ValueError, match=r"policy 65 is unknown here; the nearest stored: 60 and 70 "):
        policy_facts(store, 65)


def test_the_command_shows_it(home, capsys):
    assert main(["policies", "list", "--home", str(home), "--json"]) == 0
    assert [row["version"] for row in json.loads(capsys.readouterr().out)] == [50, 60, 70]
    assert main(["policies", "show", "70", "--home", str(home)]) == 0
    shown = capsys.readouterr().out
    assert "learned on from 50: 1 attempts, 50 updates, begun with zoo version 40" in shown
    assert main(["policies", "show", "1", "--home", str(home)]) == 1


def test_an_older_home_is_brought_up_to_date_for_it(tmp_path, capsys):
    import sqlite3

    from sqlite_utils import Database

    from persistence.migrations import MIGRATIONS

    paths = Home(tmp_path / "old").prepare()
    conn = sqlite3.connect(paths.db)
    MIGRATIONS.apply(Database(conn), stop_before="m004_versions")
    conn.execute("INSERT INTO policies (version, robot_s, wall_utc) VALUES (7, 1.5, '')")
    conn.commit()
    conn.close()
    assert main(["policies", "list", "--home", str(paths.root), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["version"], row["parent"], row["attempts"], row["begun"]) == (7, None, None, "")
