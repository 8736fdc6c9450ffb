"""The daemon on Gymnasium environments: what is stored and learned, what a person does, what a crash leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from agent.cli import main
from agent.config import Config
from agent.daemon import run_daemon
from agent.evaluation import evaluate_skill
from agent.settings import ConfigError
from persistence.checkpoints import load_newest
from persistence.episodes import Episode, read_episode
from persistence.home import Home
from persistence.metrics import metrics
from persistence.store import Store
from sim.gym_robot import GymRobot
from sim.robot import FrameLayout

TINY = {
    "run.robot": "gym:Pendulum-v1",
    "learner.hidden": [32, 32],
    "learner.batch": 32,
    "learner.warmup_steps": 150,
    "learner.updates_per_step": 0.1,
}
STEPS = 200
"""Steps of an episode of Pendulum."""


class Slope(gym.Env):
    """Rolls away by its action and a push; off the edge at 1 it has terminated."""

    metadata = {"render_modes": [], "render_fps": 20}  # noqa: RUF012
    action_space = spaces.Box(-1.0, 1.0, (1,))
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.x = 0.0
        self.steps = 0
        return np.array([self.x, self.steps]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.x += 0.04 + 0.005 * float(action[0])
        self.steps += 1
        return np.array([self.x, self.steps]), -self.x, self.x > 1.0, False, {}


gym.register("test/Slope-v0", Slope, max_episode_steps=10)


def config(**changes: Any) -> Config:
    return Config.load(None, TINY | {key.replace("__", "."): value for key, value in changes.items()})


class Lived:
    """What a home holds."""

    def __init__(self, root: Path, robot: str = "Pendulum-v1") -> None:
        home = Home(root)
        with Store.open(home.db) as store:
            self.attempts = store.rows("SELECT * FROM attempts ORDER BY id")
            self.interventions = store.rows("SELECT * FROM interventions ORDER BY id")
            self.head = store.chain_head().hash
            self.problems = store.verify_chain()
            self.metrics = metrics(store)
        finished = [row for row in self.attempts if row["episode_file"]]
        self.episodes = [read_episode(home.episodes / row["episode_file"]) for row in finished]
        loaded = load_newest(home.checkpoints)
        self.checkpoint = loaded.meta if loaded else {}
        self.spec = GymRobot(robot, 0).spec

    def channels(self, episode: Episode) -> dict[str, np.ndarray]:
        """Each channel of an episode over time."""
        extra = episode.frames[:, FrameLayout.of(self.spec).slices()["extra"]]
        return dict(zip(self.spec.extra_names, extra.T, strict=True))


def replayed(channels: dict[str, np.ndarray], actions: np.ndarray) -> np.ndarray:
    """Rewards of Pendulum for stored actions, from the state that an attempt began in."""
    env = gym.make("Pendulum-v1")
    env.reset(seed=0)
    start = [float(channels[f"obs_{i}"][0]) for i in range(3)]
    env.unwrapped.state = np.array([np.arctan2(start[1], start[0]), start[2]])
    return np.array([float(env.step(2.0 * action)[1]) for action in actions])


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory) -> tuple[Path, Lived]:
    root = tmp_path_factory.mktemp("gym") / "home"
    assert run_daemon(config(run__attempts=2), root) == 0
    return root, Lived(root)


class TestEpisodes:
    def test_robot_steps_are_the_environments_steps(self, pendulum):
        _, lived = pendulum
        assert [row["steps"] for row in lived.attempts] == [STEPS, STEPS]
        assert [row["end_reason"] for row in lived.attempts] == ["truncated"] * 2
        assert [len(episode.actions) for episode in lived.episodes] == [STEPS, STEPS]
        assert lived.checkpoint["steps_added"] == 2 * STEPS

    def test_what_is_stored_is_what_the_environment_did(self, pendulum):
        _, lived = pendulum
        for row, episode in zip(lived.attempts, lived.episodes, strict=True):
            channels = lived.channels(episode)
            # The stored state is rounded to 32 bits; until then the environment itself is the oracle.
            expected = replayed(channels, episode.actions)[:50]
            np.testing.assert_allclose(channels["reward"][1:51], expected, atol=1e-2)
            assert row["return"] == pytest.approx(channels["reward"][1:].sum(dtype=np.float64), rel=1e-5)
            np.testing.assert_array_equal(np.flatnonzero(channels["truncated"]), [STEPS])
            assert not channels["terminated"].any()

    def test_no_attempt_begins_in_the_state_the_last_one_ended_in(self, pendulum):
        first, second = (pendulum[1].channels(episode) for episode in pendulum[1].episodes)
        assert abs(second["obs_2"][0]) <= 1.0  # a fresh pendulum turns no faster
        assert second["obs_0"][0] != first["obs_0"][-1]
        assert second["reward"][0] == second["truncated"][0] == 0.0

    def test_between_attempts_hardly_any_time_passes(self, pendulum):
        before, after = pendulum[1].attempts
        assert after["started_s"] - before["ended_s"] == pytest.approx(2 / 20)

    def test_it_is_learned_from(self, pendulum):
        assert pendulum[1].checkpoint["updates"] == 40

    def test_books_and_metrics_are_those_of_any_robot(self, pendulum):
        _, lived = pendulum
        assert lived.problems == []
        assert (lived.metrics["attempts"], lived.metrics["falls"], lived.metrics["interventions"]) == (2, 0, 0)

    @pytest.mark.slow
    def test_the_same_seed_gives_the_same_run(self, pendulum, tmp_path):
        assert run_daemon(config(run__attempts=2), tmp_path / "again") == 0
        assert Lived(tmp_path / "again").head == pendulum[1].head

    def test_a_policy_is_evaluated_on_fresh_environments(self, pendulum):
        root, _ = pendulum
        facts = [evaluate_skill("gym_task", "gym:Pendulum-v1", "latest", 2, seed, root) for seed in (0, 0, 1)]
        assert facts[0] == facts[1]
        assert facts[0]["return_mean"] != facts[2]["return_mean"]
        assert facts[0]["dynamics"] == "own"
        assert -2000.0 < facts[0]["return_mean"] < 0.0
        assert [row["end_reason"] for row in facts[0]["per_attempt"]] == ["truncated"] * 2


class TestEnds:
    def test_an_attempt_ends_where_the_environment_terminates(self, tmp_path):
        gym.register("test/LongSlope-v0", Slope, max_episode_steps=100)
        wanted = config(run__robot="gym:test/LongSlope-v0", run__attempts=3, learner__warmup_steps=1000)
        assert run_daemon(wanted, tmp_path / "home") == 0
        lived = Lived(tmp_path / "home", "test/LongSlope-v0")
        assert [row["end_reason"] for row in lived.attempts] == ["terminated"] * 3
        assert lived.interventions == []
        for episode in lived.episodes:
            channels = lived.channels(episode)
            np.testing.assert_array_equal(channels["obs_1"], np.arange(len(episode.actions) + 1))
            np.testing.assert_array_equal(np.flatnonzero(channels["terminated"]), [len(episode.actions)])

    def test_reset_free_only_the_person_resets_and_is_counted(self, tmp_path):
        wanted = config(
            run__robot="gym:test/Slope-v0",
            run__reset_free=True,
            run__attempts=7,
            learner__warmup_steps=1000,
            person__delay_s=5.0,
        )
        assert run_daemon(wanted, tmp_path / "home") == 0
        lived = Lived(tmp_path / "home", "test/Slope-v0")
        # Off the edge in 23 to 28 steps: in the third turn of ten.
        turns = ["truncated", "truncated", "terminated"]
        assert [row["end_reason"] for row in lived.attempts] == [*turns, *turns, "truncated"]
        starts = [lived.channels(episode)["obs_1"][0] for episode in lived.episodes]
        assert starts == [0.0, 10.0, 20.0, 0.0, 10.0, 20.0, 0.0]
        assert [row["cause"] for row in lived.interventions] == ["robot_unfit"] * 2
        assert [row["closed_s"] - row["opened_s"] for row in lived.interventions] == pytest.approx([5.0, 5.0], abs=0.2)
        assert (lived.metrics["interventions"], lived.metrics["assists"]) == (2, 2)


class TestCrash:
    @pytest.mark.slow
    def test_a_killed_run_goes_on(self, tmp_path):
        root = tmp_path / "home"
        words = ["run", "--home", str(root), "--json"]
        for name, value in TINY.items():
            words += ["--set", f"{name}={json.dumps(value)}"]
        run = subprocess.Popen([sys.executable, "-m", "agent.cli", *words], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120.0
        while len(list(Home(root).episodes.glob("*.safetensors"))) < 3:
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert run_daemon(config(run__attempts=2), root) == 0
        lived = Lived(root)
        finished = [row for row in lived.attempts if row["end_reason"] == "truncated"]
        assert lived.problems == []
        assert len(finished) >= 5
        assert {row["steps"] for row in finished} == {STEPS}
        # Every whole episode, those before the crash too, is in the learner's memory: none is lost, none doubled.
        assert lived.checkpoint["steps_added"] == STEPS * len(finished)


class TestRefusals:
    def test_decisions_must_come_as_often_as_rewards(self):
        with pytest.raises(ConfigError, match=r"policy_rate_hz = 10 is not rate_hz = 20.*reward"):
            config(control__policy_rate_hz=10).for_robot(GymRobot("Pendulum-v1", 0).spec)

    @pytest.mark.parametrize("env_id", ["CartPole-v1", "NoSuchThing-v0"])
    def test_an_environment_that_cannot_be_used_is_one_line(self, tmp_path, capsys, env_id):
        assert main(["run", "--home", str(tmp_path / "home"), "--robot", f"gym:{env_id}", "--json"]) != 0
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert env_id in said[0]

    def test_a_robot_name_is_checked_before_an_evaluation(self, tmp_path, capsys):
        words = ["skills", "eval", "gym_task", "--home", str(tmp_path), "--robot"]
        assert main([*words, "gmy:Pendulum-v1"]) != 0
        assert "unknown robot" in capsys.readouterr().err
        assert main([*words, "gym:Pendulum-v1"]) != 0
        assert "no checkpoint" in capsys.readouterr().err
