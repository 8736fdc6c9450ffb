"""The cookbook's recipes are skills that keep what a skill promises and do what is said of them; its commands exist."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer

from agent.cli_app import app
from agent.skill_check import check
from skills.folders import load_file
from skills.go_to import GOING_SKILLS
from skills.shaping import shaped
from tests.skills.readings import LAYOUT, SPEC, STEP_S, reading, transition

TEXT = (Path(__file__).parents[1] / "docs" / "rewards.md").read_text(encoding="utf-8")
CODE = "\n\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cookbook") / "recipes.py"
    path.write_text(CODE)
    return path


@pytest.fixture(scope="module")
def recipes(file):
    return {skill.name.removeprefix("recipe_"): skill for skill in load_file(file)}


def along(*xs_m, **more):
    """Steps from place to place along x."""
    seen = [reading(x=x, y=0.2, stamp_s=STEP_S * i, **more) for i, x in enumerate(xs_m)]
    return transition(seen[:-1], seen[1:])


def test_every_recipe_is_a_skill_that_can_run(file, recipes):
    assert len(recipes) == 6
    assert check(file, "minitaur") == []


def test_rocking_to_and_fro_does_not_pay(recipes):
    """Slowly ahead and fast back to where it was."""
    rocking = along(*(0.01 * np.arange(9)), 0.0)
    earned = recipes["progress"].reward_terms(rocking)["progress"]
    assert earned.sum() == pytest.approx(0.0, abs=1e-3)
    assert np.maximum(earned, -2.5).sum() > 1.0, "with equal caps it would"
    assert recipes["progress"].reward(along(0.0, 0.02, 0.04)).sum() == pytest.approx(2.0, abs=1e-3)


def test_a_fall_costs_more_than_a_dive_earns_and_less_than_a_life(recipes):
    dive = transition([reading(x=0.0)], [reading(x=1.0, roll=1.2)])
    assert recipes["upright"].reward(dive)[0] < -10.0
    assert 0.0 > recipes["upright"].reward_terms(dive)["fall"][0] > -50.0


def test_stillness_counts_only_upright(recipes):
    up, down = (recipes["stance"].reward_terms(along(0.0, 0.0, roll=roll))["still"][0] for roll in (0.0, 1.0))
    assert (up, down) == (0.5, 0.0)


def test_costs_are_within_the_limit_or_beyond_it(recipes):
    assert recipes["calm"].costs(along(0.0, 0.0), SPEC)["power"].tolist() == [0.0]
    working = along(0.0, 0.0)
    for name in ("joint_torque", "joint_velocity"):
        working.next_frame.data[:, LAYOUT.slices()[name]] = 8.0
    assert recipes["calm"].costs(working, SPEC)["power"][0] > 0.0


class TestArrive:
    def test_the_potential_shows_the_way_and_is_nothing_there(self, recipes):
        skill, way = recipes["arrive"], along(0.0, 0.02, 0.04)
        before, after = skill.potential(way.frame), skill.potential(way.next_frame)
        assert (shaped(before, after, 0.98, skill.terminated(way)) > 0.5).all()
        assert skill.potential(along(0.4, 0.4).frame)[0] == pytest.approx(0.0, abs=1e-5)
        assert 0.5 < -before[0] / skill.reward_terms(along(0.0, 0.4))["there"][0] < 2.0

    def test_being_there_pays_once_and_is_the_end(self, recipes):
        skill, last = recipes["arrive"], along(0.2, 0.35)
        assert skill.terminated(last).tolist() == [True]
        assert skill.success(last)
        assert skill.reward(last)[0] == pytest.approx(9.8)
        assert not skill.success(along(0.0, 0.1))

    def test_there_is_where_the_skills_of_going_find_it(self, recipes):
        ends = along(*np.linspace(0.0, 0.6, 40))
        assert recipes["arrive"].place_m.tolist() == list(GOING_SKILLS[0].place_m)
        np.testing.assert_array_equal(recipes["arrive"].terminated(ends), GOING_SKILLS[0].terminated(ends))


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_understood(line):
    program, *words = shlex.split(line)
    command, path = typer.main.get_command(app), [program]
    while hasattr(command, "commands"):
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    with command.make_context(" ".join(path), list(words)) as context:
        assert context.params["skill"] == words[0]


def test_there_are_commands_for_both_ways_to_show_a_reward():
    assert {tuple(line.split()[:3]) for line in COMMANDS} == {
        ("perdure", "skills", "reward"),
        ("perdure", "skills", "prefer"),
    }
