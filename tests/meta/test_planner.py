"""CEM and MPPI on models that are known exactly: they get there, stay in bounds, begin where the robot will be."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from meta.planner import Planner, PlannerConfig, forecast

torch.set_num_threads(1)
DT_S = 0.2
METHODS = ("cem", "mppi")


class Cart:
    """A cart on a line, pushed; its members differ by ``doubt`` times the position where that is above 1."""

    delta_std = torch.tensor((0.1, 0.1))

    def __init__(self, members=1, doubt=0.0):
        self.members = members
        self.rows = []
        self._doubt = doubt * torch.arange(members)[:, None]

    def next_states(self, states, actions):
        self.rows.append(states.shape[1])
        x, v = states.unbind(-1)
        push = actions[:, 0]
        return torch.stack((x + DT_S * v + self._doubt * (x - 1.0).clamp(min=0.0), v + DT_S * push), dim=-1)


def to(goal):
    def cost(states, actions, following):
        assert states.shape == following.shape and actions.shape[:2] == (states.shape[0], 1)
        return (following[..., 0] - goal).square() + 0.1 * following[..., 1].square() + 0.01 * actions[..., 0].square()

    return cost


def planner(seed=0, low=-1.0, high=1.0, **config):
    return Planner(np.array([low], np.float32), np.array([high], np.float32), PlannerConfig(**config), seed)


def simulated(actions, state=(0.0, 0.0)):
    x, v = state
    for (push,) in actions:
        x, v = x + DT_S * v, v + DT_S * push
    return np.array((x, v))


ORIGIN = np.zeros(2, np.float32)


class TestControl:
    @pytest.mark.parametrize("method", METHODS)
    def test_drives_the_cart_to_its_goal_and_stops(self, method):
        subject, model, states = planner(method=method), Cart(), [ORIGIN]
        for _ in range(40):
            plan = subject.plan(model, to(0.7), states[-1])
            states.append(simulated(plan.actions[:1], states[-1]).astype(np.float32))
        np.testing.assert_allclose(np.mean(states[-10:], axis=0), (0.7, 0.0), atol=0.05)
        np.testing.assert_allclose(states[-10:], [(0.7, 0.0)] * 10, atol=0.12)

    @pytest.mark.parametrize("method", METHODS)
    def test_later_plans_are_better_than_the_first(self, method):
        """Planning again from the same place goes on from the last plan; from the same start each time it cannot."""
        subject, other = (planner(method=method, candidates=24, iterations=2, elites=5) for _ in range(2))
        warm, cold = [], []
        for _ in range(15):
            warm.append(subject.plan(Cart(), to(0.7), ORIGIN, elapsed_steps=0.0).cost)
            other.reset()
            cold.append(other.plan(Cart(), to(0.7), ORIGIN).cost)
        assert np.mean(warm[5:]) < 0.97 * np.mean(cold)

    @pytest.mark.parametrize("method", METHODS)
    def test_cost_is_that_of_the_plan(self, method):
        subject = planner(method=method, candidates=100, discount=0.9, temperature=1e-6)
        plan = subject.plan(Cart(), to(0.7), ORIGIN)
        x, v, total = 0.0, 0.0, 0.0
        for step, (push,) in enumerate(plan.actions.tolist()):
            x, v = x + DT_S * v, v + DT_S * push
            total += 0.9**step * ((x - 0.7) ** 2 + 0.1 * v**2 + 0.01 * push**2)
        assert plan.cost == pytest.approx(total, rel=1e-4)
        assert plan.disagreement == 0.0

    def test_looks_at_as_many_sequences_as_it_is_told_to(self):
        model = Cart()
        planner(candidates=23, iterations=3, elites=2, kept=2, horizon=4).plan(model, to(0.7), ORIGIN)
        assert model.rows == [8] * 4 + [8] * 4 + [7] * 4

    def test_is_repeatable(self):
        plans = [planner(seed).plan(Cart(), to(0.7), ORIGIN).actions for seed in (1, 1, 2)]
        np.testing.assert_array_equal(plans[0], plans[1])
        assert not np.array_equal(plans[0], plans[2])


class TestBounds:
    @settings(max_examples=20, deadline=None)
    @given(
        method=st.sampled_from(METHODS),
        low=st.floats(-3.0, 2.0, width=32),
        width=st.floats(0.125, 4.0, width=32),
        std=st.floats(0.1, 5.0),
        seed=st.integers(0, 99),
    )
    def test_hold_for_every_action(self, method, low, width, std, seed):
        subject = planner(seed, low, low + width, method=method, std=std, candidates=24, horizon=6, elites=3, kept=1)
        for _ in range(3):
            actions = subject.plan(Cart(), to(9.0), ORIGIN).actions
            assert (actions >= np.float32(low) - 1e-6).all()
            assert (actions <= np.float32(low + width) + 1e-5).all()

    def test_must_be_in_order(self):
        with pytest.raises(ValueError, match="below"):
            planner(low=1.0, high=1.0)


class TestShift:
    @pytest.mark.parametrize(
        ("elapsed", "wanted"),
        [(0.0, (0.0, 1.0, 2.0, 3.0)), (1.0, (1.0, 2.0, 3.0, 3.0)), (1.5, (1.5, 2.5, 3.0, 3.0)), (9.0, (3.0,) * 4)],
    )
    def test_by_what_has_elapsed(self, elapsed, wanted):
        subject = planner(low=-9.0, high=9.0, horizon=4)
        subject._mean = torch.arange(4.0)[:, None]
        subject._shift(elapsed)
        np.testing.assert_allclose(subject._mean[:, 0].numpy(), wanted)

    def test_reset_forgets(self):
        subject = planner(low=0.0, high=1.0)
        subject.plan(Cart(), to(9.0), ORIGIN)
        assert not torch.allclose(subject._mean, torch.full_like(subject._mean, 0.5))
        subject.reset()
        assert torch.equal(subject._mean, torch.full_like(subject._mean, 0.5))


class TestLatency:
    PENDING = np.array([[1.0], [-0.5], [0.3]], np.float32)

    def test_foretells_where_the_robot_will_be(self):
        begin = forecast(Cart(2), ORIGIN, self.PENDING, 2.0)
        assert begin.shape == (2, 2)
        for row in begin:
            np.testing.assert_allclose(row.numpy(), simulated(self.PENDING[:2]), atol=1e-6)

    def test_a_part_of_a_step_is_a_part_of_the_way(self):
        whole = [simulated(self.PENDING[:n]) for n in (1, 2)]
        wanted = 0.75 * whole[0] + 0.25 * whole[1]
        np.testing.assert_allclose(forecast(Cart(), ORIGIN, self.PENDING, 1.25)[0].numpy(), wanted, atol=1e-6)

    def test_none_is_the_reading(self):
        np.testing.assert_array_equal(forecast(Cart(), ORIGIN, None, 0.0)[0].numpy(), ORIGIN)

    def test_plans_are_for_that_state(self):
        late = planner().plan(Cart(), to(0.7), ORIGIN, pending=self.PENDING, latency_steps=3.0)
        there = planner().plan(Cart(), to(0.7), simulated(self.PENDING).astype(np.float32))
        np.testing.assert_allclose(late.actions, there.actions, atol=1e-4)
        now = planner().plan(Cart(), to(0.7), ORIGIN)
        assert np.abs(now.actions - late.actions).max() > 0.01

    @pytest.mark.parametrize("latency", [-0.1, 3.1, math.nan])
    def test_needs_the_actions_that_act_meanwhile(self, latency):
        with pytest.raises(ValueError, match="pending actions"):
            forecast(Cart(), ORIGIN, self.PENDING, latency)


class TestRisk:
    @pytest.mark.parametrize("method", METHODS)
    def test_where_members_disagree_is_avoided(self, method):
        """The goal lies where the model is in doubt: without care the plan goes in, with care it stops before."""
        reached = {}
        for risk in (0.0, 100.0):
            subject = planner(method=method, candidates=200, risk=risk)
            for _ in range(5):
                plan = subject.plan(Cart(2, doubt=0.05), to(1.5), ORIGIN, elapsed_steps=0.0)
            x, v, furthest = 0.0, 0.0, 0.0
            for (push,) in plan.actions.tolist():
                x, v = x + DT_S * v, v + DT_S * push
                furthest = max(furthest, x)
            reached[risk] = furthest, plan.disagreement
        assert reached[0.0][0] > 1.2
        assert reached[100.0][0] < 1.1
        assert reached[100.0][1] < 0.1 * reached[0.0][1]

    def test_disagreement_by_hand(self):
        """One step from x = 3: members say 3 and 3 + 0.1 * 2, half of which is a deviation of one usual step."""
        subject = planner(horizon=1, candidates=8, iterations=1, elites=2, kept=0, risk=10.0)
        plan = subject.plan(
            Cart(2, doubt=0.1), lambda s, a, n: torch.zeros(n.shape[:-1]), np.array((3.0, 0.0), np.float32)
        )
        assert plan.disagreement == pytest.approx(0.5**0.5, rel=1e-4)  # of the two numbers of the state, one is known
        assert plan.cost == pytest.approx(10.0 * 0.5**0.5, rel=1e-4)


class TestBadNumbers:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_sequences_without_a_cost_are_left_out(self, method, bad):
        def cost(states, actions, following):
            good = to(0.7)(states, actions, following)
            return torch.where(actions[..., 0] > 0.5, bad, good)

        plan = planner(method=method, colour=0.0).plan(Cart(), cost, ORIGIN)
        assert math.isfinite(plan.cost)
        assert np.isfinite(plan.actions).all()
        assert plan.actions.max() <= 0.5 + 1e-6

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_without_any_cost_the_last_plan_goes_on(self, method, bad):
        subject = planner(method=method)
        subject.plan(Cart(), to(0.7), ORIGIN)
        mean = subject._mean.clone()
        plan = subject.plan(Cart(), lambda s, a, n: torch.full(n.shape[:-1], bad), ORIGIN, elapsed_steps=0.0)
        assert plan.cost == math.inf
        np.testing.assert_array_equal(plan.actions, mean.numpy())

    def test_a_state_that_is_not_finite_is_refused(self):
        with pytest.raises(ValueError, match="not finite"):
            planner().plan(Cart(), to(0.7), np.array((0.0, np.nan), np.float32))


def test_coloured_plans_are_smoother():
    def roughness(colour):
        subject = planner(colour=colour, std=0.2)
        drawn = subject._draw(400, torch.full((20, 1), 0.2))[:, 1:, 0]
        assert float(drawn.std()) == pytest.approx(0.2, rel=0.1)
        return float(drawn.diff(dim=0).std())

    assert roughness(2.0) < 0.5 * roughness(0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "shooting"),
        ("horizon", 0),
        ("candidates", 7),
        ("elites", 126),
        ("kept", 13),
        ("annealing", 0.0),
        ("temperature", 0.0),
        ("std", math.inf),
        ("risk", -1.0),
        ("momentum", 1.0),
    ],
)
def test_settings_that_cannot_work_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        PlannerConfig(**{name: value})
