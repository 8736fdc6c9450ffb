"""The learner's own process, for real: it is spawned, fed, killed and started again."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import observation
from learner_kit import learner_job

from agent.learner_link import LearnerLink, LearnerUnavailableError
from agent.learner_messages import SHIELD, LearnerJob, SaveCheckpoint, Saved, StoredAttempts
from agent.learning import Studies
from meta.drift_monitor import Condition
from persistence.checkpoints import load_newest, save_checkpoint, verify_checkpoint
from persistence.episodes import Episode, write_episode
from persistence.home import Home
from persistence.store import attempt_uid
from sim.robot import FrameLayout
from skills.gait import GAIT
from skills.policy import PolicyWeights
from skills.shield import ShieldWeights

STEPS = 60
TIMEOUT_S = 120.0


def episode_file(home: Home, number: int, family: str = "walk", steps: int = STEPS) -> Path:
    """An attempt of a robot that drifts forward while it does what it likes."""
    rng = np.random.default_rng(number)
    layout = FrameLayout(8, 4)
    stamps = 0.04 * np.arange(steps + 1)
    frames = np.stack([layout.pack(observation(stamp, x_m=0.3 * stamp)) for stamp in stamps])
    actions = rng.uniform(-1, 1, (steps, 12)).astype(np.float32)
    episode = Episode(
        uid=attempt_uid(number),
        skill="walk_forward",
        action_space=family,
        policy_version="0",
        frames=frames,
        stamps=stamps,
        actions=actions,
        proposed=actions,
        resting=np.zeros(12, np.float32),
        phase=np.zeros(steps + 1, np.float32),
        terminated=False,
    )
    return home.episodes / write_episode(home, episode).name


class Learner:
    """A link to a real learner with the smallest network, and what it told."""

    def __init__(self, home: Home, *, warmup_steps: int = 50, stored: list[Path] | None = None, **job_fields) -> None:
        self.home = home
        self.stored = stored if stored is not None else []
        self.left_out = 0
        self.saved: list[Saved] = []
        self.restarts: list[str] = []
        snapshots = home.root / "snapshots"
        snapshots.mkdir(exist_ok=True)
        job = learner_job(snapshots, home.checkpoints, warmup_steps=warmup_steps, **job_fields)
        self.link = LearnerLink(
            job, lambda: StoredAttempts(tuple(self.stored), self.left_out), self.saved.append, self.restarts.append
        )

    def attempt(self, number: int, condition: Condition = Condition.USUAL, steps: int = STEPS) -> int:
        path = episode_file(self.home, number, steps=steps)
        self.stored.append(path)
        return self.link.ingest(path, condition)

    def policy(self, ticket: int) -> PolicyWeights:
        return PolicyWeights.from_bytes(self.link.progress.snapshots[ticket].policies[0].read_bytes())

    def kill(self) -> None:
        """Kill the process and wait until it was missed."""
        before = len(self.restarts)
        os.kill(self.link.pid, signal.SIGKILL)
        self.until(lambda: len(self.restarts) > before)

    def until(self, condition) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            self.link.poll()
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)


def alive(pid: int | None) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home").prepare()


@pytest.fixture
def learner(home):
    made: list[Learner] = []

    def make(**options) -> Learner:
        made.append(Learner(home, **options))
        return made[-1]

    yield make
    for one in made:
        one.link.kill()


def test_a_learner_that_is_fed_killed_and_fed_again(home, learner):
    """Tickets come back in order, versions rise, and after a kill it goes on from its newest checkpoint."""
    broken = home.episodes / "attempt-00000099.safetensors"
    broken.write_bytes(b"no episode at all")
    life = learner(stored=[broken])
    life.link.wait_for(0)
    progress = life.link.progress
    assert len(progress.skipped) == 1
    assert broken.name in progress.skipped[0]
    assert life.policy(0).version == 0
    assert life.policy(0).finite

    assert [life.attempt(1), life.attempt(2)] == [1, 2]
    life.link.wait_for(2)
    assert (progress.ticket, progress.updates) == (2, STEPS)  # two attempts, half an update for each step
    assert 0 < life.policy(1).version < life.policy(2).version == progress.version
    assert life.policy(1).sha256 != life.policy(2).sha256

    truncated = episode_file(home, 50)
    truncated.write_bytes(truncated.read_bytes()[:-100])
    life.stored.append(truncated)
    ticket = life.link.ingest(truncated)
    life.link.wait_for(ticket)
    assert truncated.name in progress.skipped[1]
    assert progress.updates == STEPS

    life.link.checkpoint(1, 12.5)
    life.link.wait_saved(1)
    (saved,) = life.saved
    assert (saved.seq, saved.robot_s, saved.version, saved.name) == (1, 12.5, progress.version, "ckpt-1")
    assert verify_checkpoint(home.checkpoints / saved.name).sha256 == saved.sha256
    life.attempt(3)
    life.link.wait_for(4)
    before = life.policy(4)

    first = life.link.pid
    life.kill()
    assert life.restarts == ["the learner process ended"]
    assert before.finite  # what the loop goes on with meanwhile
    life.until(lambda: life.link.pid != first)
    life.until(lambda: progress.restored_seq == 1)
    assert (progress.restarts, progress.restored_seq) == (1, 1)
    # The steps since the checkpoint are owed again, not more and not fewer.
    assert progress.updates == before.version
    assert life.policy(4).version == before.version

    # While it waits before it is started once more, attempts go on and none is learned from twice.
    life.kill()
    ticket = life.attempt(4)
    life.link.checkpoint(2, 20.0)
    life.link.wait_for(ticket)
    life.link.wait_saved(2)
    kept = load_newest(home.checkpoints)
    assert kept is not None
    assert (kept.seq, kept.meta["steps_added"]) == (2, 4 * STEPS)
    assert life.link.progress.updates == 4 * STEPS // 2

    life.link.close(SaveCheckpoint(3, 30.0))
    assert [one.seq for one in life.saved] == [1, 2, 3]
    assert not alive(life.link.pid)


def test_a_safety_critic_is_learned_published_and_gone_on_with(home, learner):
    risk = {"risk": {"hidden": (8,), "batch": 16}, "risk_updates_per_update": 0.5, "harm_lean_rad": 0.5}
    life = learner(**risk)
    life.attempt(1)
    life.attempt(2)
    life.link.wait_for(2)
    path = life.link.progress.snapshots[2].beside[SHIELD]
    assert ShieldWeights.from_bytes(path.read_bytes()).recovery.version == life.link.progress.updates // 2
    assert life.link.progress.metrics["risk_threshold"] > 0.0
    life.link.checkpoint(1, 12.5)
    life.link.wait_saved(1)
    before = path.read_bytes()
    life.kill()
    life.until(lambda: life.link.progress.restored_seq == 1)
    again = life.link.progress.snapshots[2].beside[SHIELD]
    assert again.read_bytes() == before


def test_harm_is_told_from_the_newest_of_the_stacked_rows(learner):
    job = replace(learner().link._job, risk={"hidden": (8,), "batch": 16}, harm_lean_rad=0.5)
    risk, row = Studies(job).risk, GAIT.feature_size(job.spec)
    assert risk is not None
    upright, over = np.zeros(row, np.float32), np.zeros(row, np.float32)
    upright[:3], over[:3] = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)
    seen = np.stack((np.concatenate((over, upright)), np.concatenate((upright, over))))
    assert risk._harm(seen).tolist() == [False, True]


@pytest.mark.parametrize("older", [False, True], ids=["without one", "with one of an older kind"])
def test_a_safety_critic_begins_anew_from_a_checkpoint(home, learner, older):
    risk = {"risk": {"hidden": (8,), "batch": 16}, "risk_updates_per_update": 0.5, "harm_lean_rad": 0.5}
    before = learner(**(risk if older else {}))
    before.attempt(1)
    before.link.checkpoint(1, 12.5)
    before.link.wait_saved(1)
    assert (SHIELD in before.link.progress.snapshots[1].beside) is older
    before.link.close()
    if older:
        saved = load_newest(home.checkpoints)
        save_checkpoint(home.checkpoints, 2, saved.tensors, saved.meta | {"risk": saved.meta["risk"] | {"format": 2}})
    life = learner(stored=before.stored, max_checkpoint_seq=2, **risk)
    life.link.wait_for(0)
    assert life.link.progress.restored_seq == 1 + older
    assert SHIELD not in life.link.progress.snapshots[0].beside
    life.link.wait_for(life.attempt(2))
    assert SHIELD in life.link.progress.snapshots[1].beside


def test_one_that_reads_only_the_newest_attempts_counts_on_from_all(home, learner):
    life = learner()
    for number in (1, 2, 3):
        ticket = life.attempt(number)
    life.link.checkpoint(1, 10.0)
    life.link.wait_saved(1)
    life.attempt(4)
    life.link.wait_for(ticket + 1)
    updates = life.link.progress.updates
    life.stored, life.left_out = life.stored[2:], 2
    life.kill()
    life.until(lambda: life.link.progress.restored_seq == 1)
    assert life.link.progress.updates == updates  # those of the fourth attempt were owed again, and no others
    life.link.checkpoint(2, 20.0)
    life.link.wait_saved(2)
    meta = load_newest(home.checkpoints).meta
    assert (meta["steps_added"], meta["attempts"]) == (4 * STEPS, 4)


def test_the_same_attempts_give_the_same_policy_however_the_processes_were_timed(tmp_path):
    found = []
    for pause_s in (0.0, 0.3):
        home = Home(tmp_path / str(pause_s)).prepare()
        life = Learner(home)
        try:
            life.link.wait_for(0)
            for number in (1, 2):
                life.attempt(number)
                time.sleep(pause_s)
            life.link.wait_for(2)
            found.append((life.policy(1).sha256, life.policy(2).sha256))
        finally:
            life.link.kill()
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


def test_a_crash_before_the_first_checkpoint_costs_no_updates(home, learner):
    stored = [episode_file(home, number) for number in (1, 2)]
    life = learner(stored=stored)
    life.link.wait_for(0)
    assert life.link.progress.updates == STEPS
    assert life.link.progress.restored_seq is None


def test_damaged_checkpoints_are_an_error_that_names_them_and_not_an_endless_restart(home):
    broken = home.checkpoints / "ckpt-1"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    (broken / "tensors.safetensors").write_bytes(b"")
    life = Learner(home)
    life.link.kill()
    life.link._job = life.link._job.__class__(**{**_fields(life.link._job), "max_checkpoint_seq": 1})
    life.link._start()
    begun = time.monotonic()
    with pytest.raises(LearnerUnavailableError, match="ckpt-1"):
        life.link.wait_for(0)
    assert time.monotonic() - begun < TIMEOUT_S
    life.link.kill()


def _fields(job: LearnerJob) -> dict[str, object]:
    return {name: getattr(job, name) for name in job.__dataclass_fields__}


def test_the_learner_dies_with_its_parent(tmp_path):
    """An orphan would write over the next learner's snapshots."""
    code = f"""
        import sys, time
        from pathlib import Path
        sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parent.parent)!r}]
        if __name__ == "__main__":
            from persistence.home import Home
            from test_learner_link import Learner
            life = Learner(Home(Path({str(tmp_path / "home")!r})).prepare())
            life.link.wait_for(0)
            print(life.link.pid, flush=True)
            time.sleep(600)
    """
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(code))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    try:
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 10.0
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not alive(pid)
    finally:
        parent.kill()
        parent.stdout.close()


