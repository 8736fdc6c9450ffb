"""GrBAL: tasks are pieces of attempts, and the last moments tell a robot whose actions work backwards from one whose
do not.
"""

import numpy as np
import pytest
import torch
from toy_dynamics import attempt, step

from meta.grbal import Grbal, GrbalConfig
from meta.meta_learner import MetaConfig
from meta.transitions import Scales, Steps

torch.set_num_threads(1)


def drifting(n=40, length=50):
    """Attempts of bodies that are pushed by 0.5 to 2 times the action, or by as much of its opposite."""
    rng = np.random.default_rng(0)
    return [attempt(i, length, gain) for i, gain in enumerate(rng.uniform(0.5, 2.0, n) * rng.choice((-1.0, 1.0), n))]


def made(**settings):
    data = drifting()
    config = GrbalConfig(
        hidden=(32, 32), meta=MetaConfig(inner_rate=0.1, learn_rates=True, outer_rate=3e-3), **settings
    )
    return Grbal(Scales.of(Steps(data)), config), data


class TestTasks:
    def test_are_the_steps_before_and_those_after(self):
        subject, data = made(past=4, future=3)
        one = Steps(data[:1])
        tasks = subject.tasks(one, np.array([5, 20]))
        assert tasks.support.inputs.shape == (2, 4, 4)
        assert tasks.query.targets.shape == (2, 3, 2)
        for task, start in enumerate((5, 20)):
            for side, rows in ((tasks.support, range(start, start + 4)), (tasks.query, range(start + 4, start + 7))):
                for at, row in enumerate(rows):
                    inputs, targets = side.inputs[task, at].numpy(), side.targets[task, at].numpy()
                    whole = inputs * subject.scales.input_std + subject.scales.input_mean
                    np.testing.assert_allclose(whole, (*data[0].states[row], *data[0].actions[row]), atol=1e-5)
                    moved = targets * subject.scales.delta_std + subject.scales.delta_mean
                    np.testing.assert_allclose(moved, data[0].states[row + 1] - data[0].states[row], atol=1e-5)

    def test_never_reach_into_another_attempt(self, monkeypatch):
        subject, _ = made(past=4, future=3)
        data = drifting(5, 9)
        drawn = []
        monkeypatch.setattr(subject, "tasks", lambda steps, starts: drawn.extend(starts))
        monkeypatch.setattr(subject.learner, "meta_step", lambda tasks: {})
        subject.learn(data, 30)
        assert {int(start) % 10 for start in drawn} == {0, 1, 2}

    def test_need_attempts_that_are_long_enough(self):
        subject, _ = made()
        with pytest.raises(ValueError, match="32 trusted steps in a row"):
            subject.learn(drifting(3, 31), 1)


def test_the_last_moments_say_which_robot_it_is():
    subject, data = made()
    figures = subject.learn(data, 200)
    assert figures["query_loss"] < 0.3 * figures["support_loss"]
    for gain in (-1.2, 1.2):
        unseen = attempt(900, 60, gain)
        adapted = subject.adapt(unseen.states[:16], unseen.actions[:16], unseen.states[1:17])
        states, actions = unseen.states[16:-1], unseen.actions[16:]
        error = {}
        for name, parameters in (("before", subject.learner.parameters), ("after", adapted)):
            model = subject.planning_model(parameters)
            with torch.inference_mode():
                foretold = model.next_states(torch.from_numpy(states)[None], torch.from_numpy(actions))[0].numpy()
            error[name] = np.sqrt(np.square(foretold - step(states, actions, gain)).mean())
        assert error["after"] < 0.5 * error["before"], gain


class TestAdaptation:
    def test_starts_from_the_same_place_each_time(self):
        subject, data = made()
        one, other = data[:2]
        first = subject.adapt(one.states[:16], one.actions[:16], one.states[1:17])
        subject.adapt(other.states[:16], other.actions[:16], other.states[1:17])
        again = subject.adapt(one.states[:16], one.actions[:16], one.states[1:17])
        assert all(torch.equal(first[name], again[name]) for name in first)

    def test_bad_readings_adapt_nothing(self):
        subject, data = made()
        states = data[0].states[:17].copy()
        states[3] = np.nan
        adapted = subject.adapt(states[:-1], data[0].actions[:16], states[1:])
        for name, value in subject.learner.parameters.items():
            assert torch.equal(adapted[name], value)
            assert not adapted[name].requires_grad

    def test_the_model_to_plan_with_is_the_network(self):
        subject, data = made()
        one = data[0]
        model = subject.planning_model(subject.learner.parameters)
        examples = subject.examples(one.states[:-1], one.actions, one.states[1:])
        foretold = subject.learner._network(examples.inputs).detach().numpy()
        wanted = one.states[:-1] + foretold * subject.scales.delta_std + subject.scales.delta_mean
        have = model.next_states(torch.from_numpy(one.states[:-1])[None], torch.from_numpy(one.actions))
        np.testing.assert_allclose(have[0].numpy(), wanted, atol=1e-5)

    def test_several_make_an_ensemble(self):
        subject, data = made()
        one, half = data[0], {name: 0.5 * value for name, value in subject.learner.parameters.items()}
        members = (subject.learner.parameters, half)
        states, actions = torch.from_numpy(one.states[:-1])[None], torch.from_numpy(one.actions)
        together = subject.planning_model(*members)
        assert together.members == 2
        apart = [subject.planning_model(member).next_states(states, actions)[0].clone() for member in members]
        torch.testing.assert_close(together.next_states(states.expand(2, -1, -1), actions), torch.stack(apart))


@pytest.mark.parametrize(("name", "value"), [("past", 0), ("future", 0), ("tasks", 0), ("hidden", ())])
def test_settings_that_cannot_work_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        GrbalConfig(**{name: value})
