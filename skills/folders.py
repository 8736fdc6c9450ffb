"""Skills in files of a user's own, in folders that the configuration names."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

from skills.skill import Skill

NAMES = ("SKILL", "SKILLS")
"""What a file calls its skill, or several of them."""
PACKAGE = "perdure_skill_files"


class SkillFileError(ValueError):
    """A file that should bring skills and does not."""


def skill_files(folder: Path) -> list[Path]:
    """The files of a folder that bring skills: all Python files but tests and those that begin with an underscore.

    Raises:
        SkillFileError: there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise SkillFileError(f"skill folder {folder} does not exist; `perdure skills new NAME` makes one")
    files = sorted(path for path in folder.glob("*.py") if not path.name.startswith(("test_", "_", "conftest")))
    if not files:
        raise SkillFileError(f"skill folder {folder} has no Python file; `perdure skills new NAME` makes one")
    return files


def load_file(path: Path) -> tuple[Skill, ...]:
    """The skills of a file. Loaded twice it gives new ones, so that a file can be changed and loaded again.

    Raises:
        SkillFileError: it cannot be loaded, or says of no `Skill` that it brings it.
    """
    name = f"{PACKAGE}.{path.stem}"
    loader = _FreshLoader(name, str(path))
    found = importlib.util.spec_from_file_location(name, path, loader=loader)
    if found is None or not path.is_file():
        raise SkillFileError(f"skill file {path} cannot be read as Python")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses look themselves up there
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        where = _line(error, path)
        raise SkillFileError(f"skill file {path}{where} fails: {type(error).__name__}: {error}") from error
    brought = [getattr(module, each) for each in NAMES if hasattr(module, each)]
    flat = [skill for each in brought for skill in (each if isinstance(each, list | tuple) else (each,))]
    wrong = [type(each).__name__ for each in flat if not isinstance(each, Skill)]
    if wrong or not flat:
        gives = f"gives {', '.join(wrong)}" if wrong else "has neither"
        raise SkillFileError(f"skill file {path} {gives}; it needs SKILL = MySkill(), or SKILLS with several")
    return tuple(flat)


class _FreshLoader(SourceFileLoader):
    """Compiles a file each time: what is kept compiled beside it is stale if it is changed twice in a second."""

    def get_code(self, fullname: str) -> CodeType:
        """The file's code as it is now."""
        return self.source_to_code(self.get_data(self.path), self.path)


def load_folder(folder: Path) -> Iterator[tuple[Path, Skill]]:
    """All skills of a folder, with the file that brings each.

    Raises:
        SkillFileError: as `skill_files` and `load_file`.
    """
    for path in skill_files(folder):
        for skill in load_file(path):
            yield path, skill


def _line(error: BaseException, path: Path) -> str:
    """Where in a file an error was raised, as far as it is known."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f", line {line},"