def test_an_empty_home_can_begin_with_the_trained_state_of_another(home, learner, tmp_path):
    taught = learner()
    taught.attempt(1)
    taught.link.wait_for(1)
    taught.link.checkpoint(1, 2.5)
    taught.until(lambda: taught.saved)
    other = Learner(Home(tmp_path / "other").prepare(), initial=home.checkpoints)
    try:
        other.link.wait_for(0)
        assert other.link.progress.updates == taught.link.progress.updates > 0
        np.testing.assert_array_equal(other.policy(0).to_flat(), taught.policy(1).to_flat())
        assert other.link.progress.restored_seq is None, "it is no resume: its own attempts count from 0"
    finally:
        other.link.kill()


def test_a_checkpoint_says_what_its_policy_was_learned_on_from(home, learner, tmp_path):
    def save(life: Learner, *numbers: int) -> None:
        for number in numbers:
            life.link.wait_for(life.attempt(number))
        seq = len(life.saved) + 1
        life.link.checkpoint(seq, 1.0)
        life.link.wait_saved(seq)

    life = learner()
    save(life, 1, 2)
    save(life)  # the same policy again
    save(life, 3)
    first, again, second = (saved.ancestry for saved in life.saved)
    assert (first.parent, first.origin, first.attempts) == (None, {"begun": "nothing"}, 2)
    assert again.parent == life.saved[0].version
    assert (second.parent, second.origin, second.attempts) == (life.saved[0].version, {}, 3)

    life.kill()
    save(life, 4)
    assert life.saved[3].ancestry.parent == life.saved[2].version
    assert life.saved[3].ancestry.origin == {"begun": "checkpoint", "seq": 3}
    assert life.saved[3].ancestry.attempts == 4

    other = Learner(Home(tmp_path / "other").prepare(), initial=home.checkpoints, prior_episodes=(life.stored[0],))
    try:
        save(other, 5)
        (saved,) = other.saved
        assert (saved.ancestry.parent, saved.ancestry.attempts) == (None, 1)
        assert saved.ancestry.origin == {"begun": "zoo", "version": life.saved[3].version, "prior_attempts": 1}
    finally:
        other.link.kill()


