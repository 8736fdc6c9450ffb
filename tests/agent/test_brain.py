"""Which policy an attempt gets, and what is handed to the learner; with a learner that only plays its part."""

import math
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import fake_spec, observation

from agent.brain import Brain, PolicyUnavailableError, Turn
from agent.clearance import Clearance, Verdict
from agent.learner_link import LearnerProgress
from agent.learner_messages import Snapshot
from meta.change_point import Calibration
from meta.drift_monitor import Condition
from meta.expectation import Expectation, ForwardModel
from meta.robot_steps import posture_size
from meta.transitions import Scales
from skills.fall_predictor import FallPredictorWeights
from skills.gait import GAIT
from skills.offsets import Offset, Offsets
from skills.policy import PolicyWeights
from skills.registry import get
from skills.shield import ShieldWeights
from skills.skill import Displacement, SkillKind
from skills.undo_critic import UndoCriticWeights
from skills.walk import Walk

SPEC = fake_spec()
HISTORY = 2
ROW = GAIT.feature_size(SPEC)
INPUTS = HISTORY * ROW


def weights(version: int, bias: float = 0.0) -> PolicyWeights:
    return PolicyWeights(
        version=version,
        layers=((np.zeros((INPUTS + 2, 24), np.float32), np.full(24, bias, np.float32)),),
        obs_mean=np.zeros(INPUTS, np.float32),
        obs_std=np.ones(INPUTS, np.float32),
    )


class FakeLink:
    """A learner that publishes a snapshot for a ticket when a test says so."""

    def __init__(self, folder: Path) -> None:
        self.progress = LearnerProgress()
        self.ingested: list[Path] = []
        self.conditions: list[Condition] = []
        self.waited: list[int] = []
        self.polls = 0
        self._folder = folder
        self.publish(0, 0)

    def publish(self, ticket: int, version: int, bias: float = 0.0) -> Path:
        path = self._folder / f"policy-{ticket}-{version}.safetensors"
        path.write_bytes(weights(version, bias).to_bytes())
        self.progress.snapshots[ticket] = Snapshot((path,))
        return path

    def ingest(self, path: Path, condition: Condition = Condition.USUAL) -> int:
        self.ingested.append(path)
        self.conditions.append(condition)
        return len(self.ingested)

    def wait_for(self, ticket: int) -> None:
        self.waited.append(ticket)

    def poll(self) -> LearnerProgress:
        self.polls += 1
        return self.progress


@pytest.fixture
def link(tmp_path):
    return FakeLink(tmp_path)


def brain(
    link, *, lockstep: bool = True, seed: int = 0, before: int = 0, fixed=(), script_below: float = 0.0, earlier=()
) -> Brain:
    return Brain(
        link,
        SPEC,
        dt_s=0.02,
        seed=seed,
        attempts_before=before,
        lockstep=lockstep,
        decimation=2,
        history=HISTORY,
        script_below=script_below,
        earlier=earlier,
        fixed=fixed,
    )


def written(path: Path | None) -> Future[Path | None]:
    future: Future[Path | None] = Future()
    future.set_result(path)
    return future


def first_action(made: Brain, skill: str = "walk_forward", *, explore: bool = True) -> np.ndarray:
    controller, _ = made.controller(get(skill), explore=explore)
    controller.start(observation())
    controller.act(observation())
    return controller.decision.proposed


class Fetch(Walk):
    """A walk with a script of its own."""

    def script(self, spec):
        return lambda frames: np.full(self.family.action_size(spec), 0.25)


FETCH = Fetch("walk_forward", "", forward=1.0, success_at=0.3, displacement=Displacement())


class Help(Fetch):
    kind = SkillKind.RESET


HELP = Help("walk_forward", "", forward=1.0, success_at=0.3, displacement=Displacement())


