"""Configuration: one TOML file, overridden by the command line, checked before anything moves.

The file is ``perdure.toml`` in the home directory or what ``--config`` names. It has one table per section below, and
may leave out any of them. An unknown key or a value out of range stops the start: it never falls back to "off".
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.settings import (
    ConfigError,
    Section,
    checked,
    line_of,
    read_toml,
    setting,
    setting_names,
    toml_text,
    unknown_name,
)
from sim.robot import RobotSpec

CONFIG_NAME = "perdure.toml"


@dataclass(frozen=True, kw_only=True)
class RunConfig(Section):
    """What to run and for how long; each has a command line option of the same name."""

    robot: str = setting("minitaur")
    """Name of an installed robot (entry point group ``perdure.robots``), or ``gym:ID`` for a Gymnasium environment."""
    skills: tuple[str, ...] = setting(())
    """Skills that may run; empty means all that the robot supports."""
    skill_folders: tuple[str, ...] = setting(())
    """Folders with skills of your own (`perdure skills new`), beside the built-in and installed ones."""
    hours: float | None = setting(None, 1e-4, 1e5, unit="h of robot time")
    """Stop after this much robot time; left out: run until stopped."""
    attempts: int | None = setting(None, 1, 10**9, unit="attempts")
    """Stop after this many attempts; left out: run until stopped."""
    speed: str = setting("max", choices=("realtime", "max"))
    """``max`` runs as fast as physics goes, repeatable from the seed; ``realtime`` follows the wall clock."""
    seed: int = setting(0, 0, 2**32 - 1)
    """Seed of everything random."""
    start: str = setting("nothing", choices=("nothing", "zoo", "deployed"))
    """What an empty home begins with: nothing, or the trained state that the library ships for the robot. ``deployed``
    acts with what `perdure skills promote` has deployed, and goes with ``learner.enabled = false``."""
    reset_free: bool = setting(False)
    """Only for ``gym:`` robots: the environment is reset only when a person would have been called."""
    resets: bool = setting(True)
    """Whether reset skills may run; without them a person is called wherever no task can start. To compare with."""
    early_aborts: bool = setting(True)
    """Whether a task is ended where a skill says that what it handles is nearly lost. Off to compare with."""
    perturb_share: float = setting(0.2, 0.0, 0.9)
    """Share of choices that fall on a skill which brings the world to nowhere in particular, where there is one."""
    curriculum: str = setting("progress", choices=("progress", "uniform"))
    """``progress``: a skill waits for those that it needs, and practice goes where success changes; ``uniform``: all
    skills are practised alike, to compare with."""
    attended: bool = setting(False)
    """Whether a person is beside a real robot; without one only skills run that may (`perdure skills tier`)."""
    web: bool = setting(False)
    """Whether a web page is served. There is none yet, so true is refused."""


@dataclass(frozen=True, kw_only=True)
class ControlConfig(Section):
    """Rates of the control loop; a rate that is left out is the robot's own (`Config.for_robot`)."""

    rate_hz: int | None = setting(None, 1, 500, unit="Hz")
    """Control rate."""
    policy_rate_hz: int | None = setting(None, 1, 500, unit="Hz")
    """Rate of policy decisions; the control rate must be a whole multiple of it."""
    core: int | None = setting(None, 0, 4095)
    """CPU core that the control loop is bound to; left out: the system chooses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate_hz and self.policy_rate_hz and self.rate_hz % self.policy_rate_hz:
            divisors = [str(d) for d in range(1, self.rate_hz + 1) if self.rate_hz % d == 0]
            raise ConfigError(
                f"policy_rate_hz = {self.policy_rate_hz} does not divide rate_hz = {self.rate_hz}; "
                f"choose one of {', '.join(divisors)}"
            )

    @property
    def dt_s(self) -> float:
        """Control period. Raises ConfigError while the rate is open."""
        return 1.0 / self._known("rate_hz")

    @property
    def decimation(self) -> int:
        """Control periods per policy decision. Raises ConfigError while a rate is open."""
        return self._known("rate_hz") // self._known("policy_rate_hz")

    def _known(self, name: str) -> int:
        value: int | None = getattr(self, name)
        if value is None:
            raise ConfigError(f"control.{name} is open; Config.for_robot fills it in")
        return value


@dataclass(frozen=True, kw_only=True)
class WorkspaceConfig(Section):
    """The square in which the robot has to stay."""

    size_m: float = setting(5.0, 1.0, 1000.0, unit="m")
    """Side length; the hard fence."""
    soft_margin_m: float = setting(0.5, 0.05, 100.0, unit="m")
    """Distance of the soft fence inside the hard one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.soft_margin_m >= self.size_m / 2:
            raise ConfigError(
                f"soft_margin_m = {self.soft_margin_m:g} leaves no room in size_m = {self.size_m:g}; "
                f"choose less than {self.size_m / 2:g}"
            )


