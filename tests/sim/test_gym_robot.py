"""Gymnasium environments as robots: when they move, when they begin anew, and what is refused."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sim.gym_robot import TASK_CHANNELS, GymRobot
from sim.robot import Command, CommandMode, FrameLayout, Robot
from sim.state import Pose, SimulationError


class Ladder(gym.Env):
    """Position climbs by the action; above 3 it has terminated with a reward of 10, else a step gives 1."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012
    action_space = spaces.Box(np.float32([0.0, -2.0]), np.float32([1.0, 6.0]))
    observation_space = spaces.Dict(
        {"b": spaces.Box(-np.inf, np.inf, (2,), np.float64), "a": spaces.Box(-np.inf, np.inf, (1,), np.float64)}
    )

    def __init__(self, *, stuck_at: float | None = None, says: dict | None = None) -> None:
        self.taken: list[np.ndarray] = []
        self.resets = 0
        self.stuck_at, self.says = stuck_at, says or {}
        self.position = 0.0

    def look(self) -> dict[str, np.ndarray]:
        bad = self.stuck_at is not None and self.position >= self.stuck_at
        return {"a": np.array([np.nan if bad else self.position]), "b": np.array([self.resets, len(self.taken)])}

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.resets += 1
        self.position = 0.0
        return self.look(), {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        self.taken.append(action)
        self.position += float(action[0])
        over = self.position > 3.0
        return self.look(), 10.0 if over else 1.0, over, False, self.says


class Odd(gym.Env):
    """An environment with given spaces."""

    def __init__(self, action: spaces.Space, observation: spaces.Space) -> None:
        self.action_space, self.observation_space = action, observation


UNIT = spaces.Box(-1.0, 1.0, (1,))
gym.register("test/Ladder-v0", Ladder, max_episode_steps=5, reward_threshold=12.0)
gym.register("test/Endless-v0", Ladder)
gym.register("test/Odd-v0", Odd)

HZ = 10
FULL, NONE = [1.0, 1.0], [-1.0, 0.0]
"""Actions of a robot: climb by 1, climb by 0."""


def robot(env_id: str = "test/Ladder-v0", *, reset_free: bool = False) -> GymRobot:
    return GymRobot(env_id, 0, reset_free=reset_free)


def ladder(machine: GymRobot) -> Ladder:
    return machine._env.unwrapped


class Driver:
    """Sends commands as a control loop does."""

    def __init__(self, machine: GymRobot) -> None:
        self.machine = machine
        self.sequence = 0

    def send(self, target: list[float], mode: CommandMode = CommandMode.TORQUE) -> dict[str, float]:
        self.sequence += 1
        self.machine.write(Command(mode=mode, target=np.array(target), kp=0.0, kd=0.0, sequence=self.sequence))
        self.machine.step(1.0 / HZ)
        return self.seen()

    def idle(self) -> dict[str, float]:
        self.machine.step(1.0 / HZ)
        return self.seen()

    def seen(self) -> dict[str, float]:
        return dict(zip(self.machine.spec.extra_names, self.machine.read().extra, strict=True))


class TestSpec:
    def test_it_is_a_robot_with_an_action_for_each_joint(self):
        machine = robot()
        spec = machine.spec
        assert isinstance(machine, Robot)
        assert (spec.name, spec.n_joints, spec.n_feet) == ("gym:test/Ladder-v0", 2, 0)
        assert (spec.control_rate_hz, spec.policy_rate_hz) == (10.0, 10.0)

    def test_a_reading_fills_a_frame(self):
        machine = robot()
        assert machine.spec.extra_names == ("obs_0", "obs_1", "obs_2", *TASK_CHANNELS)
        frame = FrameLayout.of(machine.spec).pack(machine.read())
        assert np.isfinite(frame).all()

    def test_observations_of_parts_are_joined(self):
        seen = Driver(robot()).send(FULL)
        assert (seen["obs_0"], seen["obs_1"], seen["obs_2"]) == (1.0, 1.0, 1.0)

    def test_the_rate_is_that_of_the_environments_own_step(self):
        # 0.05 s, although it is drawn at 30 frames a second.
        assert robot("Pendulum-v1").spec.control_rate_hz == 20.0

    def test_actions_are_scaled_to_their_bounds(self):
        machine = robot()
        driver = Driver(machine)
        for target in ([-1.0, -1.0], [1.0, 1.0], [0.0, 0.5]):
            driver.send(target)
        np.testing.assert_allclose(ladder(machine).taken, [[0.0, -2.0], [1.0, 6.0], [0.5, 4.0]])


class TestTime:
    def test_only_a_torque_moves_it(self):
        machine = robot()
        driver = Driver(machine)
        before = driver.send(FULL)
        driver.send(FULL, CommandMode.POSITION)
        driver.send(FULL, CommandMode.DAMPING)
        machine.write(Command(mode=CommandMode.TORQUE, target=np.array(FULL), kp=0.0, kd=0.0, sequence=99))
        machine.stop()
        after = driver.idle()
        assert len(ladder(machine).taken) == 1
        assert [after[f"obs_{i}"] for i in range(3)] == [before[f"obs_{i}"] for i in range(3)]
        assert after["reward"] == 0.0

    def test_a_command_is_used_once_and_stale_ones_never(self):
        machine = robot()
        driver = Driver(machine)
        driver.send(FULL)
        driver.idle()
        driver.sequence = 0
        driver.send(FULL)
        assert len(ladder(machine).taken) == 1

    def test_the_clock_goes_on_through_everything(self):
        machine = robot()
        driver = Driver(machine)
        stamps = [machine.read().stamp_s]
        for act in (lambda: driver.send(FULL), driver.idle, driver.idle, lambda: driver.send(FULL)):
            act()
            stamps.append(machine.read().stamp_s)
        np.testing.assert_allclose(np.diff(stamps), 0.1)


class TestEpisodes:
    def test_the_end_is_seen_before_the_reset_and_the_reset_before_the_next_command(self):
        machine = robot()
        driver = Driver(machine)
        last = [driver.send(FULL) for _ in range(4)][-1]
        assert (last["obs_0"], last["reward"], last["terminated"], last["truncated"]) == (4.0, 10.0, 1.0, 0.0)
        assert machine.health().ok
        anew = driver.idle()
        assert (anew["obs_0"], anew["obs_1"], anew["reward"], anew["terminated"]) == (0.0, 2.0, 0.0, 0.0)
        first = driver.send(FULL)
        assert (first["obs_0"], first["obs_1"]) == (1.0, 2.0)

    def test_a_command_after_the_end_moves_nothing_and_earns_nothing(self):
        machine = robot()
        driver = Driver(machine)
        last = [driver.send(FULL) for _ in range(6)][-1]
        assert (last["obs_0"], last["reward"], ladder(machine).resets) == (4.0, 0.0, 1)

    def test_time_runs_out_as_the_environment_says(self):
        driver = Driver(robot())
        truncated = [driver.send(NONE)["truncated"] for _ in range(5)]
        assert truncated == [0.0, 0.0, 0.0, 0.0, 1.0]
        assert driver.idle()["obs_1"] == 2.0

    def test_an_episode_that_was_interrupted_goes_on(self):
        driver = Driver(robot())
        driver.send(FULL)
        driver.idle()
        assert driver.send(FULL)["obs_0"] == 2.0

    def test_without_a_limit_a_turn_ends_after_a_thousand_steps(self):
        driver = Driver(robot("test/Endless-v0"))
        truncated = [driver.send(NONE)["truncated"] for _ in range(1000)]
        assert truncated == [0.0] * 999 + [1.0]

    def test_the_seed_decides_where_it_begins(self):
        def starts(seed: int) -> list[float]:
            machine = GymRobot("Pendulum-v1", seed)
            found = [float(machine.read().extra[0])]
            machine.place(Pose.standing())
            return [*found, float(machine.read().extra[0])]

        assert starts(1) == starts(1) != starts(2)
        assert len(set(starts(1))) == 2


class TestResetFree:
    def test_it_has_no_time_limit_and_a_turn_begins_where_the_last_one_ended(self):
        machine = robot(reset_free=True)
        driver = Driver(machine)
        truncated = []
        for _ in range(3):
            truncated += [driver.send([-0.9, 0.0])["truncated"] for _ in range(5)]
            driver.idle()
        assert truncated == [0.0, 0.0, 0.0, 0.0, 1.0] * 3
        assert (ladder(machine).resets, len(ladder(machine).taken)) == (1, 15)
        assert driver.seen()["obs_0"] == pytest.approx(15 * 0.05)
        assert machine.health().ok

    def test_only_a_person_ends_the_end(self):
        machine = robot(reset_free=True)
        driver = Driver(machine)
        for _ in range(4):
            driver.send(FULL)
        driver.idle()
        driver.send(FULL)
        assert not machine.health().ok
        assert "person" in machine.health().problems[0]
        assert ladder(machine).resets == 1
        machine.place(Pose.standing())
        assert machine.health().ok
        assert driver.seen()["obs_0"] == 0.0
        assert driver.send(FULL)["obs_0"] == 1.0


class TestSuccess:
    def test_it_is_a_return_above_the_environments_threshold(self):
        driver = Driver(robot())  # threshold 12
        found = [driver.send(FULL)["success"] for _ in range(4)]  # returns 1, 2, 3, 13
        assert found == [0.0, 0.0, 0.0, 1.0]
        driver.idle()
        assert driver.send(FULL)["success"] == 0.0

    def test_without_a_threshold_it_is_not_to_terminate(self):
        driver = Driver(robot("test/Endless-v0"))
        assert [driver.send(FULL)["success"] for _ in range(4)] == [1.0, 1.0, 1.0, 0.0]

    def test_the_environments_own_word_goes_first(self):
        machine = robot()
        ladder(machine).says = {"is_success": True}
        assert Driver(machine).send(FULL)["success"] == 1.0


class TestRefusals:
    @pytest.mark.parametrize(
        ("env_id", "reason"),
        [
            ("CartPole-v1", "continuous"),
            ("NoSuchThing-v0", "NoSuchThing"),
            ("no_such_module:Thing-v0", "no_such_module"),
        ],
    )
    def test_an_environment_that_cannot_be_used_is_refused_with_the_reason(self, env_id, reason):
        with pytest.raises(ValueError, match=reason) as caught:
            GymRobot(env_id, 0)
        assert env_id in str(caught.value)

    @pytest.mark.parametrize(
        ("action", "observation", "reason"),
        [
            (UNIT, spaces.Box(0, 255, (8, 8, 3), np.uint8), "images"),
            (UNIT, spaces.Dict({"camera": spaces.Box(0, 255, (8, 8), np.uint8), "x": UNIT}), "images"),
            (UNIT, spaces.Sequence(UNIT), "no fixed length"),
            (spaces.Box(-np.inf, np.inf, (1,)), UNIT, "finite bounds"),
            (spaces.Dict({"x": UNIT}), UNIT, "continuous"),
        ],
    )
    def test_spaces_that_cannot_be_learned_with_are_refused(self, monkeypatch, action, observation, reason):
        made = gym.make("test/Odd-v0", action=action, observation=observation, disable_env_checker=True)
        monkeypatch.setattr("sim.gym_robot.gym.make", lambda *_, **__: made)
        with pytest.raises(ValueError, match=reason):
            GymRobot("test/Odd-v0", 0)

    def test_what_is_not_finite_is_an_explosion_and_is_never_seen(self):
        machine = robot()
        ladder(machine).stuck_at = 2.0
        driver = Driver(machine)
        driver.send(FULL)
        with pytest.raises(SimulationError, match="not finite"):
            driver.send(FULL)
        assert np.isfinite(machine.read().extra).all()
        assert driver.idle()["obs_1"] == 2.0