class TestScript:
    def turns(self, made: Brain, outcomes, *, explore=True, skill=FETCH):
        """Who makes each attempt, if the policy's end like this."""
        out = []
        for success in outcomes:
            _, version = made.controller(skill, explore=explore)
            made.attempted(written(None), skill.name, version, success=success)
            out.append("script" if version is None else "policy")
        return out

    def test_it_makes_every_other_attempt_until_the_policy_succeeds_often_enough(self, link):
        made = brain(link, script_below=0.2)
        assert self.turns(made, [True, False] * 3) == ["script", "policy"] * 3
        assert self.turns(made, [True, True]) == ["script", "policy"]  # 1 of 4 is more than a fifth
        assert self.turns(made, [False] * 12) == ["policy"] * 2 + ["script"] + ["policy", "script"] * 4 + ["policy"]

    def test_it_makes_every_attempt_of_a_reset_where_scripts_are_wanted(self, link):
        assert self.turns(brain(link, script_below=0.2), [True] * 4, skill=HELP) == ["script"] * 4
        assert self.turns(brain(link), [True] * 2, skill=HELP) == ["policy"] * 2

    def test_a_restart_knows_how_often_the_policy_succeeded_and_whose_turn_it_is(self, link):
        """Of each skill by itself."""
        other = [Turn(skill="walk_backward", by_policy=True, success=True)] * 20
        made = [Turn(skill="walk_forward", by_policy=True, success=i < 4) for i in range(10)]
        able = brain(link, script_below=0.2, earlier=[*other, *made])
        assert self.turns(able, [False, False]) == ["policy", "policy"]
        unable = [Turn(skill="walk_forward", by_policy=True, success=False)]
        assert self.turns(brain(link, script_below=0.2, earlier=[*other, *unable]), [False]) == ["script"]
        script = [Turn(skill="walk_forward", by_policy=False, success=True)]
        assert self.turns(brain(link, script_below=0.2, earlier=[*unable, *script]), [False] * 2) == [
            "policy",
            "script",
        ]

    def test_it_decides_as_it_does(self, link):
        controller, _ = brain(link, script_below=0.2).controller(FETCH, explore=True)
        controller.start(observation())
        controller.act(observation())
        np.testing.assert_array_equal(controller.decision.proposed, 0.25)

    def test_it_makes_no_evaluation_and_none_where_it_is_not_wanted(self, link):
        assert self.turns(brain(link, script_below=0.2), [False] * 3, explore=False) == ["policy"] * 3
        assert self.turns(brain(link), [False] * 3) == ["policy"] * 3


class TestPolicy:
    def test_a_script_needs_none(self, link):
        _, version = brain(link).controller(get("return_home"), explore=True)
        assert version is None
        assert link.waited == []

    def test_without_learner_and_policy_there_is_one_clear_error(self):
        with pytest.raises(PolicyUnavailableError, match="'walk_forward' has no policy"):
            brain(None).controller(get("walk_forward"), explore=True)

    def test_a_fixed_policy_acts_without_a_learner(self):
        made = brain(None, fixed=(weights(42),))
        assert made.controller(get("walk_forward"), explore=False)[1] == 42

    def test_a_network_that_says_nothing_sends_the_prior(self, link):
        for skill in ("walk_forward", "turn_left"):
            np.testing.assert_allclose(
                first_action(brain(link), skill, explore=False), get(skill).prior_action(SPEC), atol=1e-6
            )


class TestShield:
    def shield(self, threshold: float) -> ShieldWeights:
        return ShieldWeights(
            model=((np.zeros((1, 12 + INPUTS, ROW), np.float32), np.zeros((1, 1, ROW), np.float32)),),
            critic=((np.zeros((1, INPUTS + 2, 1), np.float32), np.zeros((1, 1, 1), np.float32)),),
            recovery=weights(1, bias=0.3),
            caution=0.0,
            threshold=threshold,
        )

    @pytest.mark.parametrize(("threshold", "why"), [(0.4, "risk"), (0.6, "")])
    def test_what_the_learner_publishes_judges_the_next_attempt(self, link, tmp_path, threshold, why):
        """A critic that knows nothing says one half of everything."""
        path = tmp_path / "shield.safetensors"
        path.write_bytes(self.shield(threshold).to_bytes())
        link.progress.snapshots[0] = Snapshot(link.progress.snapshots[0].policies, {"shield": path})
        controller, _ = brain(link).controller(get("walk_forward"), explore=False)
        controller.start(observation())
        controller.act(observation())
        assert controller.decision.replaced is bool(why)
        assert controller.decision.proposed == pytest.approx(get("walk_forward").prior_action(SPEC), abs=1e-6)
        if why:
            share = GAIT.smoothing
            prior = get("walk_forward").prior_action(SPEC)
            assert controller.decision.sent == pytest.approx(share * np.tanh(0.3) + (1 - share) * prior, abs=1e-5)

    def test_one_that_is_not_finite_is_not_taken(self, link, tmp_path):
        path = tmp_path / "shield.safetensors"
        path.write_bytes(self.shield(0.4).to_bytes())
        broken = replace(self.shield(0.4), recovery=weights(1, bias=float("nan")))
        made = brain(link)
        link.progress.snapshots[0] = Snapshot(link.progress.snapshots[0].policies, {"shield": path})
        made.controller(get("walk_forward"), explore=False)
        path = tmp_path / "broken.safetensors"
        path.write_bytes(broken.to_bytes())
        link.progress.snapshots[0] = Snapshot(link.progress.snapshots[0].policies, {"shield": path})
        controller, _ = made.controller(get("walk_forward"), explore=False)
        controller.start(observation())
        controller.act(observation())
        assert controller.decision.replaced  # by the last good one