def test_prior_data_is_learned_from_beside_the_homes_own(home, learner, tmp_path):
    before = Home(tmp_path / "before").prepare()
    prior = tuple(episode_file(before, number) for number in (1, 2))
    policies = []
    for episodes in ((), prior):
        life = Learner(Home(tmp_path / f"home{len(episodes)}").prepare(), prior_episodes=episodes)
        try:
            life.attempt(3)
            life.link.wait_for(1)
            assert life.link.progress.updates == STEPS / 2, "prior data owes no updates"
            policies.append(life.policy(1).to_flat())
        finally:
            life.link.kill()
    assert not np.array_equal(*policies)


def test_what_others_did_is_learned_from_before_anything_is_tried_but_not_again(tmp_path):
    prior = tuple(episode_file(Home(tmp_path / "before").prepare(), number) for number in (1, 2))
    home = Home(tmp_path / "home").prepare()
    life = Learner(home, prior_episodes=prior, offline_updates=30)
    try:
        life.link.wait_for(0)
        assert life.link.progress.updates == 30
        life.attempt(3)
        life.link.wait_for(1)
        life.link.checkpoint(1, 2.5)
        life.until(lambda: life.saved)
        updates = life.link.progress.updates
    finally:
        life.link.kill()
    again = Learner(home, prior_episodes=prior, offline_updates=30, max_checkpoint_seq=1)
    try:
        again.link.wait_for(0)
        assert again.link.progress.updates == updates
    finally:
        again.link.kill()
    without = Learner(Home(tmp_path / "without").prepare(), offline_updates=30)
    try:
        without.link.wait_for(0)
        assert without.link.progress.updates == 0
    finally:
        without.link.kill()


