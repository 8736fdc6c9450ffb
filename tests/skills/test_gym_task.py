"""The task that a robot brings with it: what a policy sees, what a step earned, when it is over."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_spec
from readings import reading

from agent.opening import abilities_of
from sim.gym_robot import GymRobot
from sim.robot import CommandMode, FrameLayout, Frames, RobotSpec, Transition
from skills.experience import AttemptArrays, cost_names, experience
from skills.gym_task import TASK_CHANNELS, GymTask
from skills.registry import get, skills

TASK = GymTask()


def spec(seen: int = 2) -> RobotSpec:
    names = (*(f"obs_{i}" for i in range(seen)), *TASK_CHANNELS)
    return replace(fake_spec(), name="fake task", extra_names=names)


def frames(rows: list[tuple[float, ...]]) -> Frames:
    """Frames with given channels: two observations, reward, terminated, truncated, success."""
    layout = FrameLayout.of(spec())
    data = np.zeros((len(rows), layout.width), np.float32)
    data[:, layout.slices()["extra"]] = rows
    data[:, layout.slices()["base_valid"]] = 1.0
    return Frames(data, layout)


def transition(rows: list[tuple[float, ...]]) -> Transition:
    data, layout = frames(rows).data, FrameLayout.of(spec())
    action = np.zeros((len(rows) - 1, 8))
    return Transition(Frames(data[:-1], layout), action, action, Frames(data[1:], layout), np.full(len(action), 0.02))


THREE_STEPS = [
    (0.0, 1.0, 99.0, 0.0, 0.0, 0.0),
    (0.5, 2.0, -1.5, 0.0, 0.0, 1.0),
    (300.0, 3.0, 2.0, 0.0, 1.0, 0.0),
    (-7.0, 4.0, 4.0, 1.0, 0.0, 1.0),
]


class TestReward:
    def test_a_step_earns_what_is_measured_after_it(self):
        steps = transition(THREE_STEPS)
        np.testing.assert_array_equal(TASK.reward(steps), [-1.5, 2.0, 4.0])
        assert TASK.measures(steps) == {"return": 4.5}

    def test_running_out_of_time_is_no_end(self):
        np.testing.assert_array_equal(TASK.terminated(transition(THREE_STEPS)), [False, False, True])

    def test_every_step_is_trusted_and_nothing_costs(self):
        assert TASK.trusted(transition(THREE_STEPS)).all()
        assert cost_names(spec(), TASK) == ()

    @pytest.mark.parametrize(("rows", "expected"), [(4, True), (3, False), (2, True)])
    def test_the_last_reading_says_whether_it_succeeded(self, rows, expected):
        assert TASK.success(transition(THREE_STEPS[:rows])) is expected

    def test_no_step_is_no_success(self):
        assert TASK.success(transition(THREE_STEPS[:1])) is False


class TestPolicy:
    def test_it_sees_the_channels_before_the_tasks_as_they_are(self):
        rows = TASK.family.features(spec(), frames(THREE_STEPS), np.zeros(4), np.ones((4, 8)))
        np.testing.assert_array_equal(rows, [[0.0, 1.0], [0.5, 2.0], [300.0, 3.0], [-7.0, 4.0]])
        assert rows.dtype == np.float32
        assert rows.shape[1] == TASK.family.feature_size(spec())

    def test_actions_are_shares_of_the_torque_limits(self):
        action = np.linspace(-1.0, 1.0, 8, dtype=np.float32)
        command = TASK.family.actuator(spec(), 0.02).command(action, reading())
        assert command.mode is CommandMode.TORQUE
        np.testing.assert_allclose(command.target, 3.0 * np.linspace(-1.0, 1.0, 8), rtol=1e-6)

    def test_it_begins_in_the_middle(self):
        np.testing.assert_array_equal(TASK.prior_action(spec()), np.zeros(8))

    def test_a_learner_gets_what_the_environment_gave(self):
        data = frames(THREE_STEPS).data
        arrays = AttemptArrays(
            family="gym",
            frames=data,
            stamps_s=np.arange(4) * 0.05,
            actions=np.zeros((3, 8), np.float32),
            proposed=np.zeros((3, 8), np.float32),
            resting=np.zeros(8, np.float32),
            phase_rad=np.zeros(4, np.float32),
        )
        lived = experience(spec(), (TASK,), arrays)
        np.testing.assert_array_equal(lived.rewards[:, 0], [-1.5, 2.0, 4.0])
        np.testing.assert_array_equal(lived.terminated[:, 0], [False, False, True])
        assert lived.valid.all()


class TestRobots:
    def test_it_fits_every_environment_and_no_other_robot(self):
        robot = GymRobot("Pendulum-v1", 0)
        assert get("gym_task").problem(robot.spec) is None
        assert "'fake'" in (get("gym_task").problem(fake_spec()) or "")

    def test_the_walking_skills_do_not_fit_an_environment(self):
        tasks = abilities_of((), GymRobot("Pendulum-v1", 0).spec).tasks
        assert [skill.name for skill in tasks] == ["gym_task"]
        assert "gym_task" in skills()

    @pytest.mark.parametrize(
        ("terminated", "truncated", "reason"),
        [(0.0, 0.0, None), (1.0, 0.0, "terminated"), (0.0, 1.0, "truncated"), (1.0, 1.0, "terminated")],
    )
    def test_it_is_over_when_the_environment_says_so(self, terminated, truncated, reason):
        now = replace(
            GymRobot("Pendulum-v1", 0).read(), extra=np.array([0.1, 0.2, 0.3, -1.0, terminated, truncated, 0.0])
        )
        assert TASK.over(now) == reason

    def test_no_turn_is_longer_than_its_horizon(self):
        assert TASK.horizon_s * GymRobot("Pendulum-v1", 0).spec.control_rate_hz > 1000