class TestFallPredictor:
    def predictor(self, threshold: float) -> FallPredictorWeights:
        """One that knows nothing, and says one half of everything."""
        width = posture_size(SPEC)
        return FallPredictorWeights(
            layers=((np.zeros((1, width, 1), np.float32), np.zeros((1, 1, 1), np.float32)),),
            mean=np.zeros(width, np.float32),
            std=np.ones(width, np.float32),
            horizon_s=0.5,
            caution=0.0,
            slope=1.0,
            offset=0.0,
            threshold=threshold,
        )

    def publish(self, link, path: Path, weights: FallPredictorWeights) -> None:
        path.write_bytes(weights.to_bytes())
        link.progress.snapshots[0] = Snapshot(link.progress.snapshots[0].policies, {"falls": path})

    def test_what_the_learner_publishes_watches_the_next_attempt(self, link, tmp_path):
        made = brain(link)
        made.controller(get("walk_forward"), explore=False)
        assert made.fall_predictor is None
        self.publish(link, tmp_path / "falls", self.predictor(0.4))
        assert made.fall_predictor is None
        made.controller(get("walk_forward"), explore=False)
        assert made.fall_predictor.alarm(observation())

    def test_one_that_is_not_finite_is_not_taken(self, link, tmp_path):
        made = brain(link)
        self.publish(link, tmp_path / "falls", self.predictor(0.4))
        made.controller(get("walk_forward"), explore=False)
        self.publish(link, tmp_path / "broken", replace(self.predictor(0.6), slope=math.nan))
        made.controller(get("walk_forward"), explore=False)
        assert made.fall_predictor.alarm(observation())  # by the last good one


class TestOffsets:
    ROWS = tuple(
        Offset(drift="weak left", skill="walk_forward", version=version, values=np.full(12, value))
        for version, value in ((50, 0.1), (51, 0.2), (52, 0.3))
    )

    @pytest.fixture
    def made(self, link, tmp_path):
        path = tmp_path / "offsets"
        path.write_bytes(Offsets(self.ROWS).to_bytes())
        link.progress.snapshots[0] = Snapshot(link.progress.snapshots[0].policies, {"offsets": path})
        return brain(link)

    def versions(self, made, n, drift="weak left", skill="walk_forward", *, explore=True):
        return [made.controller(get(skill), explore=explore, known_drift=drift)[1] for _ in range(n)]

    def test_what_is_to_be_tried_acts_once_and_else_the_best(self, made):
        assert self.versions(made, 3) == [51, 52, 50]

    def test_without_exploration_the_best_acts(self, made):
        assert self.versions(made, 2, explore=False) == [50, 50]

    @pytest.mark.parametrize(
        "other", [{"drift": ""}, {"drift": "weak right"}, {"skill": "walk_backward"}], ids=["none", "another", "skill"]
    )
    def test_for_any_other_drift_and_skill_the_policy_acts(self, made, other):
        assert self.versions(made, 2, **other) == [0, 0]

    def test_they_move_what_the_policy_does(self, made):
        plain = first_action(made, explore=False)
        controller, _ = made.controller(get("walk_forward"), explore=False, known_drift="weak left")
        controller.start(observation())
        controller.act(observation())
        np.testing.assert_allclose(np.arctanh(controller.decision.proposed) - np.arctanh(plain), 0.1, atol=1e-5)

    def test_once_they_are_gone_the_policy_acts(self, made, link):
        assert self.versions(made, 1, explore=False) == [50]
        link.publish(0, 7)
        assert self.versions(made, 1, explore=False) == [7]

    def test_where_policies_have_to_be_cleared_none_acts(self, made):
        verdict: Future[Verdict] = Future()
        verdict.set_result(Verdict(version=0, attempts=1, failures=0, passed=True))
        made._clearance = Clearance(lambda weights: verdict, every=3, lockstep=False)
        assert self.versions(made, 2) == [0, 0]


