"""A home learns by gradients, searches for offsets on top of that, and goes on by gradients."""

import numpy as np

from agent.config import Config
from agent.daemon import run_daemon
from agent.policies import find_policy
from persistence.store import Store
from skills.learners.offsets import FIRST_VERSION
from skills.walk import WALKING_SKILLS

SKILL = WALKING_SKILLS[0]
SETTINGS = {
    "learner.hidden": [8],
    "learner.batch": 16,
    "learner.warmup_steps": 100,
    "learner.predict_falls": False,
    "run.skills": [SKILL.name, WALKING_SKILLS[1].name],
}


def live(home, attempts, **learner):
    changes = {f"learner.{name}": value for name, value in learner.items()}
    assert run_daemon(Config.load(None, SETTINGS | {"run.attempts": attempts} | changes), home) == 0
    with Store.open(home / "perdure.db", read_only=True) as store:
        rows = store.rows("SELECT policy_version FROM attempts WHERE policy_version IS NOT NULL ORDER BY id")
    return [row["policy_version"] for row in rows], find_policy("latest", "minitaur", SKILL, home)


def test_a_search_goes_on_from_gradients_and_gradients_from_what_it_held(tmp_path):
    before, learned = live(tmp_path, 2)
    assert max(before) < FIRST_VERSION
    searching, found = live(tmp_path, 3, algorithm="offsets")
    tried = searching[len(before) :]
    assert min(tried) >= FIRST_VERSION
    assert len(set(tried)) >= 2
    assert found.skill == SKILL.name
    *below, (weight, _) = found.layers
    *other, (same, _) = learned.layers
    for one, two in zip([*below, (weight,)], [*other, (same,)], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    again, _ = live(tmp_path, 1)
    assert again[len(searching)] == learned.version
    assert max(again[len(searching) :]) < FIRST_VERSION
