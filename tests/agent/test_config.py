"""Configuration: what is read, what is refused and how the refusal reads."""

import ast
import inspect
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import config as config_module
from agent.config import SECTIONS, Config, ConfigError, ControlConfig, LearnerConfig, RunConfig, parse_assignment
from agent.settings import setting_names
from sim.a1 import a1_spec
from sim.minitaur import minitaur_spec


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "perdure.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


def refusal(path=None, overrides=None):
    with pytest.raises(ConfigError) as caught:
        Config.load(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestLoad:
    def test_defaults(self):
        config = Config.load()
        assert (config.control.rate_hz, config.control.policy_rate_hz) == (None, None)
        assert (config.workspace.size_m, config.workspace.soft_margin_m) == (5.0, 0.5)
        assert config.run.hours is None

    def test_how_careful_learning_is_is_the_robots_own_unless_it_is_said(self):
        assert Config().for_robot(a1_spec()).learner.least_multiplier == a1_spec().caution > minitaur_spec().caution
        for said in (0.0, 2.0):
            chosen = Config.load(overrides={"learner.least_multiplier": said}).for_robot(a1_spec())
            assert chosen.learner.least_multiplier == said

    def test_open_rates_are_the_robots_own(self):
        control = Config.load().for_robot(minitaur_spec()).control
        assert (control.rate_hz, control.policy_rate_hz, control.decimation, control.dt_s) == (50, 25, 2, 0.02)
        chosen = Config.load(overrides={"control.policy_rate_hz": 10}).for_robot(minitaur_spec()).control
        assert (chosen.rate_hz, chosen.policy_rate_hz, chosen.decimation) == (50, 10, 5)
        with pytest.raises(ConfigError, match="choose one of 1, 2, 5, 10, 25, 50"):
            Config.load(overrides={"control.policy_rate_hz": 30}).for_robot(minitaur_spec())
        with pytest.raises(ConfigError, match="rate_hz is open"):
            _ = Config.load().control.decimation

    def test_file_then_command_line(self, write):
        path = write("[run]\nseed = 7\nhours = 2\n[learner]\nhidden = [64, 32]\n")
        config = Config.load(path, {"run.seed": 9, "run.speed": None})
        assert (config.run.seed, config.run.hours, config.run.speed) == (9, 2.0, "max")
        assert isinstance(config.run.hours, float)
        assert config.learner.hidden == (64, 32)

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("learner.batch=128", 128),
            ("run.speed=max", "max"),
            ("learner.hidden=[8, 8]", [8, 8]),
            ("run.web=false", False),
        ],
    )
    def test_assignments_of_the_command_line(self, text, value):
        assert parse_assignment(text) == (text.partition("=")[0], value)

    @pytest.mark.parametrize("text", ["learner.batch", "batch=3", "=3"])
    def test_assignments_without_a_place_are_refused(self, text):
        with pytest.raises(ConfigError, match=r"section\.key=value"):
            parse_assignment(text)


