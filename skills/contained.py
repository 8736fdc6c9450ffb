"""A skill that others have written, with its mistakes contained: the first one quarantines it, and the run goes on.

What its functions raise, what takes too long, and what they return that makes no sense never reaches the caller. From
then on none of its functions is called: it starts nowhere, an attempt of it is over, and it earns nothing.
"""

from __future__ import annotations

import functools
import math
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sim.robot import Command, CommandMode, Frames, Observation, RobotSpec, Transition
from skills.skill import Controller, LearnedSkill, Progress, ScriptedSkill, Skill

LIMIT_S = 0.5
"""A function that has not returned by then is stopped."""
SLOW_S, SLOW_CALLS = 0.02, 10
"""So many calls in a row that take longer each: the control loop cannot wait for that."""
T = TypeVar("T")
_TINY_S = 1e-4
_NUMBER = (int, float, np.integer, np.floating)
QUARANTINED = "quarantined"
"""End of an attempt of a skill that has made a mistake, and why it cannot start."""


class TookTooLongError(RuntimeError):
    """A function of a skill did not return in time."""


@dataclass(frozen=True)
class Mistake:
    """Why a skill is in quarantine."""

    skill: str
    where: str
    """The function."""
    what: str


@dataclass
class Containment:
    """The first mistake of one skill, and how slow it has been."""

    skill: str
    mistake: Mistake | None = None
    slow: Counter[str] = field(default_factory=Counter)
    """Calls in a row that were slow, by function."""
    costs: tuple[str, ...] = ()
    """Names of its costs, which those of its family have too."""

    def call(self, where: str, function: Callable[[], Any], check: Callable[[Any], T], instead: Callable[[], T]) -> T:
        """What a function returns, once it makes sense; something else if not, and from then on.

        Args:
            where: its name.
            function: is called if nothing has gone wrong before.
            check: makes of what was returned what is handed on; raises ValueError where it makes no sense.
            instead: what is handed on in its place.
        """
        if self.mistake is None:
            begun_s = time.perf_counter()
            try:
                with in_time(LIMIT_S):
                    found = check(function())
            except (Exception, SystemExit) as error:
                self.mistake = Mistake(self.skill, where, f"{type(error).__name__}: {error}"[:300])
            else:
                self.slow[where] = self.slow[where] + 1 if time.perf_counter() - begun_s > SLOW_S else 0
                if self.slow[where] < SLOW_CALLS:
                    return found
                self.mistake = Mistake(self.skill, where, f"{SLOW_CALLS} calls in a row took over {SLOW_S:g} s each")
        return instead()


def mistake_of(skill: Skill) -> Mistake | None:
    """Why a skill is in quarantine; None: it is not."""
    containment: Containment | None = getattr(skill, "_containment", None)
    return None if containment is None else containment.mistake


def quarantine(skill: Skill, where: str, what: str) -> None:
    """Put a `contained` skill in quarantine for what its functions did not say themselves."""
    containment: Containment = skill._containment  # type: ignore[attr-defined]
    containment.mistake = containment.mistake or Mistake(skill.name, where, what)


def file_of(skill: Skill) -> Path | None:
    """Where a `contained` skill was written; None: perdure brings it itself, or nobody knows."""
    if not hasattr(skill, "_containment"):
        return None
    name = getattr(sys.modules.get(type(skill).__mro__[1].__module__), "__file__", None)
    return None if name is None else Path(name)


def contained(skill: Skill) -> Skill:
    """The same skill with its mistakes contained; an instance of all classes that it was one of."""
    own = type(skill)
    overrides = {name: _guarded(name, getattr(own, name), rule) for name, rule in _RULES.items() if hasattr(own, name)}
    made: Skill = object.__new__(type(own.__name__, (own,), overrides))
    made.__dict__.update(skill.__dict__)
    made.__dict__["_containment"] = Containment(skill.name)
    return made