def test_the_undo_critic_that_the_learner_publishes_judges_what_comes(link, tmp_path):
    """One that knows nothing, and gives little for the success of a walk back."""
    skill = get("walk_forward")
    made = brain(link)
    made.controller(skill, explore=False)
    assert made.hopeless(observation()) == frozenset()
    weights = UndoCriticWeights(
        skills=("walk_backward",),
        layers=((np.zeros((1, ROW, 1), np.float32), np.full((1, 1, 1), -3.0, np.float32)),),
        mean=np.zeros(ROW, np.float32),
        std=np.ones(ROW, np.float32),
        least=np.array([0.2]),
        caution=0.0,
    )
    path = tmp_path / "undo"
    path.write_bytes(weights.to_bytes())
    link.progress.snapshots[0] = Snapshot(link.progress.snapshots[0].policies, {"undo": path})
    made.controller(skill, explore=False)
    assert made.hopeless(observation()) == {"walk_backward"}


def test_in_real_time_a_robot_waits_for_the_first_clearance_and_for_nothing_else(link):
    skill, examined = get("walk_forward"), Future()
    assert brain(None, lockstep=False).ready(skill)  # there is nothing to wait for, and `controller` says so
    made = brain(link, lockstep=False)
    made._clearance = Clearance(lambda weights: examined, every=3, lockstep=False)
    assert not made.ready(skill)
    examined.set_result(Verdict(version=0, attempts=1, failures=0, passed=True))
    assert made.ready(skill)
    assert made.controller(skill, explore=False)[1] == 0


class TestLockstep:
    def test_an_attempt_gets_the_snapshot_with_all_attempts_but_the_last(self, link):
        made = brain(link)
        versions = []
        for number in range(1, 5):
            versions.append(made.controller(get("walk_forward"), explore=True)[1])
            made.attempted(written(Path(f"{number}")))
            link.publish(number, 100 * number)
        # The first two attempts have nothing to go by; a faster learner changes nothing.
        assert versions == [0, 0, 100, 200]
        assert link.waited == [0, 0, 1, 2]

    def test_it_takes_the_same_snapshot_when_newer_ones_are_there_already(self, link):
        made = brain(link)
        made.controller(get("walk_forward"), explore=True)
        for number in (1, 2):
            made.attempted(written(Path(f"{number}")))
            link.publish(number, 100 * number)
        assert made.controller(get("walk_forward"), explore=True)[1] == 100


class TestRealtime:
    def test_it_takes_the_newest_and_waits_for_none(self, link):
        made = brain(link, lockstep=False)
        assert made.controller(get("walk_forward"), explore=True)[1] == 0
        link.publish(1, 100)
        link.publish(2, 200)
        assert made.controller(get("walk_forward"), explore=True)[1] == 200
        assert link.waited == []

    def test_it_is_not_ready_for_a_learned_skill_before_the_first_policy(self, link):
        made = brain(link, lockstep=False)
        link.progress.snapshots.clear()
        assert not made.ready(get("walk_forward"))
        assert made.ready(get("return_home"))
        link.publish(0, 0)
        assert made.ready(get("walk_forward"))

    def test_an_attempt_whose_file_is_not_written_yet_is_handed_over_later_and_in_order(self, link):
        made = brain(link, lockstep=False)
        slow: Future[Path | None] = Future()
        made.attempted(slow)
        made.attempted(written(Path("second")))
        assert link.ingested == []
        slow.set_result(Path("first"))
        made.poll()
        assert link.ingested == [Path("first"), Path("second")]


class TestDamage:
    def test_a_snapshot_with_nan_is_not_acted_with(self, link):
        made = brain(link, lockstep=False)
        made.controller(get("walk_forward"), explore=True)
        link.publish(1, 100, bias=float("nan"))
        assert made.controller(get("walk_forward"), explore=True)[1] == 0
        assert made.policy_version == 0

    def test_a_snapshot_that_is_gone_leaves_the_last_one(self, link):
        made = brain(link, lockstep=False)
        made.controller(get("walk_forward"), explore=True)
        link.publish(1, 100).unlink()
        assert made.controller(get("walk_forward"), explore=True)[1] == 0

    def test_an_attempt_without_a_file_or_with_a_failed_write_is_not_handed_over(self, link):
        made = brain(link, lockstep=False)
        failed: Future[Path | None] = Future()
        failed.set_exception(OSError("disk full"))
        for future in (written(None), failed, written(Path("third"))):
            made.attempted(future)
        assert link.ingested == [Path("third")]


