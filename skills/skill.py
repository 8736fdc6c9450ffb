"""The skill: a named capability that the daemon can attempt, judge and learn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, Command, FloatArray, Frames, Observation, RobotSpec, Transition
from skills.family import Family, Script


class SkillKind(StrEnum):
    """What a skill is for."""

    TASK = "task"
    RESET = "reset"
    RECOVERY = "recovery"


class Progress(StrEnum):
    """A scripted controller's own judgement of how it is getting on."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Controller(Protocol):
    """A script that drives the robot for one attempt."""

    def start(self, observation: Observation) -> None:
        """Begin an attempt from ``observation``."""

    def act(self, observation: Observation) -> Command:
        """The command for this control period."""

    def progress(self, observation: Observation) -> Progress:
        """Whether to go on."""


@dataclass(frozen=True, kw_only=True)
class Displacement:
    """How an attempt is expected to move the robot, in its own frame at the start."""

    forward_m: float = 0.0
    left_m: float = 0.0
    turn_rad: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Level:
    """How hard a skill is among skills that differ in nothing else."""

    of: str
    """What they all are, such as ``"walk_to"``."""
    axis: str
    """In what they differ, with its unit, such as ``"distance_m"``."""
    value: float
    """Larger is harder."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where a simulated robot is put to try a skill; a run never puts it anywhere."""

    slope_deg: float = 0.0
    """Least slope of the steeper ramp of its world (setting ``sim.slope_deg``)."""
    y_m: float = 0.0
    """On the tracker's y axis."""


class Skill(ABC):
    """One capability: what it observes and rewards, where it may start, and when it has worked.

    Reward, termination and cost are pure functions of stored transitions, vectorised over the batch; they see only what
    the robot measured. A skill is either learned (it belongs to a family whose policy the learner trains) or scripted.
    """

    name: str
    kind: SkillKind
    summary: str
    horizon_s: float
    """An attempt ends after this much robot time."""
    displacement: Displacement = Displacement()
    on_request: bool = False
    """Whether it runs only where it is named, not with all that a robot supports."""
    undone_by: str | None = None
    """Name of the skill that brings the world back to where this one can start; None: none is known to."""
    perturbs: tuple[str, ...] = ()
    """Names of tasks that are practised from everywhere if this reset, which brings the world to nowhere in particular,
    comes in between now and then."""
    level: Level | None = None
    """How hard it is among its like; None: there are none."""
    requires: tuple[str, ...] = ()
    """Names of skills that this one builds on, and waits for. Those that a run does not have are not waited for."""
    ground: Ground = Ground()
    lies_down: bool = False
    """Whether it may start and go on lying or tilted: no tilt ends its attempts, and nobody stands the robot up."""

    def problem(self, spec: RobotSpec) -> str | None:
        """Why a robot cannot have this skill, or None when it can."""
        del spec
        return None

    def over(self, observation: Observation) -> str | None:
        """Why an attempt ends at this reading, or None while it goes on."""
        del observation
        return None

    def start_problem(self, observation: Observation) -> str | None:
        """Why an attempt cannot start here, or None when the robot is in the start region."""
        del observation
        return None

    def lost(self, observation: Observation) -> bool:
        """Whether nothing that the robot can do brings back what this skill handles."""
        del observation
        return False

    def nearly_lost(self, before: Observation, now: Observation) -> bool:
        """Whether what this skill handles is about to be lost, so that no task had better go on, but a reset.

        Args:
            before: the reading of the decision before; ``now`` itself where there was none.
            now: the newest reading.
        """
        del before, now
        return False

    def measures(self, transition: Transition) -> dict[str, float]:
        """Physical figures of one attempt, such as ``speed_mps``; its transitions come in order."""
        del transition
        return {}

    @abstractmethod
    def success(self, transition: Transition) -> bool:
        """Whether one attempt, given by its transitions in order, achieved the skill's purpose."""


class LearnedSkill(Skill):
    """A skill whose policy is learned with its family: skills of a family share actions, features and a network."""

    family: Family
    command: tuple[float, ...]
    """What tells this skill from the others of its family, as an input of the network."""
    caught_reward: float = 0.0
    """Added to the reward of a step after which a fall had to be caught."""

    def problem(self, spec: RobotSpec) -> str | None:
        """Why a robot cannot have this skill: by default its family's reason."""
        return self.family.problem(spec)

    @abstractmethod
    def prior_action(self, spec: RobotSpec) -> Array:
        """The action of a network that outputs zero, each in (-1, 1). Shape: (n_actions,)."""

    def script(self, spec: RobotSpec) -> Script | None:
        """What does the skill without having learned it, from wherever it is asked; None: there is no script.

        It acts in the policy's place in some attempts while that hardly ever succeeds (section 4.4.5 of Ibarz et al.
        2021), and advises the learner on every step that was made, by whomever.
        """
        del spec
        return None

    @abstractmethod
    def reward_terms(self, transition: Transition) -> dict[str, FloatArray]:
        """Named, weighted terms whose sum is the reward. Each shape: (batch,)."""

    def potential(self, frames: Frames) -> FloatArray | None:
        """How promising readings are, in units of the reward; None: nothing is known of that.

        The learner adds what a step gains of it, by its own discount (`skills.shaping`): that shows the way to rewards
        that are rare, and changes no optimum. A pure function. Shape: (batch,).
        """
        del frames
        return None

    def trusted(self, transition: Transition) -> NDArray[np.bool_]:
        """Steps whose reward can be trusted: where the tracker saw the robot at both ends. Shape: (batch,)."""
        return transition.frame.base_valid & transition.next_frame.base_valid

    @abstractmethod
    def terminated(self, transition: Transition) -> NDArray[np.bool_]:
        """Whether the task is over after the step, with no future reward. Shape: (batch,)."""

    def irreversible(self, transition: Transition) -> NDArray[np.bool_]:
        """Whether after a step no skill can do anything any more with what this one handles. Shape: (batch,)."""
        return np.zeros(len(transition), np.bool_)

    def costs(self, transition: Transition, spec: RobotSpec) -> dict[str, FloatArray]:
        """Named safety costs per step, kept apart from the reward: by how much a limit is exceeded, 0 within it.

        The skills of a family have the same costs. Each shape: (batch,).
        """
        del transition, spec
        return {}

    def reward(self, transition: Transition) -> FloatArray:
        """Sum of the reward terms. Shape: (batch,)."""
        total: FloatArray = np.sum(list(self.reward_terms(transition).values()), axis=0)
        return total


class ScriptedSkill(Skill):
    """A skill with a hand-written controller."""

    @abstractmethod
    def controller(self, spec: RobotSpec, dt_s: float) -> Controller:
        """A fresh controller for one attempt at a control period of ``dt_s``."""
