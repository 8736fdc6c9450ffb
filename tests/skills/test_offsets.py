"""The search for offsets on top of a held policy, and the evolution behind it: both against what is known of them."""

import json

import numpy as np
import pytest
from sac_kit import ACTIONS, OBS, SKILLS

from persistence.replay import ReplayBuffer
from skills.learners.config import SacConfig
from skills.learners.evolution import Evolution, population
from skills.learners.learner import AttemptSummary, counted_on
from skills.learners.offsets import LEAST_STEPS, SHORT_TRIES, STEP, OffsetSearch
from skills.learners.sac import SacLearner
from skills.policy import MlpPolicy

NAMES = tuple(f"skill{index}" for index in range(SKILLS))
COMMANDS = np.arange(2.0 * SKILLS).reshape(SKILLS, 2)


def minimise(function, dimensions, generations, seed=0):
    search, rng = Evolution(dimensions, 0.3), np.random.default_rng(seed)
    for _ in range(generations):
        samples = search.samples(rng)
        search.follow(samples, -np.array([function(each) for each in samples]))
    return search


class TestEvolution:
    def test_as_many_samples_as_the_tutorial_has(self):
        assert [population(n) for n in (2, 5, 10, 40)] == [6, 8, 10, 15]

    def test_it_finds_a_minimum_in_a_shape_that_it_has_to_learn(self):
        """A turned ellipsoid whose axes differ a hundredfold, 1 away in each direction; about 100 evaluations for each
        of five dimensions solve it, and without a learned shape it is not solved in ten times as many."""
        turned, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((5, 5)))
        weights = 10.0 ** np.linspace(0.0, 4.0, 5)
        found = minimise(lambda x: float(weights @ ((x - 1.0) @ turned) ** 2), 5, 200)
        np.testing.assert_allclose(found.mean, 1.0, atol=1e-3)
        spread = np.sqrt(np.linalg.eigvalsh(found.covariance))
        assert spread[-1] / spread[0] > 20.0

    def test_one_generation_is_that_of_the_tutorial(self):
        """Its figure 6 written out, for the first generation in three dimensions."""
        search, rng = Evolution(3, 0.5), np.random.default_rng(2)
        samples = search.samples(rng)
        scores = rng.standard_normal(len(samples))
        search.follow(samples, scores)
        n, mu = 3, 3
        w = np.log(mu + 0.5) - np.log([1, 2, 3])
        w /= w.sum()
        mueff = 1 / (w**2).sum()
        y = samples[np.argsort(scores)[::-1][:mu]] / 0.5
        c_s = (mueff + 2) / (n + mueff + 5)
        c_c = (4 + mueff / n) / (n + 4 + 2 * mueff / n)
        c_1 = 2 / ((n + 1.3) ** 2 + mueff)
        c_mu = min(1 - c_1, 2 * (mueff - 2 + 1 / mueff) / ((n + 2) ** 2 + mueff))
        p_s = np.sqrt(c_s * (2 - c_s) * mueff) * w @ y
        chi = np.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
        h = np.linalg.norm(p_s) / np.sqrt(1 - (1 - c_s) ** 2) < (1.4 + 2 / (n + 1)) * chi
        p_c = h * np.sqrt(c_c * (2 - c_c) * mueff) * w @ y
        spread = sum(weight * np.outer(each, each) for weight, each in zip(w, y, strict=True))
        kept = 1 - c_1 - c_mu + (1 - h) * c_1 * c_c * (2 - c_c)
        damping = 1 + 2 * max(0, np.sqrt((mueff - 1) / (n + 1)) - 1) + c_s
        np.testing.assert_allclose(search.mean, 0.5 * w @ y)
        np.testing.assert_allclose(search.covariance, kept * np.eye(n) + c_1 * np.outer(p_c, p_c) + c_mu * spread)
        assert search.step[0] == pytest.approx(0.5 * np.exp(c_s / damping * (np.linalg.norm(p_s) / chi - 1)))

    def test_it_goes_the_same_way_whatever_scores_mean(self):
        """Ranks alone count (a monotonic transformation changes nothing)."""
        plain = minimise(lambda x: float(x @ x - x.sum()), 4, 20)
        bent = minimise(lambda x: float(np.exp(x @ x - x.sum())), 4, 20)
        np.testing.assert_array_equal(plain.mean, bent.mean)

    def test_steps_grow_where_it_goes_on_and_on_and_shrink_where_it_has_arrived(self):
        assert minimise(lambda x: float(x.sum()), 4, 30).step[0] > 3.0
        assert minimise(lambda x: float(x @ x), 4, 60).step[0] < 0.01


