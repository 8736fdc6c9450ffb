"""How much practice each task gets: which wait for others, which are mastered, and where practice does something.

A task waits until all that it needs succeeds more often than not, but for a try now and then: the tasks of a run share
one network, and it may be able to do already what nobody has practised. Practice goes where success changes, up or
down (absolute learning progress: Baranes and Oudeyer 2013, Portelas et al. 2020), and where it comes and goes
(intermediate difficulty, p (1 - p): Tzannetos et al. 2023), but for a small share that keeps what is mastered. All of
it follows from what came of the attempts, in their order, so that a restart changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from graphlib import CycleError, TopologicalSorter

from persistence.proportions import proportion_interval
from persistence.records import Outcome
from skills.skill import Skill

MODES = ("progress", "uniform")
TELLING = frozenset({Outcome.SUCCESS, Outcome.TIMEOUT, Outcome.FALL, Outcome.UNSAFE})
"""Outcomes that say something of a skill; aborts and faults come from elsewhere."""
WINDOW = 20
"""Newest attempts of a task that say how well it is done."""
HALVES = 40
"""Newest attempts whose older half is compared with the newer one: progress is slow, and chance is not."""
FEWEST = 10
"""With fewer nothing is mastered, and no progress is seen."""
CONFIDENCE = 0.9
"""Of the interval of the success rate."""
MASTERY = 0.65
"""A task is mastered once the lower end of that interval is no less (9 of 10, 17 of 20), and lost again once its upper
end is less (9 of 20)."""
ENOUGH = 0.5
"""A task is good enough to build on once the lower end of the interval is no less (3 of 3, 7 of 9, 14 of 20), and no
more once its upper end is less (6 of 20)."""
LEAST = 0.2
"""What speaks for practising a task that makes no progress and always or never succeeds; for others their progress is
added, or how far from both they are, whichever is more."""
CURIOSITY = 0.5
"""Taken for the progress of a task that has had too few attempts to see any."""
TRYING = 0.1
"""What speaks for a task that waits for others."""
URGENCY = 1.5
"""What speaks for a task that was mastered and is not any more: more than for any other."""
KEEPING = 0.2
"""Share of all practice that the mastered tasks have among them while there is something left to learn."""


class Standing(StrEnum):
    """Where a task stands."""

    WAITING = "waiting"
    """For what it needs."""
    PRACTISING = "practising"
    MASTERED = "mastered"
    REGRESSED = "regressed"
    """It was mastered."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What came of one attempt."""

    skill: str
    success: bool
    mean_reward: float
    """Per step."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A task that stands elsewhere now."""

    skill: str
    before: Standing
    after: Standing
    successes: int
    """Of the newest attempts."""
    attempts: int
    """How many these are."""


class History:
    """What the attempts of one task say."""

    def __init__(self) -> None:
        """Begin with none."""
        self.newest: deque[Tried] = deque(maxlen=WINDOW)
        self._longer: deque[Tried] = deque(maxlen=HALVES)
        self.able = False
        """Whether it is good enough to build on; it is lost only by as clear a sign as it was won by."""
        self.mastered = False
        """The same."""
        self.was_mastered = False
        """Whether it ever was."""

    def add(self, tried: Tried) -> None:
        """An attempt is over."""
        self.newest.append(tried)
        self._longer.append(tried)
        low, high = self.interval
        self.able = (high if self.able else low) >= ENOUGH
        if self.mastered:
            self.mastered = high >= MASTERY
        else:
            self.mastered = len(self.newest) >= FEWEST and low >= MASTERY
        self.was_mastered |= self.mastered

    @property
    def successes(self) -> int:
        """How many of the newest attempts succeeded."""
        return sum(tried.success for tried in self.newest)

    @property
    def interval(self) -> tuple[float, float]:
        """Where the success rate is."""
        return _interval(self.successes, len(self.newest))

    def halves(self) -> tuple[Sequence[Tried], Sequence[Tried]]:
        """The older and the newer half of the attempts that progress is seen in."""
        tried, half = list(self._longer), len(self._longer) // 2
        return tried[:half], tried[half:]

    @property
    def progress(self) -> float | None:
        """How far success or reward, whichever more, went between the two halves; None: they are too few to tell.

        In [0, 1]: of the reward it is a share of all that it varied by. That tells while success is still rare.
        """
        if len(self.newest) < FEWEST:
            return None
        older, newer = self.halves()
        rewards = [tried.mean_reward for tried in self._longer]
        varied = max(rewards) - min(rewards)
        earned = abs(mean_reward(newer) - mean_reward(older)) / varied if varied > 0.0 else 0.0
        return max(earned, abs(success_rate(newer) - success_rate(older)))

    @property
    def uncertainty(self) -> float:
        """How open it is whether the next attempt succeeds, in [0, 1]: 4 p (1 - p) of the newest `FEWEST`."""
        if not self.newest:
            return 1.0
        p = success_rate(list(self.newest)[-FEWEST:])
        return 4.0 * p * (1.0 - p)


