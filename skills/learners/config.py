"""Settings of soft actor-critic."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SacConfig:
    """Settings of `SacLearner`; the defaults are those of Haarnoja et al. 2019 (arXiv 1812.05905, appendix D)."""

    device: str = "cpu"
    """Where the networks are: ``cpu`` or ``cuda``, the GPU that torch finds first."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of actor and critics."""
    batch: int = 256
    """Transitions per gradient update."""
    discount: float = 0.99
    """Gamma, per policy step."""
    tau: float = 0.005
    """Share of the critics that moves into the target critics at each update."""
    learning_rate: float = 3e-4
    """Of actor, critics and temperatures, with Adam."""
    updates_per_step: float = 1.0
    """Gradient updates per policy step of the robot; read by whoever calls `update`, not by the learner."""
    ensemble: int = 2
    """Number of critics."""
    target_subset: int = 0
    """Critics drawn at each update whose smallest value makes the target, 2 in REDQ (Chen et al. 2021, arXiv
    2101.05982); 0: the smallest of all."""
    actor_mean: bool = False
    """Whether the actor climbs the mean of all critics, as in REDQ, rather than the smallest."""
    batch_norm: bool = False
    """Batch renormalisation in the critics and no target critics: CrossQ (Bhatt et al. 2024, arXiv 1902.05605)."""
    layer_norm: bool = False
    """Normalise the critics' hidden layers; keeps many updates per step stable."""
    dropout: float = 0.0
    """Share of the critics' hidden units dropped at each update; 0.01 with ``layer_norm`` is DroQ."""
    imitation: float = 0.0
    """How much the actor also follows advice: weight of the mean squared difference, in mean sizes of Q. In TD3+BC it
    is 0.4 (Fujimoto and Gu 2021, arXiv 2106.06860)."""
    offline: str = "held"
    """How to learn while nothing is tried: ``sac``: as ever; ``held``: with the actor held to stored actions, or to its
    prior where these do not show the skill; ``iql``: besides, the next state is judged by stored actions alone."""
    offline_imitation: float = 0.4
    """How much the actor is held meanwhile, in the same measure as ``imitation``."""
    expectile: float = 0.9
    """Tau of implicit Q-learning: 0.5 judges by the stored actions' mean, near 1 by the best."""
    actor_delay: int = 0
    """Updates before actor and temperatures begin to move, also after a reset: what new critics say of actions is
    chance, and an actor that follows it makes a robot stumble."""
    target_entropy: float = -1.0
    """Entropy that the temperature steers to, in nat per action; closer to 0 explores more widely for good."""
    initial_temperature: float = 1.0
    """Alpha of every skill at the start."""
    initial_std: float = 1.0
    """Standard deviation of the exploration before the tanh at the start."""
    output_gain: float = 0.1
    """Scale of the actor's last layer at the start; small, so that a new policy acts like its prior.
    Smaller still (0.01) learned Pendulum late on one seed of two; 0.1 and 1 did not."""
    log_std_min: float = -10.0
    """Lower bound of the actor's log standard deviation."""
    log_std_max: float = 2.0
    """Upper bound of the actor's log standard deviation."""
    normalise: bool = True
    """Shift and scale each feature by its mean and standard deviation in the replay memory."""
    normalise_steps: int = 20_000
    """Steps after which mean and standard deviation are kept, so that the networks' input stops moving."""
    obs_clip: float = 10.0
    """Bound of a normalised feature, in standard deviations."""
    reset_every: int = 0
    """Updates after which networks, temperatures and optimiser begin anew on the old data, against overfitting to early
    data (Nikishin et al. 2022, arXiv 2205.07802); 0: never."""
    reset_recovery: int | None = None
    """Updates that new networks get before they act; the policy from before the reset acts until then. None: a quarter
    of ``reset_every``, or 2000 where that is 0: networks are also new after the learner has diverged for good."""
    cost_limit: float = 0.02
    """What the mean of each cost per step is kept below; costs are relative exceedances of a physical limit."""
    kp: float = 0.1
    """Proportional gain of the multipliers, per ``cost_limit`` exceeded."""
    ki: float = 1.0
    """Integral gain, per ``cost_limit`` exceeded during ``cost_window`` steps."""
    kd: float = 0.1
    """Derivative gain, per ``cost_limit`` that the cost rises from one attempt to the next."""
    lambda_max: float = 10.0
    """Upper bound of a multiplier."""
    least_multiplier: float = 0.0
    """Lower bound of a multiplier, and what it begins at."""
    cost_window: float = 2500.0
    """Steps of a skill over which its costs are averaged, exponentially."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, naming the field, its value and what is valid."""
        self._need("device", self.device in ("cpu", "cuda"), "cpu or cuda")
        self._need("offline", self.offline in ("sac", "held", "iql"), "sac, held or iql")
        for name in ("batch", "ensemble", "normalise_steps"):
            self._need(name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "updates_per_step", "initial_temperature", "initial_std", "obs_clip"):
            value = getattr(self, name)
            self._need(name, math.isfinite(value) and value > 0, "positive and finite")
        self._need("hidden", len(self.hidden) >= 1 and min(self.hidden) >= 1, "one or more positive widths")
        self._need("target_subset", 0 <= self.target_subset <= self.ensemble, f"in [0, ensemble = {self.ensemble}]")
        self._need("reset_every", self.reset_every >= 0, "at least 0")
        self._need("actor_delay", self.actor_delay >= 0, "at least 0")
        recovers = self.reset_recovery is None or 0 <= self.reset_recovery < (self.reset_every or math.inf)
        self._need("reset_recovery", recovers, f"at least 0 and below reset_every = {self.reset_every}, or None")
        for name in ("cost_limit", "lambda_max", "cost_window"):
            value = getattr(self, name)
            self._need(name, math.isfinite(value) and value > 0, "positive and finite")
        for name in ("kp", "ki", "kd", "least_multiplier", "imitation", "offline_imitation"):
            self._need(name, 0 <= getattr(self, name) < math.inf, "zero or positive, and finite")
        self._need("discount", 0 <= self.discount < 1, "in [0, 1)")
        self._need("expectile", 0 < self.expectile < 1, "in (0, 1)")
        self._need("tau", 0 < self.tau <= 1, "in (0, 1]")
        self._need("dropout", 0 <= self.dropout < 1, "in [0, 1)")
        self._need("output_gain", 0 <= self.output_gain < math.inf, "zero or positive")
        self._need("target_entropy", math.isfinite(self.target_entropy), "finite")
        self._need("log_std_min", -math.inf < self.log_std_min < self.log_std_max, "below log_std_max")
        self._need("log_std_max", self.log_std_max < math.inf, "finite")

    @property
    def recovery_updates(self) -> int:
        """Updates that new networks get before they act."""
        if self.reset_recovery is not None:
            return self.reset_recovery
        return self.reset_every // 4 if self.reset_every else 2000

    def _need(self, name: str, valid: bool, what: str) -> None:
        if not valid:
            raise ValueError(f"learner setting {name} is {getattr(self, name)!r}; it must be {what}")
