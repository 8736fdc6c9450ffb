"""Skills in files of a user's own: which files count, what they have to bring, and how they join the others."""

import sys

import pytest

from skills import registry
from skills.folders import SkillFileError, load_file, load_folder
from skills.registry import UnknownSkillError, get, skills, use_folders

BODY = """
from skills.walk import Walk
from skills.skill import Displacement

def walk(name):
    return Walk(name, "walk on", forward=1.0, success_at=0.4, displacement=Displacement())
"""


@pytest.fixture(autouse=True)
def _nothing_stays():
    yield
    use_folders(())


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(BODY + text)
    return folder


def test_a_folder_s_skills_join_the_others_and_leave_again(tmp_path):
    use_folders([write(tmp_path, one="SKILL = walk('one')", more="SKILLS = [walk('two'), walk('three')]")])
    assert get("three").summary == "walk on"
    assert list(skills())[-3:] == ["two", "three", "one"]  # in the order of their files
    use_folders([])
    with pytest.raises(UnknownSkillError, match="three"):
        get("three")


def test_tests_and_helpers_are_no_skills(tmp_path):
    write(tmp_path, one="SKILL = walk('one')", test_one="raise ValueError", _help="raise ValueError")
    assert [skill.name for _, skill in load_folder(tmp_path)] == ["one"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SKILL = 3", "gives int"),
        ("", "has neither"),
        ("SKILLS = []", "has neither"),
        ("1 / 0", r"line 7, fails: ZeroDivisionError"),
        ("x = = 3", r"line 7, fails: SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_file_that_brings_none_says_why_and_where(tmp_path, text, message):
    write(tmp_path, one=text)
    with pytest.raises(SkillFileError, match=message):
        load_file(tmp_path / "one.py")


def test_a_folder_that_is_not_there_or_empty_is_named(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(SkillFileError, match="perdure skills new"):
            list(load_folder(folder))


@pytest.mark.parametrize("taken", ["walk_forward", "one"])
def test_a_name_that_is_taken_is_refused(tmp_path, taken):
    use_folders([write(tmp_path, one="SKILL = walk('one')", two=f"SKILL = walk({taken!r})")])
    with pytest.raises(ValueError, match=rf"two\.py brings a second skill '{taken}'"):
        skills()


def test_a_changed_file_is_loaded_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # whatever the environment says
    found = []
    for name in ("one", "two", "six"):  # as long as each other, and in the same second
        write(tmp_path, mine=f"SKILL = walk('{name}')")
        (skill,) = load_file(tmp_path / "mine.py")
        found.append(skill.name)
    assert found == ["one", "two", "six"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]  # nothing is left beside it


def test_a_package_that_does_not_load_is_named(monkeypatch):
    class Point:
        name, value = "hop", "hopping.skills:HOP"

        def load(self):
            raise ImportError("no module named 'springs'")

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()])
    skills.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"entry point 'hop' .* ImportError: no module named 'springs'; .*hopping"):
            skills()
    finally:
        skills.cache_clear()
