"""Limits as data: the tables that come with perdure, and what a table must hold."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from sim.a1 import a1_spec
from sim.limits import TABLES, LimitTable, load_limits
from sim.minitaur import minitaur_spec
from sim.minitaur_trotting import minitaur_trotting_spec

GOOD = '[power]\nunit = "W"\nupper = 100\nsource = "the supply"\n'


@pytest.mark.parametrize("spec", [minitaur_spec(), a1_spec()], ids=lambda spec: spec.name)
def test_a_robot_has_the_limits_of_its_table(spec):
    table, n = load_limits(spec.name), spec.n_joints
    np.testing.assert_array_equal(spec.position_lower_rad, table.lower("joint_position", n))
    np.testing.assert_array_equal(spec.position_upper_rad, table.upper("joint_position", n))
    np.testing.assert_array_equal(spec.velocity_limit_radps, table.upper("joint_velocity", n))
    np.testing.assert_array_equal(spec.torque_limit_nm, table.upper("joint_torque", n))
    assert spec.power_limit_w == table.most("power")
    assert spec.catch_lean_rad == table.most("lean")
    assert spec.battery_minimum_v == table.least("battery")
    assert spec.motor_temperature_limit_c == table.most("motor_temperature")
    assert spec.limits == table.rows


def test_figures_from_their_sources():
    minitaur, a1 = minitaur_spec(), a1_spec()
    assert minitaur.velocity_limit_radps == pytest.approx(16.0 / 0.0954)
    assert minitaur_trotting_spec().velocity_limit_radps == pytest.approx(16.0 / 0.0954)
    # Two motors of a leg: their mean is its extension, half their difference its swing.
    assert minitaur.position_lower_rad == pytest.approx(0.35 - 1.5 * np.pi)
    assert minitaur.position_upper_rad == pytest.approx(2.75 + 1.5 * np.pi)
    assert a1.position_lower_rad[:6] == pytest.approx([-0.8029, -1.0472, -2.6965] * 2, abs=1e-4)


def test_a_spec_with_a_table_crosses_processes():
    again = pickle.loads(pickle.dumps(a1_spec()))
    assert again.limits == a1_spec().limits


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_row_has_a_unit_and_a_source(path):
    limits = LimitTable.read(path).rows
    assert len(limits) > 5
    assert all(limit.unit and len(limit.source) > 10 for limit in limits)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[power\n", "cannot be read"),
        (GOOD.replace("100", '"much"'), "'much' that is no number"),
        (GOOD.replace("100", "nan"), "needs finite numbers"),
        (GOOD.replace("100", "[]"), "needs finite numbers"),
        (GOOD.replace("upper = 100", "lower = 5.0\nupper = 5.0"), "not below the upper"),
        (GOOD.replace("upper = 100", "lower = [1.0, 2.0]\nupper = 5.0"), "not below the upper"),
        (GOOD.replace("upper = 100\n", ""), "needs finite numbers"),
        (GOOD.replace("the supply", " "), "needs a unit and a source"),
        (GOOD + "maximum = 3\n", r"unknown entries \['maximum'\]"),
        ("power = 100\n", "limit 'power' is 100"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_by_row(tmp_path, text, message):
    path = tmp_path / "robot.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        LimitTable.read(path)


def test_a_bound_that_is_not_there_is_told(tmp_path):
    path = tmp_path / "robot.toml"
    path.write_text(GOOD)
    table = LimitTable.read(path)
    assert table.most("power") == 100.0
    for missing in (lambda: table.least("power"), lambda: table.most("lean")):
        with pytest.raises(KeyError):
            missing()
    with pytest.raises(KeyError):
        load_limits("a1").upper("joint_position", 8)  # three joints per leg
