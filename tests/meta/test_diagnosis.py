"""What has drifted, told from check-ups whose features move in known directions."""

import numpy as np
import pytest

from meta.diagnosis import FARTHEST, Cause, Diagnosis, diagnosis_path

WIDTH = 12
CAUSES = (
    Cause(kind="motor_strength", size=0.6, joints=("a",)),
    Cause(kind="motor_strength", size=0.6, joints=("b",)),
    Cause(kind="joint_offset", size=0.08, joints=("a",)),
    Cause(kind="joint_offset", size=-0.08, joints=("a",)),
    Cause(kind="base_mass", size=1.25),
)
WAYS = np.random.default_rng(0).normal(0.0, 3.0, (len(CAUSES), WIDTH))
WAYS[3] = -WAYS[2]
USUAL = np.linspace(-5.0, 5.0, WIDTH)


def features(rng, way=None, amount=0.0):
    noise = rng.normal(0.0, 0.3, WIDTH)
    return USUAL + noise + (amount * WAYS[way] if way is not None else 0.0)


@pytest.fixture(scope="module")
def diagnosis():
    """Effects are in proportion to the strength that is lost, to an offset, and to how much heavier a body is."""
    rng = np.random.default_rng(1)
    drifted = [(cause, [features(rng, way, 1.0) for _ in range(2)]) for way, cause in enumerate(CAUSES)]
    return Diagnosis.of([features(rng) for _ in range(30)], drifted, [features(rng) for _ in range(30)])


@pytest.mark.parametrize(
    ("way", "amount", "wanted"),
    [
        (0, 1.5, Cause(kind="motor_strength", size=0.4, joints=("a",))),  # 0.4 less, and a half more of that
        (1, 0.5, Cause(kind="motor_strength", size=0.8, joints=("b",))),
        (1, 3.0, Cause(kind="motor_strength", size=0.0, joints=("b",))),  # none is below
        (2, 1.5, Cause(kind="joint_offset", size=0.12, joints=("a",))),
        (2, -2.0, Cause(kind="joint_offset", size=-0.16, joints=("a",))),
        (4, 2.0, Cause(kind="base_mass", size=1.5)),
    ],
)
def test_the_cause_is_named_with_its_size(diagnosis, way, amount, wanted):
    rng = np.random.default_rng(2)
    shifted = 7.0  # what the simulator has wrong of the robot is so with and without drift
    found = diagnosis.diagnose([USUAL + shifted], features(rng, way, amount) + shifted)
    assert (found.cause.kind, found.cause.joints) == (wanted.kind, wanted.joints)
    assert found.cause.size == pytest.approx(wanted.size, rel=0.15)
    assert found.clarity > 3.0


def test_what_would_have_to_be_beyond_belief_is_something_else(diagnosis):
    seen = features(np.random.default_rng(2), 2, 1.3 * FARTHEST)
    assert diagnosis.diagnose([USUAL], seen) is None


def test_nothing_is_named_where_nothing_has_drifted(diagnosis):
    rng = np.random.default_rng(3)
    assert [diagnosis.diagnose([USUAL] * 3, features(rng)) for _ in range(50)] == [None] * 50
    assert diagnosis.diagnose([USUAL] * 3, features(rng, 0, -3.0)) is None or (
        diagnosis.diagnose([USUAL] * 3, features(rng, 0, -3.0)).cause != CAUSES[0]
    )


def test_what_is_compared_with_less_has_to_differ_more(diagnosis):
    seen = features(np.random.default_rng(5), 0, 1.5)
    one, three = (diagnosis.diagnose([USUAL] * number, seen).clarity for number in (1, 3))
    assert three / one == pytest.approx((1.0 + 1.0) / (1.0 + 1.0 / 3.0))  # variances of the differences


def test_what_is_not_a_number_names_nothing(diagnosis):
    assert diagnosis.diagnose([USUAL] * 3, np.full(WIDTH, np.nan)) is None


def test_it_is_stored_and_read(diagnosis, tmp_path):
    path = tmp_path / "robot.safetensors"
    diagnosis.write(path)
    again = Diagnosis.read(path)
    assert again.causes == diagnosis.causes
    seen = features(np.random.default_rng(4), 0, 1.5)
    assert again.diagnose([USUAL] * 3, seen).cause.size == pytest.approx(
        diagnosis.diagnose([USUAL] * 3, seen).cause.size, rel=1e-4
    )
    path.write_bytes(path.read_bytes()[:-20])
    for damaged in (path, tmp_path / "missing"):
        with pytest.raises(ValueError, match="cannot be read"):
            Diagnosis.read(damaged)


@pytest.mark.parametrize("robot", ["a1", "minitaur"])
def test_what_drifts_do_is_known_of_each_quadruped(robot):
    stored = Diagnosis.read(diagnosis_path(robot))
    assert {cause.kind for cause in stored.causes} >= {"motor_strength", "joint_offset"}
    assert stored.effects.shape == (len(stored.causes), len(stored.std))


def test_the_misfit_is_about_one_for_a_usual_checkup_and_is_of_the_first_features_alone(diagnosis):
    rng = np.random.default_rng(4)
    usual = [features(rng) for _ in range(3)]
    calm = [diagnosis.misfit(usual, features(rng)[:6]) for _ in range(50)]
    assert 0.7 < np.mean(calm) < 1.5
    off = features(rng)
    off[6:] += 100.0
    assert diagnosis.misfit(usual, off[:6]) < 3.0
    off[:6] += 3.0  # ten standard deviations
    assert diagnosis.misfit(usual, off[:6]) > 4.0
    # Fewer usual ones are a worse guess, which is allowed for.
    few = [diagnosis.misfit([features(rng)], features(rng)[:6]) for _ in range(50)]
    assert np.mean(few) == pytest.approx(np.mean(calm), rel=0.3)
