"""What a person has shown of the skills of a run: goals and rewards, as they lie in its home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agent.abilities import Abilities
from agent.goals import ShownGoal, read_goals
from agent.rewards import ShownReward, read_rewards
from persistence.home import Home
from sim.robot import RobotSpec
from skills.skill import LearnedSkill


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Of the skills that have any, by name."""

    goals: Mapping[str, ShownGoal]
    rewards: Mapping[str, ShownReward]

    def of(self, abilities: Abilities) -> Abilities:
        """The same skills, told by what was shown."""
        return replace(
            abilities,
            goals={name: goal.classifier for name, goal in self.goals.items()},
            rewards={name: shown.reward for name, shown in self.rewards.items()},
        )

    @property
    def sha256(self) -> dict[str, dict[str, str]]:
        """Of the files: ``goals`` and ``rewards``, each by skill."""
        return {
            "goals": {name: goal.sha256 for name, goal in self.goals.items()},
            "rewards": {name: shown.sha256 for name, shown in self.rewards.items()},
        }


def read_shown(home: Home, spec: RobotSpec, skills: Sequence[LearnedSkill]) -> Shown:
    """All that a home has of these skills.

    Raises:
        ValueError: a file is damaged, or was learned on another robot.
    """
    return Shown(goals=read_goals(home, spec, skills), rewards=read_rewards(home, spec, skills))
