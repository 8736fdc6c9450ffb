"""docs/skills.md names what the skill interface has: each attribute, method, argument and default, and nothing else."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from sim import robot
from skills import skill

TEXT = (Path(__file__).parents[1] / "docs" / "skills.md").read_text(encoding="utf-8")
CLASSES = [
    cls
    for _, cls in inspect.getmembers(skill, inspect.isclass)
    if cls.__module__ == skill.__name__ and cls not in (skill.SkillKind, skill.Progress)
]


def section(name):
    """The rows of the tables under a heading, as their cells."""
    (text,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]


def members(cls):
    """What the source of a class says: attributes with their defaults, and methods with their arguments."""
    (body,) = ast.parse(inspect.getsource(cls)).body
    attributes, methods = {}, {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign):
            attributes[node.target.id] = ast.unparse(node.value) if node.value else ""
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            methods[node.name] = [argument.arg for argument in node.args.args[1:]]
    return attributes, methods


def test_all_classes_are_known():
    assert {cls.__name__ for cls in CLASSES} == {
        "Skill",
        "LearnedSkill",
        "ScriptedSkill",
        "Controller",
        "Displacement",
        "Level",
        "Ground",
    }


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_tables_are_what_the_code_says(cls):
    attributes, methods = members(cls)
    rows = section(cls.__name__)
    told = {cells[0].strip("`"): cells[1].strip("`") for cells in rows if "(" not in cells[0]}
    assert told == attributes
    signatures = {
        cells[0].strip("`").split("(")[0]: cells[0].strip("`").split("(")[1].rstrip(")")
        for cells in rows
        if "(" in cells[0]
    }
    assert signatures == {name: ", ".join(arguments) for name, arguments in methods.items()}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_what_must_be_written_is_marked(cls):
    marked = {
        cells[0].strip("`").split("(")[0] for cells in section(cls.__name__) if cells[-1].endswith("must be written")
    }
    own = {name for name in getattr(cls, "__abstractmethods__", ()) if name in vars(cls)}
    assert marked == own


def test_what_it_is_given_has_the_names_that_are_said():
    for kind, text in ((cells[0].strip("`"), cells[1]) for cells in section("What it is given")):
        cls = getattr(robot, kind)
        known = {*dir(cls), *getattr(cls, "__annotations__", ())}
        assert set(re.findall(r"`([a-z_]+)`", text)) - {"len", "tilt_rad"} <= known
    fields = {name for name in robot.Observation.__annotations__ if name not in ("stamp_s", "image")}
    (observed,) = [cells[1] for cells in section("What it is given") if cells[0] == "`Observation`"]
    assert fields <= set(re.findall(r"`([a-z_]+)`", observed))