def learner(seed=0):
    replay = ReplayBuffer(500, OBS, ACTIONS, SKILLS, 1)
    rng = np.random.default_rng(1)
    zeros = np.zeros((40, SKILLS))
    replay.add_episode(rng.standard_normal((41, OBS)), rng.uniform(-1, 1, (40, ACTIONS)), zeros, zeros)
    return SacLearner(replay, COMMANDS, np.zeros((SKILLS, ACTIONS)), SacConfig(hidden=(16,), batch=8), seed)


def search(seed=0):
    return OffsetSearch(learner(seed), NAMES, ACTIONS, seed)


def attempt(version, score, skill=0, steps=100, *, fell=False):
    return AttemptSummary(
        skill=skill,
        policy_version=version,
        steps=steps,
        mean_reward=score / steps,
        mean_costs=np.zeros(0),
        fell=fell,
    )


def of(made, skill=0):
    return [weights for weights in made.candidates() if weights.skill == NAMES[skill]]


def action(weights, skill=0):
    """Before the squashing, at one observation, with noise."""
    noise = np.random.default_rng(5).standard_normal(ACTIONS)
    out = MlpPolicy(weights).act(np.full(OBS, 0.3), COMMANDS[skill], np.zeros(ACTIONS), noise)
    return np.arctanh(out.astype(np.float64))


def offset(made, weights):
    """What a candidate adds to the policy below."""
    below = made._below.snapshot()
    return weights.layers[-1][1][:ACTIONS] - below.layers[-1][1][:ACTIONS]


def one_generation(made, score, skill=0):
    for _ in range(population(ACTIONS)):
        weights = of(made, skill)[1]
        made.attempted(attempt(weights.version, score(offset(made, weights)), skill))


class TestSearch:
    def test_it_begins_at_the_policy_below_without_its_noise(self):
        made = search()
        best = of(made)[0]
        below = MlpPolicy(made._below.snapshot()).act(np.full(OBS, 0.3), COMMANDS[0], np.zeros(ACTIONS))
        np.testing.assert_allclose(np.tanh(action(best)), below, atol=1e-3)

    def test_what_it_offers_is_an_offset_before_the_squashing(self):
        made = search()
        best, *tries = of(made)
        for weights in tries:
            np.testing.assert_allclose(action(weights) - action(best), offset(made, weights), atol=1e-3)
        tried = made._searches[0]._samples()
        assert np.sqrt(np.mean(tried**2)) == pytest.approx(STEP, rel=0.5)
        np.testing.assert_allclose(np.stack([offset(made, weights) for weights in tries]), tried[:2], atol=1e-6)

    def test_every_skill_is_searched_for_alone(self):
        made = search()
        before = [weights.version for weights in of(made, 1)]
        one_generation(made, lambda tried: float(tried[0]))
        assert offset(made, of(made, 0)[0])[0] > 0.02
        assert np.all(offset(made, of(made, 1)[0]) == 0.0)
        assert [weights.version for weights in of(made, 1)] == before

    def test_it_finds_the_offset_that_earns_most(self):
        made, best = search(), np.linspace(-0.6, 0.6, ACTIONS)
        for _ in range(60):
            one_generation(made, lambda tried: -float(np.sum((tried - best) ** 2)))
        np.testing.assert_allclose(offset(made, of(made)[0]), best, atol=0.05)

    def test_the_best_is_a_mean_over_the_newest_generations(self):
        made, means = search(), []
        for _ in range(8):
            one_generation(made, lambda tried: float(np.sin(9.0 * tried).sum()))
            means.append(made._searches[0].search.mean.copy())
        expected = np.mean(means[:5], axis=0)  # as many as weigh the same before the newest counts a fifth
        for mean in means[5:]:
            expected += 0.2 * (mean - expected)
        np.testing.assert_allclose(offset(made, of(made)[0]), expected, atol=1e-5)
        assert np.abs(expected - means[-1]).max() > 1e-3

    def test_versions_never_come_twice(self):
        made, seen = search(), set()
        for _ in range(3):
            generation = {of(made)[0].version}
            for _ in range(population(ACTIONS)):
                version = of(made)[1].version
                assert version not in generation
                generation.add(version)
                made.attempted(attempt(version, 0.0))
            assert not generation & seen
            seen |= generation

    def test_an_attempt_that_was_cut_short_counts_as_if_it_had_gone_on(self):
        made = search()
        for steps, fell in ((200, False), (50, True), (50, False), (300, False)):
            made.attempted(attempt(of(made)[1].version, 0.1 * steps, steps=steps, fell=fell))
        np.testing.assert_allclose(made._searches[0].scores[:4], (30.0, 5.0, 30.0, 30.0))

    def test_an_offset_that_is_over_at_once_again_and_again_is_an_average_one(self):
        """As if it had earned the mean of the others."""
        made, other = search(), search()
        for number in range(population(ACTIONS)):
            version = made._searches[0]._first_version[0] + 1 + number
            steps, times = (LEAST_STEPS - 5, SHORT_TRIES) if number == 2 else (200, 1)
            for _ in range(times):
                made.attempted(attempt(version, float(number * steps), steps=steps))
            earned = np.mean([each for each in range(population(ACTIONS)) if each != 2]) if number == 2 else number
            other.attempted(attempt(version, float(earned * 200), steps=200))
        assert made._searches[0].generations == 1
        np.testing.assert_allclose(made._searches[0].search.mean, other._searches[0].search.mean)

    @pytest.mark.parametrize(
        "summary",
        [
            attempt(None, 1.0),
            attempt(7, 1.0),
            attempt(0, float("nan")),
            attempt(0, 1.0, steps=LEAST_STEPS - 1),
        ],
        ids=["a script", "the policy below", "no number", "too short"],
    )
    def test_what_says_nothing_of_an_offset_is_passed_over(self, summary):
        made = search()
        if summary.policy_version == 0:
            summary = attempt(of(made)[1].version, summary.mean_reward * summary.steps, steps=summary.steps)
        made.attempted(summary)
        assert np.isnan(made._searches[0].scores).all()

    def test_the_policy_below_is_left_alone(self):
        made = search()
        before = made._below.snapshot()
        assert made.update(50)[f"generations.{NAMES[0]}"] == 0.0
        one_generation(made, lambda tried: float(tried[0]))
        assert made._below.snapshot().to_bytes() == before.to_bytes()
        assert made.updates == before.version