def test_it_is_known_which_skills_prior_data_shows(tmp_path):
    """The robot drifted forward at 0.3 m/s, and that is no way back."""
    prior = (episode_file(Home(tmp_path / "before").prepare(), 1),)
    job = learner_job(tmp_path, tmp_path, prior_episodes=prior, skills=("walk_forward", "walk_backward"))
    assert Studies(job).learner._core.shown.tolist() == [1.0, 0.0]


def test_prior_data_of_other_skills_is_refused(learner, home):
    path = episode_file(home, 1, family="gym")
    with pytest.raises(LearnerUnavailableError, match="none with actions of the 'walk' family"):
        learner(prior_episodes=(path,)).link.wait_for(0)


def test_a_learner_that_cannot_be_built_says_why_at_once(learner):
    begun_s = time.monotonic()
    life = learner(settings={"hidden": (16,), "batch": 0})
    with pytest.raises(LearnerUnavailableError, match="batch is 0"):
        life.link.wait_for(0)
    assert time.monotonic() - begun_s < 60.0


def test_updates_that_were_undone_are_told_with_the_reason(home, learner):
    life = learner(settings={"hidden": (16,), "batch": 16, "learning_rate": 1e30})
    life.attempt(1)
    life.link.wait_for(1)
    (reason,) = life.link.progress.refused
    assert "finite" in reason or "critic" in reason
    assert life.link.progress.updates == 0
    assert life.policy(1).finite


class TestDrift:
    """What happens to the policy while a robot is not what it was, and once it is again."""

    def after(self, learner, then: Condition) -> tuple[PolicyWeights, PolicyWeights, PolicyWeights]:
        """The policy before, after three attempts of a changed robot, and after one too short to learn from."""
        made = learner(warmup_steps=0)
        made.link.wait_for(made.attempt(1))
        before = made.policy(1)
        for number in (2, 3, 4):
            made.link.wait_for(made.attempt(number, Condition.CHANGED))
        later = made.policy(4)
        made.link.wait_for(made.attempt(9, then, steps=1))
        return before, later, made.policy(5)

    def test_of_a_repaired_robot_the_policy_is_what_it_was_under_a_new_version(self, learner):
        before, changed, repaired = self.after(learner, Condition.USUAL)
        assert changed.sha256 != before.sha256
        assert repaired.sha256 == before.sha256
        assert repaired.version == changed.version > before.version

    def test_of_one_that_is_like_this_for_good_it_goes_on_learning(self, learner):
        before, changed, settled = self.after(learner, Condition.HABIT)
        assert settled.sha256 == changed.sha256 != before.sha256


def test_a_policy_that_is_held_stays_and_what_is_learned_beside_it_goes_on(learner):
    made = learner(warmup_steps=0, hold_policy=True, watch_drift=True)
    for number in (1, 2, 3):
        made.link.wait_for(made.attempt(number))
    assert made.link.progress.updates == 0
    assert made.policy(3).sha256 == made.policy(1).sha256
    config = Studies(made.link._job).drift.config
    assert config.familiar_share == 1.0
    assert Studies(replace(made.link._job, hold_policy=False)).drift.config.familiar_share < 1.0