class TestRefusals:
    def test_unknown_key_names_line_nearest_and_all(self, write):
        path = write("# mine\n[run]\nseed = 1\n\n[learner]\nlr = 1e-3\nbatchsize = 64\n")
        message = refusal(path)
        assert message.startswith(f"{path}:7: ")
        assert "'batchsize'" in message
        assert "did you mean 'batch'" in message
        for name in setting_names(LearnerConfig):
            assert name in message

    def test_unknown_section_names_line_and_all(self, write):
        path = write("[run]\nseed = 1\n[lerner]\nlr = 1.0\n")
        message = refusal(path)
        assert message.startswith(f"{path}:3: ")
        assert "did you mean 'learner'" in message
        assert all(name in message for name in SECTIONS)

    @pytest.mark.parametrize(
        ("text", "line", "parts"),
        [
            ("[learner]\n\ngamma = 1.5", 3, ("gamma", "1.5", "0.5 to 0.9999")),
            ("[learner]\ngamma = nan", 2, ("gamma", "nan", "0.5 to 0.9999", "finite")),
            ("[learner]\ngamma = inf", 2, ("gamma", "inf", "finite")),
            ("[run]\nseed = -1", 2, ("seed", "-1", "0 to 4294967295")),
            (f"[run]\nseed = {'9' * 400}", 2, ("seed", "out of range")),
            (f"[run]\nhours = {'9' * 400}", 2, ("hours", "finite")),
            ("[run]\nseed = 1.5", 2, ("seed", "1.5", "whole number")),
            ("[run]\nseed = true", 2, ("seed", "True", "whole number")),
            ("[run]\nweb = 1", 2, ("web", "1", "true or false")),
            ("[run]\nspeed = 'fast'", 2, ("speed", "fast", "realtime", "max")),
            ("[run]\nskills = 'walk'", 2, ("skills", "walk", "list")),
            ("[learner]\nhidden = [256, 'x']", 2, ("hidden", "'x'", "whole number")),
            ("[learner]\nhidden = [256, 2]", 2, ("hidden", "2", "8 to 4096")),
            ("run.seed = -1", 1, ("seed", "-1")),
            ("run = 3", 1, ("run", "section")),
            ("[run]\nhours = 0", 2, ("hours", "0", "0.0001")),
            ("[person]\ndelay_s = -1.0", 2, ("delay_s", "-1.0", "0 to 86400")),
            ("[run\nseed = 1", 1, ("not valid TOML",)),
            ("[run]\nseed = 1\nseed = 2", 3, ("not valid TOML",)),
        ],
    )
    def test_says_where_what_and_the_range(self, write, text, line, parts):
        path = write(text)
        message = refusal(path)
        assert message.startswith(f"{path}:{line}: ")
        for part in parts:
            assert part in message

    def test_command_line_values_are_named_by_their_option(self):
        assert refusal(overrides={"run.hours": math.nan}).startswith("--hours: hours = nan")
        assert refusal(overrides={"learner.batch": 1}).startswith("--set learner.batch: batch = 1")
        assert "did you mean 'learner'" in refusal(overrides={"learnr.batch": 1})

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("[control]\nrate_hz = 50\npolicy_rate_hz = 30", "choose one of 1, 2, 5, 10, 25, 50"),
            ("[learner]\nhidden = []", "one or more widths"),
            ("[workspace]\nsize_m = 1.0", "choose less than 0.5"),
            ("[safety]\nfall_tilt_rad = 1.4\nflipped_tilt_rad = 0.9", "below fall_tilt_rad"),
        ],
    )
    def test_settings_that_contradict_each_other(self, write, text, part):
        message = refusal(write(text))
        assert part in message
        assert str(write(text)) in message

    def test_missing_file_and_binary_file(self, tmp_path):
        assert "No such file" in refusal(tmp_path / "none.toml")
        binary = tmp_path / "b.toml"
        binary.write_bytes(b"\xff\xfe\x00")
        assert "cannot read" in refusal(binary)

    def test_direct_construction_is_checked_too(self):
        with pytest.raises(ConfigError, match="rate_hz"):
            ControlConfig(rate_hz=0)
        with pytest.raises(ConfigError, match="seed"):
            RunConfig(seed=2**40)


class TestRoundTrip:
    def test_toml_and_dict(self, write):
        config = Config.load(None, {"run.skills": ["walk_forward"], "run.hours": 1.5, "learner.lr": 1e-5})
        assert Config.load(write(config.to_toml())) == config
        assert Config.from_dict(config.to_dict()) == config

    @settings(max_examples=50, deadline=None)
    @given(robot=st.text(st.characters(exclude_categories=["Cs"])), hours=st.floats(1e-4, 1e5))
    def test_any_text_and_number(self, tmp_path_factory, robot, hours):
        config = Config.load(None, {"run.robot": robot, "run.hours": hours})
        path = tmp_path_factory.mktemp("c") / "perdure.toml"
        path.write_bytes(config.to_toml().encode())
        assert Config.load(path) == config

    def test_stored_settings_that_are_gone_are_left_out(self):
        assert Config.from_dict({"run": {"seed": 3, "gone": 1}, "old": {}}).run.seed == 3

    def test_diff_names_each_change(self):
        before, after = Config.load(), Config.load(None, {"run.seed": 4, "learner.hidden": [64]})
        assert before.diff(after) == ["run.seed: 0 -> 4", "learner.hidden: [128, 128] -> [64]"]
        assert before.diff(before) == []


@pytest.mark.parametrize("section", SECTIONS.values())
def test_every_setting_has_a_docstring_and_a_default_in_range(section):
    tree = ast.parse(inspect.getsource(config_module))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == section.__name__)
    documented = {
        first.target.id
        for first, second in itertools.pairwise(body)
        if isinstance(first, ast.AnnAssign) and isinstance(second, ast.Expr) and isinstance(second.value, ast.Constant)
    }
    assert set(setting_names(section)) == documented
    section()
