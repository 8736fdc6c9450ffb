"""The documentation says what is true."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer

from agent.cli_app import app
from agent.config import Config

ROOT = Path(__file__).resolve().parent.parent


def commands(command, path=()):
    children = getattr(command, "commands", None)
    if children is None:
        return [path]
    return [found for name, child in children.items() for found in commands(child, (*path, name))]


def reference():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestReference:
    def test_is_what_the_code_gives(self):
        made = reference()
        assert made.PATH.read_text(encoding="utf-8") == made.text(), "run `python docs/make_reference.py`"

    def test_every_setting_is_explained(self):
        made = reference()
        bare = [line for line in made.text().splitlines() if re.fullmatch(r"\| `\w+` \|.*\| *\|", line)]
        assert bare == []


class TestReadme:
    TEXT = (ROOT / "README.md").read_text(encoding="utf-8")

    def test_names_only_commands_that_exist(self):
        known = {" ".join(path) for path in commands(typer.main.get_command(app))}
        groups = {name.split()[0] for name in known}
        blocks = "\n".join(re.findall(r"^```\n(.*?)^```", self.TEXT, flags=re.M | re.S))
        lines = re.findall(r"^perdure ([^#\n]+)", blocks, flags=re.M)
        assert lines
        for line in lines:
            words = line.split()
            assert words[0] in groups
            assert words[0] in known or " ".join(words[:2]) in known

    def test_every_make_target_it_names_exists(self):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in re.findall(r"\bmake ([a-z-]+)", self.TEXT):
            assert re.search(rf"^{target}:", makefile, flags=re.M), target

    def test_every_decision_record_has_a_status(self):
        for path in (ROOT / "docs" / "decisions").glob("*.md"):
            assert "Status: " in path.read_text(encoding="utf-8"), path.name


def test_the_settings_worth_knowing_exist():
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text, flags=re.M)
    known = Config().to_dict()
    assert len(rows) > 20
    for row in rows:
        first, *others = re.findall(r"`([\w.]+)", row)
        section, _, name = first.partition(".")
        assert {name, *others} <= set(known[section]), row


@pytest.mark.parametrize(
    "path", (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))), ids=lambda path: str(path.relative_to(ROOT))
)
class TestPage:
    def test_links_and_pictures_exist(self, path):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), target

    def test_decisions_it_names_exist(self, path):
        for name in re.findall(r"\b\d{4}-[a-z-]+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / "docs" / "decisions" / name).exists(), name

    def test_benchmarks_it_names_exist(self, path):
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"python\s-m\sbenchmarks\.([a-z_]+)|perdure bench ([a-z-]+)\b", text)
        for module in (module or name.replace("-", "_") for module, name in named):
            assert (ROOT / "benchmarks" / f"{module}.py").exists(), module
