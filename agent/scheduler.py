"""Which skill comes next.

The task is chosen whose motion brings the robot back towards the middle of its workspace (Ha et al. 2020, "Learning to
Walk in the Real World with Minimal Human Effort"), weighted by how fast each skill is improving and by how long it has
waited for its share of practice (`agent.curriculum`). What a skill does to the robot's pose is learned from its own
attempts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field

import numpy as np

from agent.curriculum import Curriculum, needs_of
from sim.robot import Observation
from sim.workspace import Workspace
from skills.skill import Displacement, Skill

ROOM_M = 1.5
"""A walk with less free way than this is cut short by the fence before it teaches much."""
TURN_ROOM_M = 1.0
"""A turn that is nearer to the hard fence may leave: it drifts by some decimetres, and where it falls, the stand-up
after it moves the robot by up to this much."""
CLOSE_TURN_COST = 0.5
"""What such a turn lacks; a walk that leads back is better, where there is one."""
TURNING_RAD = 1.0
"""A skill that turns by more than this in one attempt is a turn."""


@dataclass(frozen=True, kw_only=True)
class Pose2D:
    """Where the tracker sees the robot."""

    x_m: float
    y_m: float
    yaw_rad: float

    @classmethod
    def of(cls, observation: Observation) -> Pose2D:
        """The pose in one observation."""
        x, y, _ = observation.base_position
        return cls(x_m=float(x), y_m=float(y), yaw_rad=float(observation.base_yaw))

    def moved(self, by: Displacement) -> Pose2D:
        """The pose after a displacement in the robot's own frame."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return Pose2D(
            x_m=self.x_m + c * by.forward_m - s * by.left_m,
            y_m=self.y_m + s * by.forward_m + c * by.left_m,
            yaw_rad=self.yaw_rad + by.turn_rad,
        )

    def displacement_to(self, other: Pose2D) -> Displacement:
        """The inverse of `moved`; the turn is wrapped to (-pi, pi]."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        dx, dy = other.x_m - self.x_m, other.y_m - self.y_m
        turn = math.remainder(other.yaw_rad - self.yaw_rad, 2 * math.pi)
        return Displacement(forward_m=c * dx + s * dy, left_m=-s * dx + c * dy, turn_rad=turn)


@dataclass
class SkillRecord:
    """What the scheduler remembers of one skill."""

    displacement: Displacement
    last_s: float = -math.inf
    attempts: int = 0
    fast: float = 0.0
    """Mean reward per step, averaged over the last few attempts."""
    slow: float = 0.0
    """The same over the last few dozen attempts."""

    @property
    def turns(self) -> bool:
        """Whether the skill turns the robot about, rather than taking it somewhere."""
        return abs(self.displacement.turn_rad) > TURNING_RAD

    @property
    def learning_progress(self) -> float:
        """How much the mean reward has changed lately, in either direction: forgetting needs practice too."""
        return abs(self.fast - self.slow)


@dataclass
class Scheduler:
    """Chooses among task skills. Repeatable: its only randomness is the generator it was given."""

    tasks: Sequence[Skill]
    workspace: Workspace
    rng: np.random.Generator
    resumed: InitVar[Curriculum | None] = None
    """The curriculum with what was tried before; None: nothing was."""
    curriculum: Curriculum = field(init=False)
    records: dict[str, SkillRecord] = field(init=False)

    CENTRE_WEIGHT = 3.0
    PROGRESS_WEIGHT = 2.0
    WAIT_WEIGHT = 2.0
    """Score per fair wait: how long it takes until a skill's turn comes if each gets its share of practice."""
    WAIT_CAP = 4.0
    """Longer waits count as this many fair ones: enough to outweigh everything but a walk into the fence."""
    DETOUR_WEIGHT = 1.0
    """What a task lacks per attempt that has to bring the world to where it can start first."""
    TEMPERATURE = 0.35
    FAST, SLOW, MOTION = 0.3, 0.05, 0.2
    """Averaging weights: recent reward, older reward, displacement."""

    def __post_init__(self, resumed: Curriculum | None) -> None:
        """Start from what the skills say of themselves."""
        self.curriculum = resumed or Curriculum(needs_of(self.tasks))
        self.records = {skill.name: SkillRecord(skill.displacement) for skill in self.tasks}
        self._cycle_s = float(np.mean([skill.horizon_s for skill in self.tasks]))
        """Robot time from one attempt to the next."""

    def leave_out(self, name: str) -> None:
        """Choose a skill no more."""
        self.tasks = [skill for skill in self.tasks if skill.name != name]
        self.curriculum.leave_out(name)

    def scores(self, pose: Pose2D, now_s: float) -> dict[str, float]:
        """The score of each task at a pose: return to the middle + learning progress + time since the last attempt."""
        return {
            name: self.CENTRE_WEIGHT * self._centre_gain(pose, self.records[name].displacement) + need
            for name, need in self._needs(now_s).items()
        }

    def _needs(self, now_s: float) -> dict[str, float]:
        """What speaks for each task wherever the robot is."""
        shares = self.curriculum.shares()
        # Where all have waited for as many turns of theirs, the draw goes by their shares.
        favours = {name: self.TEMPERATURE * math.log(len(shares) * share) for name, share in shares.items()}
        return {name: favours[name] + self._need(self.records[name], shares[name], now_s) for name in shares}

    def _need(self, record: SkillRecord, share: float, now_s: float) -> float:
        waits = (now_s - record.last_s) * share / self._cycle_s
        progress = min(record.learning_progress, 0.5) if self.curriculum.mode != "uniform" else 0.0
        return self.PROGRESS_WEIGHT * progress + self.WAIT_WEIGHT * min(waits, self.WAIT_CAP)

    def turn_follows(self, name: str, now_s: float) -> bool:
        """Whether a turn is wanted most after an attempt of a walk, so that the walk had better end in the middle."""
        records, needs = self.records, self._needs(now_s)
        if name not in needs or records[name].turns:
            return False
        wanted = max((other for other in needs if other != name), key=lambda it: needs[it], default=name)
        return records[wanted].turns

    def choose(self, pose: Pose2D, now_s: float, detours_s: Mapping[str, float] | None = None) -> Skill:
        """The next task: drawn from a softmax over the scores, so that no skill starves.

        Args:
            pose: where the robot is.
            now_s: robot time.
            detours_s: of each task that the world can be brought to, how long that takes; 0 where it can start. None,
                or none of them: all can start, as what is in the way may be gone in the stance.
        """
        detours_s = detours_s or {skill.name: 0.0 for skill in self.tasks}
        scores = self.scores(pose, now_s)
        able = [skill for skill in self.tasks if skill.name in detours_s]
        lacks = {name: self.DETOUR_WEIGHT * detour_s / self._cycle_s for name, detour_s in detours_s.items()}
        values = np.array([scores[skill.name] - lacks[skill.name] for skill in able]) / self.TEMPERATURE
        weights = np.exp(values - values.max())
        return able[int(self.rng.choice(len(able), p=weights / weights.sum()))]

    def attempted(self, name: str, start: Pose2D, end: Pose2D, mean_reward: float, now_s: float) -> None:
        """Learn from one attempt of a task; attempts of other skills are ignored."""
        record = self.records.get(name)
        if record is None:
            return
        newest_s = max(r.last_s for r in self.records.values())
        if math.isfinite(newest_s):
            self._cycle_s += self.MOTION * (now_s - newest_s - self._cycle_s)
        record.last_s = now_s
        moved = start.displacement_to(end)
        old = record.displacement
        w = self.MOTION
        # Turns wrap, so the measured turn of a long spin says little; the direction a turning skill claims is kept.
        turn = old.turn_rad if abs(old.turn_rad) > TURNING_RAD else (1 - w) * old.turn_rad + w * moved.turn_rad
        record.displacement = Displacement(
            forward_m=(1 - w) * old.forward_m + w * moved.forward_m,
            left_m=(1 - w) * old.left_m + w * moved.left_m,
            turn_rad=turn,
        )
        if record.attempts == 0:
            record.fast = record.slow = mean_reward
        record.attempts += 1
        record.fast += self.FAST * (mean_reward - record.fast)
        record.slow += self.SLOW * (mean_reward - record.slow)

    def _centre_gain(self, pose: Pose2D, by: Displacement) -> float:
        """How well a motion suits a return to the middle, in [-3, 1]; 0 for all motions in the middle itself.

        A walk counts by how straight it leads back, less what it lacks in room before the fence; a turn counts by how
        much the robot needs one, because neither end of it points home.
        """
        half = self.workspace.soft_half_m
        far = min(1.0, math.hypot(pose.x_m, pose.y_m) / half)
        bearing = math.atan2(-pose.y_m, -pose.x_m) - pose.yaw_rad
        if abs(by.turn_rad) > TURNING_RAD:
            has_room = self.workspace.margin_m(pose.x_m, pose.y_m) >= TURN_ROOM_M
            return far * (1.0 - abs(math.cos(bearing))) - (0.0 if has_room else CLOSE_TURN_COST)
        heading = math.atan2(by.left_m, by.forward_m)
        room = room_m(pose, pose.yaw_rad + heading, half)
        return far * math.cos(bearing - heading) - 2.0 * max(0.0, 1.0 - room / ROOM_M)


def room_m(pose: Pose2D, heading_rad: float, half_m: float) -> float:
    """Free way along a world heading before the edge of a square of half side ``half_m``.

    From outside of the square the way back in counts as the way to its middle line, any other as none.
    """
    room = math.inf
    for position, direction in ((pose.x_m, math.cos(heading_rad)), (pose.y_m, math.sin(heading_rad))):
        if abs(direction) > 1e-6:
            room = min(room, (math.copysign(half_m, direction) - position) / direction)
    return max(0.0, room)
