"""The skills of a run, by purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from skills.learned_reward import LearnedReward
from skills.skill import LearnedSkill, ScriptedSkill, Skill
from skills.success_classifier import SuccessClassifier

S = TypeVar("S", bound=Skill)


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """The skills that a run may use."""

    tasks: tuple[Skill, ...]
    resets: tuple[Skill, ...]
    """What brings the world to where a task can start."""
    perturbations: tuple[Skill, ...] = ()
    """What brings the world to nowhere in particular now and then."""
    stand_ups: tuple[ScriptedSkill, ...]
    """Ways to stand up, in the order in which they are tried; the last one is tried again."""
    goals: Mapping[str, SuccessClassifier] = field(default_factory=dict)
    """What tells the success of skills whose goal a person has shown, by name; others go by rules of their own."""

    rewards: Mapping[str, LearnedReward] = field(default_factory=dict)
    """What skills are learned with in the place of their own terms, by name."""

    def without(self, name: str) -> Abilities:
        """The same but for one skill."""

        def others(skills: tuple[S, ...]) -> tuple[S, ...]:
            return tuple(skill for skill in skills if skill.name != name)

        return replace(
            self,
            tasks=others(self.tasks),
            resets=others(self.resets),
            perturbations=others(self.perturbations),
            stand_ups=others(self.stand_ups),
        )

    @property
    def learned(self) -> tuple[LearnedSkill, ...]:
        """Those whose policies are learned in this run."""
        return tuple(skill for skill in (*self.tasks, *self.resets) if isinstance(skill, LearnedSkill))
