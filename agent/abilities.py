"""The skills of a run, by purpose."""

from __future__ import annotations

from dataclasses import dataclass

from skills.skill import LearnedSkill, ScriptedSkill, Skill


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """The skills that a run may use."""

    tasks: tuple[Skill, ...]
    resets: tuple[Skill, ...]
    """What brings the world to where a task can start."""
    stand_ups: tuple[ScriptedSkill, ...]
    """Ways to stand up, in the order in which they are tried; the last one is tried again."""

    @property
    def learned(self) -> tuple[LearnedSkill, ...]:
        """Those whose policies are learned in this run."""
        return tuple(skill for skill in (*self.tasks, *self.resets) if isinstance(skill, LearnedSkill))
