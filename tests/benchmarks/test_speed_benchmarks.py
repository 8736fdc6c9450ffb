"""The benchmarks of learner and replay memory: keys that scripts rely on, and the arithmetic behind the roofline."""

import pytest
import torch

from benchmarks import _baselines, learner, replay


def test_replay_figures():
    figures = replay.run(seed=0, n=40)
    assert {"add_us", "sample_256_us", "add_us_p95", "sample_256_us_p95"} <= figures.keys()
    assert figures["steps"] == replay.CAPACITY
    assert 0 < figures["sample_256_us"] <= figures["sample_256_us_p95"]
    assert 0 < figures["add_us"] <= figures["add_us_p95"]


def test_learner_figures_say_why_a_peer_is_missing(monkeypatch):
    monkeypatch.setattr(learner, "VARIANTS", {learner.OURS: {"hidden": (8, 8), "batch": 8}})
    monkeypatch.setattr(learner, "package_version", lambda name: None)
    monkeypatch.setattr(_baselines, "sbx_python", lambda: None)
    threads = torch.get_num_threads()
    try:
        figures = learner.run(seed=0, n=20, threads=1)
    finally:
        torch.set_num_threads(threads)
    assert figures["updates_per_s"] > 0
    assert figures["roofline_share"] > 0
    assert figures["ratio_sb3"] is figures["ratio_sbx"] is None
    assert set(figures["missing"]) == {"stable-baselines3", "sbx"}


def test_ratio_is_the_median_over_rounds_that_were_side_by_side(monkeypatch):
    # Ours takes 1 s a call and the other 2 s, in a machine that slows down threefold in one round: still twice as fast.
    speed = iter([1.0, 1.0, 1.0, 3.0, 1.0, 1.0])
    now = {}

    def subject(name, seconds):
        def timed(calls):
            if name == learner.OURS:
                now["slow"] = next(speed)
            return calls * seconds * now["slow"]

        return timed

    monkeypatch.setattr(learner, "_peak", lambda: 1.0)
    rates, _ = learner._rounds({learner.OURS: subject(learner.OURS, 1.0), "other": subject("other", 2.0)}, calls=1)
    assert learner._ratio(rates[learner.OURS], rates["other"]) == 2.0
    assert rates[learner.OURS].count(20.0) == learner.ROUNDS - 1


def test_update_arithmetic_by_hand(monkeypatch):
    monkeypatch.setattr(learner, "OBS", 2)
    monkeypatch.setattr(learner, "ACTIONS", 1)
    # Actor 2-3-2, critic 3-3-1, one critic, batch 1. Products of the actor: 6 + 6 = 12, of the critic: 9 + 3 = 12.
    # Actor: two forward passes (24), by weights (12), by the hidden layer (6): 42.
    # Critic: target (12); at (s, a) (12); at (s, u), action alone in the first layer (12 - 6 = 6): 30. Back by weights
    # (12), by the hidden layer twice (3 + 3), by the action (3): 21.
    assert learner.update_flop({"hidden": (3,), "ensemble": 1, "batch": 1}) == 2 * (42 + 30 + 21)


def test_an_update_of_stable_baselines3_moves_critics_actor_and_temperature(monkeypatch):
    pytest.importorskip("stable_baselines3")
    monkeypatch.setattr(_baselines, "REPLAY_STEPS", 300)
    model = _baselines.model_on_noise("stable_baselines3", 3, 1, 0)
    parts = {"actor": model.actor, "critic": model.critic, "target": model.critic_target}
    before = {name: torch.nn.utils.parameters_to_vector(part.parameters()) for name, part in parts.items()}
    temperature = model.log_ent_coef.item()
    model.train(gradient_steps=1, batch_size=256)
    for name, part in parts.items():
        assert not torch.equal(before[name], torch.nn.utils.parameters_to_vector(part.parameters())), name
    assert model.log_ent_coef.item() != temperature


def test_an_update_of_sbx_moves_critics_actor_and_temperature(monkeypatch):
    pytest.importorskip("sbx")
    monkeypatch.setattr(_baselines, "REPLAY_STEPS", 300)
    model = _baselines.model_on_noise("sbx", 3, 1, 0)
    model.train(gradient_steps=_baselines.PER_CALL, batch_size=256)
    steps = {int(state.step) for state in (model.policy.actor_state, model.policy.qf_state, model.ent_coef_state)}
    assert steps == {_baselines.PER_CALL}
