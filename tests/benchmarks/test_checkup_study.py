"""Check-ups of simulated robots that have walked: they rest alike, and what is stored of drifts fits the motion."""

import numpy as np
import pytest

from benchmarks.checkup import check
from meta.checkup import CheckUp
from meta.diagnosis import COMPARED, Diagnosis, diagnosis_path
from sim.a1 import a1_spec
from sim.drift import Drift, DriftKind
from sim.minitaur import minitaur_spec

SPECS = {spec.name: spec for spec in (minitaur_spec(), a1_spec())}
FIRST_SEED = 90_000


@pytest.fixture(scope="module", params=SPECS)
def usual(request):
    """A robot's name and its usual check-ups."""
    return request.param, [check(request.param, FIRST_SEED + number) for number in range(COMPARED)]


def test_wherever_a_walk_has_left_the_feet_the_robot_rests_alike(usual):
    name, seen = usual
    motion = CheckUp(SPECS[name], 0.01)
    angles = np.array([motion.joint_angles(features) for features in seen])
    assert np.ptp(angles, axis=0).max() < {"minitaur": 0.02, "a1": 0.01}[name]


@pytest.mark.parametrize(
    ("kind", "size"), [(DriftKind.MOTOR_STRENGTH, 0.5), (DriftKind.JOINT_OFFSET, 0.11), (DriftKind.JOINT_OFFSET, -0.11)]
)
def test_what_has_drifted_is_named_by_what_is_stored(usual, kind, size):
    name, seen = usual
    drift = Drift(kind=kind, size=size, joints=(SPECS[name].joint_names[1],))
    found = Diagnosis.read(diagnosis_path(name)).diagnose(seen, check(name, FIRST_SEED + COMPARED, drift))
    assert (found.cause.kind, found.cause.joints) == (kind.value, drift.joints)
    assert found.cause.size == pytest.approx(size, rel=0.3)