class TestExploration:
    def test_it_is_repeatable_and_differs_from_attempt_to_attempt(self, link):
        one, other = brain(link, seed=3), brain(link, seed=3)
        draws = [first_action(one) for _ in range(3)]
        np.testing.assert_array_equal(draws, [first_action(other) for _ in range(3)])
        assert not np.array_equal(draws[0], draws[1])
        assert not np.array_equal(draws[0], first_action(brain(link, seed=4)))

    def test_a_resumed_run_goes_on_where_the_last_one_was(self, link):
        whole = brain(link)
        draws = [first_action(whole) for _ in range(4)]
        np.testing.assert_array_equal(first_action(brain(link, before=3)), draws[3])

    def test_an_evaluation_does_not_explore(self, link):
        made = brain(link)
        np.testing.assert_array_equal(first_action(made, explore=False), first_action(made, explore=False))


class TestCandidates:
    def offer(self, link, ticket, *candidates):
        """Publish several policies, each (version, skill)."""
        paths = []
        for version, skill in candidates:
            path = link.publish(ticket, version)
            path.write_bytes(replace(weights(version), skill=skill).to_bytes())
            paths.append(path)
        link.progress.snapshots[ticket] = Snapshot(tuple(paths))

    def test_an_attempt_that_explores_tries_what_the_learner_wants_tried_and_an_evaluation_takes_the_best(self, link):
        made = brain(link, lockstep=False)
        self.offer(link, 0, (20, None), (21, None))
        assert made.controller(get("walk_forward"), explore=False)[1] == 20
        assert [made.controller(get("walk_forward"), explore=True)[1] for _ in range(2)] == [21, 20]

    def test_a_policy_of_another_skill_does_not_act(self, link):
        made = brain(link, lockstep=False)
        self.offer(link, 0, (20, "walk_forward"), (30, "turn_left"))
        assert made.controller(get("turn_left"), explore=True)[1] == 30
        with pytest.raises(PolicyUnavailableError, match="turn_right"):
            made.controller(get("turn_right"), explore=True)


class TestExpectation:
    def expectation(self, value: float = 0.0) -> Expectation:
        """One that expects nothing to move."""
        layers = ((np.full((1, 3, 2), value, np.float32), np.zeros((1, 1, 2), np.float32)),)
        bound, ones = np.zeros((1, 1, 1), np.float32), np.ones(3, np.float32)
        scales = Scales(input_mean=0 * ones, input_std=ones, delta_mean=0 * ones[:1], delta_std=ones[:1])
        calibration = Calibration(block=1, calm=np.zeros((4, 1)), between=np.zeros(1), inflation=np.ones((1, 3)))
        model = ForwardModel(layers=layers, log_variance=(bound, bound), scales=scales)
        usual = np.zeros((1, 0), np.float32)
        return Expectation(version=7, model=model, calibrations=(calibration,), usual_checks=usual, familiar=1.0)

    def test_what_the_learner_publishes_is_taken_with_the_next_policy(self, link, tmp_path):
        made = brain(link)
        path = tmp_path / "drift"
        path.write_bytes(self.expectation().to_bytes())
        link.progress.snapshots[0] = Snapshot(link.progress.snapshots[0].policies, {"drift": path})
        assert made.expectation is None
        made.controller(get("walk_forward"), explore=False)
        assert made.expectation.version == 7

    def test_one_that_is_not_finite_is_not_taken(self, link, tmp_path):
        made = brain(link)
        path = tmp_path / "drift"
        path.write_bytes(self.expectation(math.nan).to_bytes())
        link.progress.snapshots[0] = Snapshot(link.progress.snapshots[0].policies, {"drift": path})
        with pytest.raises(PolicyUnavailableError):
            made.controller(get("walk_forward"), explore=False)
        assert made.expectation is None

    def test_the_learner_is_told_what_the_robot_was_like_in_each_attempt(self, link, tmp_path):
        made = brain(link)
        seen = [Condition.USUAL, Condition.CHANGED, Condition.HABIT]
        for name, condition in zip("abc", seen, strict=True):
            made.attempted(written(tmp_path / name), condition=condition)
        assert [path.name for path in link.ingested] == ["a", "b", "c"]
        assert link.conditions == seen
