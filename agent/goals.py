"""Goals that a person has shown: a classifier per skill in the home, learned from stored attempts that they marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.marked import read_marked
from persistence.files import atomic_write, sha256_bytes
from persistence.home import Home
from sim.robot import RobotSpec
from skills.success_classifier import SuccessClassifier, SuccessWeights
from skills.undo_critic import timeless_features

if TYPE_CHECKING:
    from skills.ensemble import Float32
    from skills.learners.success import SuccessConfig
    from skills.skill import LearnedSkill

SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class ShownGoal:
    """What tells whether a skill has succeeded, in the place of the skill's own rule."""

    classifier: SuccessClassifier
    sha256: str
    """Of its file."""


def read_goals(home: Home, spec: RobotSpec, skills: Iterable[LearnedSkill]) -> dict[str, ShownGoal]:
    """The goals of those skills that have one in a home, by name.

    Raises:
        ValueError: a file is damaged, or was learned on another robot.
    """
    goals = {}
    for skill in skills:
        path = home.goals / (skill.name + SUFFIX)
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            classifier = SuccessClassifier(spec, skill.family, SuccessWeights.from_bytes(data))
        except ValueError as error:
            raise ValueError(
                f"the goal of {skill.name} in {path} cannot be used: {error}; learn it again with "
                f"`perdure skills goal {skill.name}`, or go back to the skill's own rule with --remove"
            ) from error
        goals[skill.name] = ShownGoal(classifier=classifier, sha256=sha256_bytes(data))
    return goals


def learn_goal(
    home: Home,
    skill: LearnedSkill,
    successes: Sequence[int],
    failures: Sequence[int],
    config: SuccessConfig | None = None,
) -> dict[str, Any]:
    """Learn what success is from attempts that a person marked, and store it for the next run; imports torch.

    Args:
        home: whose attempts, and where the classifier goes.
        skill: whose goal it is.
        successes: numbers of attempts whose end is that goal.
        failures: of attempts whose end is not.
        config: settings of the learner.

    Returns:
        ``skill``, ``successes``, ``failures`` (attempts), ``negatives`` (moments learned from as no
        success), ``held_out`` (attempts not learned from), ``held_out_accuracy``, ``held_out_false_positives``,
        ``held_out_false_negatives``, ``threshold``, ``file``, ``sha256``.

    Raises:
        ValueError: an attempt cannot be learned from, is in both lists, or there are too few.
        PersistenceError: the store or an episode file is damaged.
    """
    if both := sorted({*successes} & {*failures}):
        raise ValueError(f"attempt {both[0]} is marked as success and as failure")
    spec, episodes = read_marked(home, skill, (*successes, *failures))

    def features(numbers: Sequence[int]) -> list[Float32]:
        return [timeless_features(spec, skill.family, episodes[number].frames) for number in numbers]

    from skills.learners.success import learn_success

    learned = learn_success(features(successes), features(failures), config)
    data = learned.weights.to_bytes()
    home.goals.mkdir(exist_ok=True)
    path = home.goals / (skill.name + SUFFIX)
    atomic_write(path, data)
    return {
        "skill": skill.name,
        "successes": len(successes),
        "failures": len(failures),
        "negatives": learned.negatives,
        "held_out": learned.held_out,
        "held_out_accuracy": learned.held_out_accuracy,
        "held_out_false_positives": learned.held_out_false_positives,
        "held_out_false_negatives": learned.held_out_false_negatives,
        "threshold": learned.weights.threshold,
        "file": str(path),
        "sha256": sha256_bytes(data),
    }


def remove_goal(home: Home, skill: str) -> None:
    """Go back to a skill's own rule, from the next run on.

    Raises:
        ValueError: there is nothing to remove.
    """
    path = home.goals / (skill + SUFFIX)
    if not path.is_file():
        raise ValueError(f"{home.root} has no goal of {skill}; its own rule is in force")
    path.unlink()