@dataclass(frozen=True, kw_only=True)
class LearnerConfig(Section):
    """The learner process."""

    enabled: bool = setting(True)
    """Whether anything is learned; without it the robot acts with the newest stored policy."""
    device: str = setting("cpu", choices=("cpu", "cuda"))
    """Where the networks are; ``cuda`` needs a GPU and a build of torch for it."""
    hidden: tuple[int, ...] = setting((128, 128), 8, 4096, unit="units per layer")
    """Hidden layer widths of actor and critics."""
    batch: int = setting(128, 8, 65536, unit="transitions")
    """Transitions per update."""
    gamma: float = setting(0.98, 0.5, 0.9999)
    """Discount per policy step."""
    tau: float = setting(0.005, 1e-5, 1.0)
    """Share of the new critic weights that goes into the target weights at each update."""
    lr: float = setting(3e-4, 1e-7, 0.1)
    """Learning rate of actor, critics and temperature."""
    updates_per_step: float = setting(4.0, 0.01, 100.0, unit="updates per policy step")
    """How much is learned from each step; fixed in lockstep mode."""
    idle_updates_per_step: float = setting(8.0, 0.0, 100.0, unit="updates per policy step")
    """In realtime mode spare time goes into updates, up to this many per stored step."""
    algorithm: str = setting("sac", choices=("sac", "ars", "offsets"))
    """``sac``: off-policy, from every stored step; ``ars``: random search over the policy, from attempts' returns;
    ``offsets``: the policy that is there is held, and one offset of each action is searched for from attempts' returns,
    for a robot that has changed so much that it falls at once."""
    population: tuple[str, ...] = setting(())
    """Further learners on the same stored steps, each by what it changes, as ``"lr=1e-3,gamma=0.97"``; the robot acts
    with the best by its attempts' returns."""
    ensemble: int = setting(2, 2, 20, unit="critics")
    """Critics in the ensemble."""
    target_subset: int = setting(0, 0, 20, unit="critics")
    """Critics drawn at each update whose smallest value makes the target (REDQ); 0: all of them."""
    actor_mean: bool = setting(False)
    """Whether the actor climbs the mean of all critics (REDQ) rather than the smallest."""
    batch_norm: bool = setting(False)
    """Batch normalisation in the critics and no target network (CrossQ)."""
    reset_every: int = setting(0, 0, 10**9, unit="updates")
    """Begin with new networks on the old data after this many updates, against overfitting to early data; 0: never."""
    symmetry: bool = setting(True)
    """Whether the mirror images that the robot claims of itself are learned from too."""
    constraints: bool = setting(True)
    """Whether safety costs (roll, pitch, power, jerk) are kept at their limits by Lagrange multipliers."""
    cost_limit: float = setting(0.04, 1e-6, 100.0)
    """Mean of each safety cost per step that is allowed; a cost is by how much a limit is exceeded, relative to it."""
    least_multiplier: float | None = setting(None, 0.0, 10.0)
    """Least Lagrange multiplier of each safety cost, at which it begins; left out: the robot's own."""
    predict_falls: bool = setting(True)
    """Whether a predictor of falls is learned from all attempts. It begins a catch (``safety.catch``) before the lean
    of the body does."""
    false_alarms_per_min: float = setting(0.2, 0.001, 10.0, unit="per minute of attempts")
    """How often it may do so at most."""
    shield: bool = setting(False)
    """Whether a safety critic and a recovery policy are learned beside the task: a walk that is about to lean too far
    (``safety.catch_lean_rad``) is taken over before it does."""
    shield_alarms: float = setting(0.01, 0.0001, 0.5)
    """Share of the policy's decisions that the shield may take over at most."""
    script_below: float = setting(0.2, 0.0, 1.0)
    """Where a task brings a script, that makes every other attempt while the policy succeeds in a smaller share of them
    than this. Above 0, scripts make all attempts of resets."""
    imitation: float = setting(1.0, 0.0, 100.0)
    """How much a policy also follows the advice of a script: weight of the mean squared difference, in sizes of Q."""
    hopeless_below: float = setting(0.0, 0.0, 0.9)
    """Where what undoes a task succeeds less often than this share of its usual rate, the task goes no further and is
    not begun; 0: nothing is ended early."""
    hold_policy: bool = setting(False)
    """Whether the policy stays as it is; what is learned beside it goes on."""
    watch_drift: bool = setting(False)
    """Whether it is learned how a robot with feet moves, and a change of that is noticed (`drift_events`). A policy
    that still changes much is taken for a robot that does."""
    false_drifts_per_h: float = setting(0.5, 0.001, 60.0, unit="per hour of attempts")
    """How often a change may be seen where there is none, at most on average."""
    search_offsets: bool = setting(False)
    """With ``watch_drift``: whether offsets of a policy's actions are searched for where a check-up names a drift and a
    skill earns less than nine tenths of what it did all the same. Not where the policy is held, nor for another
    ``algorithm`` or a ``population``, nor with ``safety.clearance_every``."""
    past_actions: bool = setting(True)
    """Whether policies see the last actions; with ``history`` this makes up for latency."""
    prior_data: tuple[str, ...] = setting(())
    """Homes of other runs with the same robot whose attempts are learned from too."""
    prior_share: float = setting(0.5, 0.0, 0.95)
    """Share of each batch that comes from prior data."""
    offline_updates: int = setting(6000, 0, 10_000_000, unit="updates")
    """Updates that a learner which begins takes on prior data alone, before its skills are attempted for the first
    time: rewards of a new skill are known for all that the robot did for others."""
    offline: str = setting("held", choices=("held", "iql", "sac"))
    """How these are made. ``held``: the policy is held to what was done, or to its prior where that does not show the
    skill; ``iql``: besides, values rest on what was done alone; ``sac``: as from attempts."""
    layer_norm: bool = setting(True)
    """Layer normalisation in the critics."""
    dropout: float = setting(0.0, 0.0, 0.9)
    """Dropout rate in the critics."""
    actor_delay: int = setting(1000, 0, 10**7, unit="updates")
    """Updates that the critics get before the actor begins to follow them."""
    init_temperature: float = setting(0.1, 1e-6, 100.0)
    """Entropy temperature at the start; it is learned from there."""
    target_entropy: float = setting(-1.0, -10.0, 1.0, unit="nat per action")
    """Entropy that the temperature steers to; closer to 0 explores more widely for good."""
    init_std: float = setting(0.3, 0.01, 2.0)
    """Standard deviation of the exploration, before the squashing, at the start."""
    history: int = setting(3, 1, 64, unit="policy steps")
    """Policy steps that an observation stacks."""
    replay_steps: int = setting(1_000_000, 1000, 100_000_000, unit="policy steps")
    """Policy steps kept in memory for sampling; the files keep all."""
    warmup_steps: int = setting(1000, 0, 10_000_000, unit="policy steps")
    """Steps collected before the first update."""
    torch_threads: int = setting(1, 1, 256, unit="threads")
    """Threads of the learner's tensor library."""
    core: int | None = setting(None, 0, 4095)
    """CPU core that the learner is bound to; left out: the system chooses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.algorithm != "sac" and self.population:
            raise ConfigError('population needs algorithm = "sac"; leave one of them out')
        if not self.hidden:
            raise ConfigError("hidden = [] has no layer; give one or more widths, such as [256, 256]")


@dataclass(frozen=True, kw_only=True)
class PersonConfig(Section):
    """The simulated person who answers interventions; on hardware a real one does."""

    enabled: bool = setting(True)
    """Whether a simulated person answers; otherwise the robot waits for `perdure interventions close`."""
    delay_s: float = setting(60.0, 0.0, 86400.0, unit="s of robot time")
    """How long it takes until the person acts."""
    every_attempt: bool = setting(False)
    """Whether the person puts everything back after each attempt, a robot that fell on its feet, uncalled and
    uncounted. To compare with."""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Section):
    """What is tied to the robot clock."""

    evaluate_every_min: float = setting(15.0, 0.1, 1e5, unit="min")
    """Between two evaluations of the walking skills."""
    checkpoint_every_min: float = setting(5.0, 0.1, 1e4, unit="min")
    """Between two checkpoints; at most this much learning is lost in a crash."""
    backup_every_min: float = setting(60.0, 1.0, 1e5, unit="min")
    """Between two verified backups of the database."""


@dataclass(frozen=True, kw_only=True)
class SafetyConfig(Section):
    """Numbers of the safety layer. The ranges only allow limits that still protect the robot."""

    fall_tilt_rad: float = setting(1.0472, 0.3, 1.4, unit="rad")
    """Tilt that means a fall once it has lasted ``fall_hold_s``."""
    fall_hold_s: float = setting(0.3, 0.0, 1.0, unit="s")
    """How long the tilt must last."""
    flipped_tilt_rad: float = setting(1.4835, 0.5, 3.0, unit="rad")
    """Tilt that means a fall at once."""
    bad_reading_limit: int = setting(5, 1, 25, unit="readings")
    """Consecutive unusable readings that make a sensor fault."""
    max_rate_radps: float = setting(200.0, 10.0, 1000.0, unit="rad/s")
    """Angular rates beyond this are not believed."""
    catch: bool = setting(True)
    """Whether a robot that leans too far crouches on spread legs and rises again, instead of going on."""
    catch_lean_rad: float | None = setting(None, 0.2, 1.4, unit="rad")
    """Lean from which it does so, which is its tilt in the next 0.05 s; left out: the robot's own."""
    learned_get_up: bool = setting(True)
    """Whether a fallen robot tries a learned way to get up, where the library has one, before the scripted one."""
    clearance_every: int = setting(0, 0, 10_000, unit="attempts")
    """A policy version acts only once it has passed a safety evaluation in simulation, in dynamics that training never
    sees; the newest is evaluated every so many attempts. 0: every version acts."""
    clearance_attempts: int = setting(2, 1, 100, unit="attempts")
    """Evaluation attempts of each skill."""
    clearance_failures: int = setting(0, 0, 100, unit="attempts")
    """How many of all of them may end in a fall, over the fence, or at the limit of a joint or of the power."""
    saturation_share: float = setting(0.8, 0.1, 1.0)
    """Share of the last second with a joint at its torque limit that ends an attempt."""
    temperature_margin_c: float = setting(10.0, 1.0, 40.0, unit="degrees C")
    """A hot robot rests until it is this much below its limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flipped_tilt_rad < self.fall_tilt_rad:
            raise ConfigError(
                f"flipped_tilt_rad = {self.flipped_tilt_rad:g} is below fall_tilt_rad = {self.fall_tilt_rad:g}; "
                "choose more than that"
            )


@dataclass(frozen=True, kw_only=True)
class SimConfig(Section):
    """What a simulated robot is like; refused on others."""

    latency_ms: float | None = setting(None, 0.0, 200.0, unit="ms")
    """Total delay from measurement to action in force; left out: the robot's own."""
    held_out: bool = setting(False)
    """Whether the robot has dynamics that training never sees, others in each run. To evaluate with."""
    drift: str | None = setting(None)
    """How the robot drifts: a preset, ``PRESET@SECONDS`` of robot time, or a schedule as a file (``*.toml``);
    left out: it does not."""
    drift_commands: bool = setting(False)
    """Whether `perdure drift inject` and `repair` are obeyed."""
    slope_deg: float = setting(0.0, 0.0, 10.0, unit="degrees")
    """Slope of the steeper one of two ramps around the middle of the workspace, of which the other has half; 0: all is
    level."""
    pushes_per_h: float = setting(0.0, 0.0, 3600.0, unit="per hour of robot time")
    """How often the robot is pushed, on average; at ``--speed max`` only. Pushes are rows of ``faults``."""
    push_mps: float = setting(0.5, 0.0, 5.0, unit="m/s")
    """Speed that the hardest push gives to the robot's mass."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that can be set."""

    run: RunConfig = field(default_factory=RunConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    workspace: WorkspaceConfig = field(default_factory=WorkspaceConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    person: PersonConfig = field(default_factory=PersonConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    sim: SimConfig = field(default_factory=SimConfig)

    @classmethod
    def load(cls, path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
        """Read a file and apply overrides.

        Args:
            path: TOML file; None for defaults.
            overrides: values by dotted name (``"run.seed"``), as the command line gives them; a None is no override.

        Raises:
            ConfigError: unreadable file, unknown key, or a value of wrong type or out of range.
        """
        data, text = read_toml(path) if path is not None else ({}, "")
        values: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        for name, table in data.items():
            at = f"{path}:{line_of(text, name)}: "
            if name not in SECTIONS:
                raise ConfigError(at + unknown_name("section or key", name, SECTIONS))
            if not isinstance(table, dict):
                raise ConfigError(f"{at}{name!r} is a section; write [{name}] and its keys below it")
            for key, value in table.items():
                where = f"{path}:{line_of(text, name, key)}: "
                values[name][key] = _value(name, key, value, where)
        for dotted, value in (overrides or {}).items():
            if value is not None:
                name, _, key = dotted.partition(".")
                where = f"--{key}: " if name == "run" else f"--set {dotted}: "
                values.setdefault(name, {})[key] = _value(name, key, value, where)
        return cls._build(values, f"{path}: " if path is not None else "")

    @classmethod
    def _build(cls, values: Mapping[str, Mapping[str, Any]], where: str) -> Config:
        """Make the sections; what no single value shows (one setting against another) is refused here."""
        made: dict[str, Any] = {}
        for name, section in SECTIONS.items():
            try:
                made[name] = section(**values.get(name, {}))
            except ConfigError as error:
                raise ConfigError(f"{where}[{name}] {error}") from error
        return cls(**made)

    def for_robot(self, spec: RobotSpec) -> Config:
        """This configuration with what is the robot's own where nothing is given: rates, and how careful learning is.

        Raises:
            ConfigError: the rates do not divide, or rewards that the robot measures would be lost between decisions.
        """
        control = replace(
            self.control,
            rate_hz=self.control.rate_hz or round(spec.control_rate_hz),
            policy_rate_hz=self.control.policy_rate_hz or round(spec.policy_rate_hz),
        )
        if "reward" in spec.extra_names and control.decimation != 1:
            raise ConfigError(
                f"policy_rate_hz = {control.policy_rate_hz} is not rate_hz = {control.rate_hz}, but {spec.name} gives "
                "a reward in every control period; leave both out, or make them equal"
            )
        learner = self.learner
        if learner.least_multiplier is None:
            learner = replace(learner, least_multiplier=spec.caution)
        return replace(self, control=control, learner=learner)

    @classmethod
    def from_dict(cls, data: Mapping[str, Mapping[str, Any]]) -> Config:
        """Read what `to_dict` gave. A setting that this version does not know is left out: it has no effect here.

        Raises:
            ConfigError: a known setting has a value that is not allowed.
        """
        known = {
            name: {key: value for key, value in data.get(name, {}).items() if key in setting_names(section)}
            for name, section in SECTIONS.items()
        }
        return cls._build(known, "stored configuration: ")

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Sections by name, each a dict of JSON values; tuples become lists."""
        return {
            name: {key: list(value) if isinstance(value, tuple) else value for key, value in section.items()}
            for name, section in asdict(self).items()
        }

    def to_toml(self) -> str:
        """As a file that `load` reads back to an equal configuration."""
        return toml_text(self.to_dict())

    def changes(self, other: Config) -> dict[str, Any]:
        """The settings of ``other`` that differ from this configuration's, by dotted name, in file order."""
        mine, theirs = self.to_dict(), other.to_dict()
        return {
            f"{name}.{key}": theirs[name][key]
            for name, section in mine.items()
            for key, value in section.items()
            if value != theirs[name][key]
        }

    def diff(self, other: Config) -> list[str]:
        """The same as lines for a reader: ``"learner.batch: 256 -> 128"``."""
        before = other.changes(self)
        return [f"{name}: {before[name]!r} -> {value!r}" for name, value in self.changes(other).items()]


SECTIONS: Mapping[str, type[Section]] = {
    "run": RunConfig,
    "control": ControlConfig,
    "workspace": WorkspaceConfig,
    "learner": LearnerConfig,
    "person": PersonConfig,
    "schedule": ScheduleConfig,
    "safety": SafetyConfig,
    "sim": SimConfig,
}
"""Section classes by the name of their table in the file."""


def _value(section: str, key: str, value: Any, where: str) -> Any:
    """One checked value; ``where`` goes before the message of an error."""
    if section not in SECTIONS:
        raise ConfigError(where + unknown_name("section", section, SECTIONS))
    if key not in setting_names(SECTIONS[section]):
        raise ConfigError(where + unknown_name(f"key in [{section}]", key, setting_names(SECTIONS[section])))
    try:
        return checked(SECTIONS[section], key, value)
    except ConfigError as error:
        raise ConfigError(f"{where}{error}") from error


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read a ``section.key=value`` of the command line; the value is TOML, or plain text if it is not TOML.

    Raises:
        ConfigError: there is no ``=`` or no dot before it.
    """
    name, equals, raw = text.partition("=")
    name = name.strip()
    if not equals or "." not in name:
        raise ConfigError(f"--set {text!r} is not section.key=value, such as learner.batch=128")
    try:
        return name, tomllib.loads(f"value = {raw.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return name, raw.strip()