class TestState:
    def test_it_goes_on_where_it_was(self):
        made = search()
        one_generation(made, lambda tried: float(tried[0]))
        weights = of(made)[1]
        made.attempted(attempt(weights.version, 1.0))
        arrays, meta = made.state()
        other = search(seed=4)
        other.load_state(arrays, json.loads(json.dumps(meta)))
        for both in (made, other):
            one_generation(both, lambda tried: float(tried[1]))
        mine, theirs = of(made), of(other)
        assert [each.to_bytes() for each in mine] == [each.to_bytes() for each in theirs]

    def test_it_begins_on_top_of_what_another_learner_has_left(self):
        before, made = learner(seed=3), search()
        one_generation(made, lambda tried: float(tried[0]))
        made.load_state(*before.state())
        assert np.all(offset(made, of(made)[0]) == 0.0)
        assert np.array_equal(of(made)[0].layers[0][0], before.snapshot().layers[0][0])

    def test_the_learner_below_goes_on_from_what_it_has_left(self):
        made, after = search(), learner(seed=3)
        one_generation(made, lambda tried: float(tried[0]))
        after.load_state(*made.state())
        assert after.snapshot().to_bytes() == made._below.snapshot().to_bytes()

    def test_a_repaired_robot_gets_its_policy_back_and_no_version_twice(self):
        made = search()
        arrays, meta = made.state()
        one_generation(made, lambda tried: float(tried[0]))
        one_generation(made, lambda tried: float(tried[0]))
        used = {weights.version for weights in of(made)}
        made.load_state(arrays, counted_on(meta, made.state()[1]))
        assert np.all(offset(made, of(made)[0]) == 0.0)
        one_generation(made, lambda tried: float(tried[0]))
        assert not used & {weights.version for weights in of(made)}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda arrays, meta: meta["offsets"].update(skills=["other"]), "skills"),
            (lambda arrays, meta: meta["offsets"].update(format=99), "format"),
            (lambda arrays, meta: arrays.pop(f"offsets.{NAMES[0]}.rates"), "nothing as skill0.rates"),
            (lambda arrays, meta: arrays.update({f"offsets.{NAMES[0]}.mean": np.full(ACTIONS, np.nan)}), "NaN"),
            (lambda arrays, meta: meta.update(kind="other"), "kind"),
        ],
    )
    def test_a_state_that_does_not_fit_changes_nothing(self, change, message):
        made = search()
        one_generation(made, lambda tried: float(tried[0]))
        arrays, meta = made.state()
        before = [each.to_bytes() for each in made.candidates()]
        arrays, meta = dict(arrays), json.loads(json.dumps(meta))
        change(arrays, meta)
        with pytest.raises(ValueError, match=message):
            made.load_state(arrays, meta)
        assert [each.to_bytes() for each in made.candidates()] == before