class Curriculum:
    """Shares out the practice of one run's tasks."""

    def __init__(
        self, needs: Mapping[str, tuple[str, ...]], mode: str = MODES[0], earlier: Iterable[Tried] = ()
    ) -> None:
        """Begin with what earlier runs have tried.

        Args:
            needs: of each task, those that it builds on; all of them are keys, too.
            mode: ``progress``, or ``uniform``: nothing waits, and all are practised alike.
            earlier: attempts, oldest first; those of other skills are ignored.
        """
        self.needs = dict(needs)
        self.mode = mode
        self.histories = {name: History() for name in needs}
        for tried in earlier:
            if tried.skill in self.histories:
                self.histories[tried.skill].add(tried)
        self._told = self.standings()

    @property
    def directed(self) -> bool:
        """Whether some tasks get more practice than others; where none needs another, all take turns."""
        return self.mode != "uniform" and any(self.needs.values())

    def leave_out(self, name: str) -> None:
        """Reckon with a task no more; nothing waits for it."""
        self.needs = {
            task: tuple(needed for needed in needs if needed != name)
            for task, needs in self.needs.items()
            if task != name
        }

    def waits_for(self, name: str) -> tuple[str, ...]:
        """What a task needs and is not good enough yet; nothing where it is so itself, or was mastered."""
        history = self.histories[name]
        if self.mode == "uniform" or history.able or history.was_mastered:
            return ()
        return tuple(needed for needed in self.needs[name] if not self.histories[needed].able)

    def standing(self, name: str) -> Standing:
        """Where a task stands."""
        history = self.histories[name]
        if history.mastered:
            return Standing.MASTERED
        if history.was_mastered:
            return Standing.REGRESSED
        return Standing.WAITING if self.waits_for(name) else Standing.PRACTISING

    def standings(self) -> dict[str, Standing]:
        """Where all of them stand."""
        return {name: self.standing(name) for name in self.needs}

    def shares(self) -> dict[str, float]:
        """Which share of all practice each task should have."""
        if not self.directed:
            return {name: 1.0 / len(self.needs) for name in self.needs}
        kept = [name for name in self.needs if self.histories[name].mastered]
        wants = {name: self._want(name) for name in self.needs if name not in kept}
        keeping = (KEEPING if wants else 1.0) if kept else 0.0
        total = sum(wants.values())
        return {
            name: (1.0 - keeping) * wants[name] / total if name in wants else keeping / len(kept) for name in self.needs
        }

    def attempted(self, tried: Tried) -> tuple[Change, ...]:
        """Learn from one attempt of a task. Returns what stands elsewhere since the last time."""
        if tried.skill not in self.needs:
            return ()
        self.histories[tried.skill].add(tried)
        before, self._told = self._told, self.standings()
        return tuple(
            Change(
                skill=name,
                before=before[name],
                after=after,
                successes=self.histories[name].successes,
                attempts=len(self.histories[name].newest),
            )
            for name, after in self._told.items()
            if after is not before[name]
        )

    def _want(self, name: str) -> float:
        history = self.histories[name]
        if self.waits_for(name):
            return TRYING
        if history.was_mastered:
            return URGENCY
        progress = history.progress
        return LEAST + (CURIOSITY if progress is None else max(progress, history.uncertainty))


def needs_of(tasks: Sequence[Skill]) -> dict[str, tuple[str, ...]]:
    """Of each task, those among ``tasks`` that it builds on: what it requires, and the next easier of its like.

    Raises:
        ValueError: some wait for each other.
    """
    names = {skill.name for skill in tasks}
    needs = {
        skill.name: tuple(
            dict.fromkeys((*(name for name in skill.requires if name in names), *_next_easier(skill, tasks)))
        )
        for skill in tasks
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise ValueError(
            f"skills wait for each other: {' before '.join(error.args[1])}; change `requires` or `level` of one"
        ) from error
    return needs


def successes_for(least: float, attempts: int) -> int | None:
    """How many of so many newest attempts lift the lower end of the interval to ``least``; None: all would not."""
    return next((n for n in range(attempts + 1) if _interval(n, attempts)[0] >= least), None)


def success_rate(tries: Sequence[Tried]) -> float:
    """Share of attempts that succeeded."""
    return sum(tried.success for tried in tries) / len(tries)


def mean_reward(tries: Sequence[Tried]) -> float:
    """Reward per step, over attempts."""
    return sum(tried.mean_reward for tried in tries) / len(tries)


def _next_easier(skill: Skill, tasks: Sequence[Skill]) -> tuple[str, ...]:
    """Those of the same kind of difficulty that are just easier than a skill."""
    if skill.level is None:
        return ()
    easier: dict[float, list[str]] = {}
    for other in tasks:
        level = other.level
        alike = level is not None and (level.of, level.axis) == (skill.level.of, skill.level.axis)
        if level is not None and alike and level.value < skill.level.value:
            easier.setdefault(level.value, []).append(other.name)
    return tuple(easier[max(easier)]) if easier else ()


@cache
def _interval(successes: int, attempts: int) -> tuple[float, float]:
    return proportion_interval(successes, attempts, CONFIDENCE)
