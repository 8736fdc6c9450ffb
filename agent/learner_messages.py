"""What the daemon and its learner's process say to each other: the job, small messages, and names of files.

All of it is picklable, and imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.ancestry import Ancestry
from meta.drift_monitor import Condition
from sim.robot import RobotSpec
from skills.learners.drift_offsets import SearchNews

if TYPE_CHECKING:
    from skills.learned_reward import RewardWeights
    from skills.success_classifier import SuccessWeights

SHIELD, FALLS, UNDO, DRIFT, OFFSETS = "shield", "falls", "undo", "drift", "offsets"
"""What may be learned beside the policy: safety critic and recovery policy, fall predictor, undo critic, what the
robot is expected to do, and offsets for what it is known to have drifted by."""


@dataclass(frozen=True)
class Snapshot:
    """Files of what acts in the next attempts."""

    policies: tuple[Path, ...]
    """The policies to choose from."""
    beside: Mapping[str, Path] = field(default_factory=dict)
    """What is learned beside them, by its name."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.policies, *self.beside.values())


@dataclass(frozen=True)
class StoredAttempts:
    """The newest attempts of a home, as many as a replay memory holds."""

    paths: tuple[Path, ...] = ()
    """Oldest first."""
    left_out: int = 0
    """Number of older ones."""
    conditions: Mapping[Path, Condition] = field(default_factory=dict)
    """Of the robot in them; as usual where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class LearnerJob:
    """All that a learner process needs to start. Picklable."""

    spec: RobotSpec
    family: str
    skills: tuple[str, ...]
    """Names of the skills that run; those of the family learn."""
    skill_folders: tuple[str, ...] = ()
    """Where skills are that neither perdure nor an installed package brings."""
    history: int
    """Feature rows in an observation."""
    seed: int
    settings: dict[str, Any]
    """Fields of `SacConfig`."""
    algorithm: str = "sac"
    """``sac``, ``ars`` or ``offsets``."""
    population: tuple[dict[str, Any], ...] = ()
    """Settings by which further learners on the same replay memory differ; empty: one learner alone."""
    past_actions: bool = True
    """Whether the policy sees what was sent before."""
    symmetry: bool = False
    """Whether the robot's mirror images are learned from too."""
    constrained: bool = False
    """Whether safety costs are learned under."""
    risk: dict[str, Any] | None = None
    """Fields of `RiskConfig`; None: no safety critic is learned."""
    risk_updates_per_update: float = 0.0
    """Updates of the safety critic per update of the learner."""
    false_alarms_per_min: float | None = None
    """Of the fall predictor; None: none is learned."""
    hopeless_below: float | None = None
    """Of the undo critic; None: none is learned."""
    hold_policy: bool = False
    """Whether the policy stays as it is."""
    watch_drift: bool = False
    """Whether it is learned what the robot is expected to do."""
    search_offsets: bool = False
    """Whether offsets are searched for where a known drift makes a skill earn less."""
    goals: Mapping[str, SuccessWeights] = field(default_factory=dict)
    """What tells the success of skills in the place of their own rules, by name."""
    rewards: Mapping[str, RewardWeights] = field(default_factory=dict)
    """What skills earn in the place of their own terms, by name."""
    harm_lean_rad: float = math.inf
    """Lean of the body from which on the safety critic counts harm and the fall predictor a fall."""
    prior_episodes: tuple[Path, ...] = ()
    """Stored attempts of other homes to learn from beside this home's own."""
    prior_share: float = 0.5
    """Share of each batch that comes from prior data."""
    offline_updates: int = 0
    """Updates on prior data alone, where there is any, before a learner that begins with nothing acts."""
    initial: Path | None = None
    """Directory of a learner's state to begin from where there is no checkpoint; None: begin from nothing."""
    capacity: int
    updates_per_step: float
    warmup_steps: int
    idle_updates_per_step: float
    """With spare time, go on updating up to this many updates per stored step; 0 in lockstep."""
    torch_threads: int
    core: int | None
    """Core to run on, or None to let the system choose."""
    snapshot_dir: Path
    checkpoint_dir: Path
    max_checkpoint_seq: int | None
    """Newest checkpoint that the store knows of; None for a fresh start."""
    episodes: StoredAttempts
    """To rebuild the replay memory from."""


@dataclass(frozen=True, slots=True)
class Ingest:
    """A new attempt is on disk."""

    ticket: int
    path: Path
    condition: Condition = Condition.USUAL
    """Of the robot in it."""


@dataclass(frozen=True, slots=True)
class SaveCheckpoint:
    """Write checkpoint ``seq``."""

    seq: int
    robot_s: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End the process."""


@dataclass(frozen=True, slots=True)
class Done:
    """All updates owed for a ticket are made and a snapshot is published. Ticket 0 says that the learner is ready."""

    ticket: int
    """The newest ticket dealt with; the same one again when spare time gave a newer snapshot."""
    version: int
    snapshot: Snapshot
    updates: int
    metrics: dict[str, float]
    updates_per_s: float
    skipped: tuple[str, ...] = ()
    """Stored attempts that could not be read, with the reason."""
    refused: str = ""
    """Why updates were undone since the last message; empty if none were."""
    restored_seq: int | None = None
    """Checkpoint that a starting learner went on from."""
    searches: tuple[SearchNews, ...] = ()
    """Searches for offsets that have begun or ended since the last message."""


@dataclass(frozen=True, slots=True)
class Alive:
    """Work that takes long goes on: a starting learner makes up for updates that a crash has cost."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The learner cannot start, and starting it again would not help."""

    reason: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint is on disk."""

    seq: int
    robot_s: float
    version: int
    """Of the best policy."""
    updates: int
    name: str
    """Of its directory."""
    sha256: str
    figures: dict[str, float]
    """What the learner last said of itself."""
    ancestry: Ancestry = field(default_factory=Ancestry)
