"""All skills by name: built-in ones, those of installed packages (entry point group ``perdure.skills``), and those of
folders that the configuration names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from skills.carry import CARRYING_SKILLS, CENTRE_OBJECT
from skills.contained import contained
from skills.folders import load_folder
from skills.follow import FOLLOWING_SKILLS
from skills.get_up import GetUp
from skills.go_to import GOING_SKILLS
from skills.gym_task import GymTask
from skills.return_home import ReturnHome
from skills.rise_and_walk import RiseAndWalk
from skills.scatter import SCATTERING_SKILLS
from skills.skill import LearnedSkill, Skill, SkillKind
from skills.slide import SLIDING_SKILLS
from skills.slopes import SLOPE_SKILLS
from skills.stand_up import StandUp
from skills.trotting import TROT_FORWARD
from skills.walk import WALKING_SKILLS

GROUP = "perdure.skills"
_folders: tuple[Path, ...] = ()


class UnknownSkillError(ValueError):
    """A name that no skill has."""


@cache
def skills() -> dict[str, Skill]:
    """Every skill by name, in the order in which they are listed. An entry point names a `Skill` instance. What perdure
    does not bring itself is `contained`.

    Raises:
        ValueError: an installed package or a file brings something that is no skill, or a name that is taken.
    """
    built_in = (
        *WALKING_SKILLS,
        ReturnHome(),
        StandUp(),
        GetUp(),
        GymTask(),
        RiseAndWalk(),
        *CARRYING_SKILLS,
        CENTRE_OBJECT,
        *SLIDING_SKILLS,
        *SCATTERING_SKILLS,
        *GOING_SKILLS,
        *FOLLOWING_SKILLS,
        *SLOPE_SKILLS,
        TROT_FORWARD,
    )
    found: dict[str, Skill] = {skill.name: skill for skill in built_in}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            skill = point.load()
        except (Exception, SystemExit) as error:
            raise ValueError(
                f"entry point {point.name!r} of {GROUP} fails: {type(error).__name__}: {error}; mend or uninstall its "
                f"package ({point.value})"
            ) from error
        if not isinstance(skill, Skill):
            raise ValueError(f"entry point {point.name!r} of {GROUP} gives {type(skill).__name__}; it must be a Skill")
        if skill.name in found:
            raise ValueError(f"entry point {point.name!r} brings a second skill {skill.name!r}; rename it")
        found[skill.name] = contained(skill)
    for folder in _folders:
        for path, skill in load_folder(folder):
            if skill.name in found:
                raise ValueError(f"skill file {path} brings a second skill {skill.name!r}; rename it")
            found[skill.name] = contained(skill)
    return found


def use_folders(folders: Iterable[str | Path]) -> None:
    """Look for skills in these folders, too, in this process, from now on; in no others."""
    global _folders
    wanted = tuple(dict.fromkeys(Path(folder).absolute() for folder in folders))
    if wanted != _folders:
        _folders = wanted
        skills.cache_clear()


def get(name: str) -> Skill:
    """The skill of a name.

    Raises:
        UnknownSkillError: there is none; the message names the nearest and all valid names.
    """
    known = skills()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UnknownSkillError(f"unknown skill {name!r}{hint} Valid skills: {', '.join(known)}")


def learned(names: Iterable[str], family: str) -> tuple[LearnedSkill, ...]:
    """The learned skills of the family called ``family`` among ``names``, in the order of the library."""
    wanted = set(names)
    return tuple(
        skill
        for skill in skills().values()
        if isinstance(skill, LearnedSkill) and skill.family.name == family and skill.name in wanted
    )


def of_kind(names: Iterable[str], kind: SkillKind) -> tuple[Skill, ...]:
    """The skills of one kind among ``names``, in the order of the library."""
    wanted = set(names)
    return tuple(skill for skill in skills().values() if skill.kind is kind and skill.name in wanted)