@contextmanager
def in_time(limit_s: float) -> Iterator[None]:
    """Stop what takes longer, by an exception in its midst; only in the main thread, where signals come.

    Raises:
        TookTooLongError: it did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        del number, frame
        raise TookTooLongError(f"took longer than {limit_s:g} s")

    before, begun_s = signal.signal(signal.SIGALRM, stop), time.monotonic()
    left_s, _ = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        # Functions of a skill call each other: the time of the one outside goes on.
        rest_s = max(left_s - (time.monotonic() - begun_s), _TINY_S) if left_s else 0.0
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, rest_s)


@dataclass(frozen=True)
class _Rule:
    """What a function has to return, and what is taken in its place, given its arguments after the skill."""

    check: Callable[..., Any]
    instead: Callable[..., Any]


def _guarded(name: str, function: Callable[..., Any], rule: _Rule) -> Callable[..., Any]:
    @functools.wraps(function)
    def guarded(self: Any, *args: Any, **named: Any) -> Any:
        containment: Containment = self._containment
        return containment.call(
            name,
            lambda: function(self, *args, **named),
            lambda found: rule.check(found, self, *args, **named),
            lambda: rule.instead(self, *args, **named),
        )

    return guarded


def _words(found: Any, *_: Any) -> str | None:
    if found is None or isinstance(found, str):
        return found
    raise ValueError(f"gave {found!r}; needs None or a text")


def _truth(found: Any, *_: Any) -> bool:
    if isinstance(found, bool | np.bool_):
        return bool(found)
    raise ValueError(f"gave {found!r}; needs True or False")


def _numbers(found: Any, *_: Any) -> dict[str, float]:
    if isinstance(found, dict) and all(isinstance(x, _NUMBER) and math.isfinite(x) for x in found.values()):
        return {str(name): float(value) for name, value in found.items()}
    raise ValueError(f"gave {found!r}; needs finite numbers by name")


def _each(found: Any, skill: Any, steps: Transition, *_: Any) -> Any:
    value = np.asarray(found)
    if value.shape == (len(steps),) and value.dtype == np.bool_:
        return value
    raise ValueError(f"gave {value.dtype} of shape {value.shape}; needs truth values of shape ({len(steps)},)")


def _terms(found: Any, skill: Any, steps: Transition, *_: Any) -> Any:
    if not isinstance(found, dict):
        raise ValueError(f"gave {type(found).__name__}; needs arrays by name")
    for name, value in found.items():
        shape = np.shape(value)
        if shape != (len(steps),):
            raise ValueError(f"gave {name!r} of shape {shape}; needs shape ({len(steps)},)")
        if not np.isfinite(value).all():
            raise ValueError(f"gave {name!r} with numbers that are not finite")
    return found


def _some_terms(found: Any, skill: Any, steps: Transition, *_: Any) -> Any:
    if _terms(found, skill, steps):
        return found
    raise ValueError("gave no term; needs at least one")


def _potential(found: Any, skill: Any, frames: Frames) -> Any:
    if found is None:
        return None
    value = np.asarray(found, np.float64)
    if value.shape == (len(frames),) and np.isfinite(value).all():
        return value
    raise ValueError(f"gave shape {value.shape}; needs None or finite numbers of shape ({len(frames)},)")


def _action(found: Any, skill: Any, spec: RobotSpec) -> Any:
    value, size = np.asarray(found, np.float64), skill.family.action_size(spec)
    if value.shape == (size,) and (np.abs(value) < 1.0).all():
        return value
    raise ValueError(f"gave shape {value.shape}; needs {size} numbers between -1 and 1")


def _any(found: Any, *_: Any) -> Any:
    return found


def _nothing(skill: Any, steps: Transition, *_: Any) -> Any:
    return np.zeros(len(steps), np.bool_)


def _everything(skill: Any, steps: Transition, *_: Any) -> Any:
    return np.ones(len(steps), np.bool_)


def _costs(found: Any, skill: Any, steps: Transition, *_: Any) -> Any:
    terms = _terms(found, skill, steps)
    skill._containment.costs = tuple(terms)
    return terms


def _quarantined(*_: Any) -> str:
    return QUARANTINED


def _controller(found: Any, skill: Any, spec: RobotSpec, dt_s: float) -> Controller:
    del dt_s
    return _ContainedController(found, skill._containment, spec)


_RULES = {
    "problem": _Rule(_words, _quarantined),
    "over": _Rule(_words, _quarantined),
    "start_problem": _Rule(_words, _quarantined),
    "lost": _Rule(_truth, lambda *_: False),
    "nearly_lost": _Rule(_truth, lambda *_: False),
    "success": _Rule(_truth, lambda *_: False),
    "measures": _Rule(_numbers, lambda *_: {}),
    "reward_terms": _Rule(_some_terms, lambda skill, steps: {QUARANTINED: np.zeros(len(steps))}),
    "potential": _Rule(_potential, lambda *_: None),
    "terminated": _Rule(_each, _everything),
    "irreversible": _Rule(_each, _nothing),
    "trusted": _Rule(_each, _everything),
    "costs": _Rule(_costs, lambda skill, steps, _: {name: np.zeros(len(steps)) for name in skill._containment.costs}),
    "prior_action": _Rule(_action, lambda skill, spec: np.zeros(skill.family.action_size(spec))),
    "script": _Rule(_any, lambda *_: None),
    "controller": _Rule(_controller, lambda skill, spec, dt_s: _ContainedController(None, skill._containment, spec)),
}
assert set(_RULES) >= {name for each in (Skill, LearnedSkill, ScriptedSkill) for name in each.__abstractmethods__}


class _ContainedController:
    """A script whose mistakes are contained: after one it damps, and says that it has failed."""

    def __init__(self, script: Controller | None, containment: Containment, spec: RobotSpec) -> None:
        self._script: Any = script
        self._containment, self._spec = containment, spec

    def start(self, observation: Observation) -> None:
        self._containment.call("controller.start", lambda: self._script.start(observation), _any, lambda: None)

    def act(self, observation: Observation) -> Command:
        def check(found: Any) -> Command:
            if not isinstance(found, Command) or np.shape(found.target) != (self._spec.n_joints,):
                raise ValueError(f"gave {found!r}; needs a command with {self._spec.n_joints} targets")
            return found

        return self._containment.call("controller.act", lambda: self._script.act(observation), check, self._damping)

    def progress(self, observation: Observation) -> Progress:
        def check(found: Any) -> Progress:
            return Progress(found)

        return self._containment.call(
            "controller.progress", lambda: self._script.progress(observation), check, lambda: Progress.FAILED
        )

    def _damping(self) -> Command:
        n = self._spec.n_joints
        return Command(mode=CommandMode.DAMPING, target=np.zeros(n), kp=0.0, kd=self._spec.kd)
