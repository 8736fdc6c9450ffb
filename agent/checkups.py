"""Check-ups between attempts: why a robot is not what it was, and what can be made up for.

The first few show what the robot is like as it usually is. Once it is suspected to have changed (`agent.drift_watch`),
another one is compared with them; what it names is entered into the books, and compensated for as far as that can be
done (`agent.compensated_robot`). The next one says whether that has brought the robot nearer to what it was; if not, it
is undone, and if so, what is still wrong with it may be named, too. A robot that is compensated for and changes anew is
checked up as it is, first: if that names nothing, and it rests as usual, what is compensated for is right, and only the
walk is another. Else another one follows at once, without that: it may have been repaired.

Some drifts hardly show in a walk, and a robot that is compensated for may be repaired unseen: so there is a check-up
from time to time, too. What such a one names that was not known, or no longer names, has to be named twice in a row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from agent.attempts import Interrupt
from agent.compensated_robot import CORRECTED, CompensatedRobot
from agent.drift_watch import DriftWatch
from agent.loop import Act, Tick
from meta.checkup import CheckUp
from meta.diagnosis import COMPARED, Cause, Diagnosis
from persistence.records import DriftEvent
from persistence.transactions import StoreBase
from sim.drift import KINDS, Drift, DriftKind
from sim.robot import Array, Command, Observation

CHECKED_UP, DIAGNOSED = "checked_up", "drift_diagnosed"
"""Kinds of rows among the drift events: the features of a usual robot; what a changed one has, if anything is named."""
APART_S = 60.0
"""Robot time between two of them, and between two tries to name a change."""
TRIES = 2
"""Check-ups after errors have alarmed until one names something; of what is only suspected, one."""
ROUTINE_S, RECHECK_S, UNSETTLED_S = 1800.0, 120.0, 60.0
"""Robot time between check-ups of a robot that seems to be what it was, of one that is compensated for or has changed
by what none has named, and of one that is compensated for and has changed all the same."""
CALM_MISFIT = 1.8
"""A robot that is no farther from what it usually is at rest (`Diagnosis.misfit`) is as usual: usual ones reach
1.4, ones that are made up for exactly no more, and of those made up for by 15 % too much or too little four fifths are
no farther."""
WRONG_STANCE_RAD = 0.35
"""A robot that rests with a joint farther from where it usually is does not stand as it should, whatever has drifted: a
leg is not where it belongs. Of 288 check-ups under drifts one was: a leg had given way. In all others that were tried,
joints were at most 0.18 rad from there."""
SIZES_APART = 1.5
"""What is named of a place that is made up for is news if its size is so many times the known one, or so many times
smaller: sizes are 4 to 13 % off (median), each time."""
MOST = 3
"""Drifts that are compensated for at a time."""


def stored_checkups(store: StoreBase, motion: CheckUp) -> tuple[Array, ...]:
    """Features of the robot as it usually is, that earlier runs have measured in this motion."""
    rows = store.rows("SELECT detail FROM drift_events WHERE kind = ? ORDER BY id", (CHECKED_UP,))
    details = [json.loads(row["detail"]) for row in rows]
    return tuple(np.array(it["features"], np.float64) for it in details if it.get("motion") == motion.name)


class CheckUps:
    """Of one robot."""

    def __init__(
        self,
        robot: CompensatedRobot,
        diagnosis: Diagnosis,
        motion: CheckUp,
        watch: DriftWatch,
        told: Callable[[DriftEvent], None],
        usual: Sequence[Array] = (),
    ) -> None:
        """Compare check-ups.

        Args:
            robot: is told what to make up for.
            diagnosis: what drifts do to check-ups of such a robot.
            motion: what it does.
            watch: says whether the robot is what it was, and hears what has drifted.
            told: gets a row for each check-up.
            usual: features that earlier runs have measured.
        """
        self._robot, self._diagnosis, self._watch, self._told = robot, diagnosis, watch, told
        self._motion = motion
        self._usual = list(usual)
        self._last_s = -np.inf
        self._looked_at: float | None = None
        """When errors alarmed for which check-ups are; None: they did not."""
        self._tries = 0
        self._doubt: _Doubt | None = None
        """What a routine check-up has named that was not known, until another one confirms it."""
        self._proven: tuple[Drift, ...] = ()
        """What it was good to compensate for."""
        self._settled: tuple[Drift, ...] = ()
        """What it was compensated for when it was last said to be what it was."""
        self._no_better = False
        """Whether the last one said that what is made up for makes the robot rest no better."""
        self._seen_as_it_is = False
        """Whether a changed robot that is made up for has been checked up as it is, with that."""
        self._stood_wrongly = False
        """Whether the last one found the robot in no stance to be checked up."""
        self._misfit: float | None = None
        """How far the robot was from what it usually is before it was compensated for, until that has proved good."""
        self._commanded = -1
        """Control period of the motion that was commanded last."""

    def due(self, robot_s: float) -> bool:
        """Whether the robot, which stands, had better be checked up."""
        alarmed_s = self._watch.alarmed_s
        if alarmed_s != self._looked_at:
            self._looked_at = alarmed_s
            if alarmed_s is not None:
                self._tries, self._last_s, self._doubt, self._misfit = 0, -np.inf, None, None
                self._seen_as_it_is = False
        since_s = robot_s - self._last_s
        if self._stood_wrongly and since_s < UNSETTLED_S:
            return False
        if self._misfit is not None or self._doubt is not None:
            return True
        if self._changed_anew:
            return len(self._usual) > 0 and since_s >= APART_S
        if len(self._usual) < COMPARED:
            # A robot that is compensated for counts as usual, and is not what it usually is.
            return self._watch.alarmed_s is None and not self._robot.drifts and since_s >= APART_S
        if self._robot.drifts:
            return since_s >= (UNSETTLED_S if self._watch.changed else RECHECK_S)
        return since_s >= (RECHECK_S if self._watch.changed else ROUTINE_S)

    @property
    def _changed_anew(self) -> bool:
        """Whether there is a change that check-ups may still name, or one is suspected and none has looked."""
        return self._watch.alarmed_s is not None and self._tries < (TRIES if self._watch.changed else 1)

    def run(self, tick: Callable[[Act], Tick]) -> bool:
        """Check the robot up, from its stance; no longer than it takes to see that it is made up for.

        Returns:
            Whether it stood as it should, or did not for the second time running: then it says nothing of drift, and
            standing up anew has not helped. Where a fall had to be caught meanwhile nothing has been learned.

        Raises:
            Interrupt: as ``tick`` does; then nothing has been learned, and what was made up for still is.
        """
        before, motion = self._robot.drifts, self._motion
        proving = self._misfit
        # What was named rightly need not be named anew, less clearly, because the walk is not what it was all the same.
        corrected = any(drift.kind in CORRECTED for drift in before)
        as_it_is = corrected and self._changed_anew and not self._seen_as_it_is
        if proving is None and not as_it_is:
            self._robot.compensate(())
        try:
            readings = self._readings(tick, range(motion.resting_periods))
            resting = motion.resting(readings)
            if self._off_rad(resting) > WRONG_STANCE_RAD:
                self._robot.compensate(before if proving is None else self._proven)
                if proving is not None:
                    undone = [drift.to_dict() for drift in before]
                    self._misfit = None
                    self._tell({"undone": undone, "stance": "wrong"})
                again, self._stood_wrongly = self._stood_wrongly, True
                return again
            self._stood_wrongly = False
            misfit = self._diagnosis.misfit(self._usual, resting) if self._usual else 0.0
            if proving is not None and not self._better(proving, misfit):
                return True
            readings += self._readings(tick, range(motion.resting_periods, motion.periods))
        except Interrupt:
            self._robot.compensate(before)
            raise
        except _CaughtError:
            self._robot.compensate(before)
            self._last_s = -np.inf
            return True
        features = motion.features(readings)
        if proving is not None:
            self._name_further(features, misfit)
        elif as_it_is:
            self._seen_as_it_is = True
            named = self._named(features)
            if named is None:
                self._tries = TRIES
            if named is not None or misfit >= CALM_MISFIT:
                return self.run(tick)  # without what is made up for
        elif self._changed_anew:
            self._tries += 1
            self._act(self._named(features), misfit, before)
        elif len(self._usual) < COMPARED:
            self._usual.append(features)
            self._told(self._row(CHECKED_UP, {"motion": motion.name, "features": np.round(features, 6).tolist()}))
        else:
            self._compare(before, features, misfit)
        return True

    def undo(self, robot_s: float) -> None:
        """Make up for nothing any more, where that may be what keeps the robot from standing up: a motor that was
        repaired meanwhile is driven too hard. If it is still changed it is checked up anew.
        """
        if not self._robot.drifts:
            return
        undone = [drift.to_dict() for drift in self._robot.drifts]
        self._robot.compensate(())
        self._proven, self._settled, self._misfit, self._doubt, self._tries = (), (), None, None, 0
        self._told(DriftEvent(kind=DIAGNOSED, robot_s=robot_s, detail={"undone": undone, "stand_up": "failed"}))
        self._watch.diagnosed((), robot_s)

    def _readings(self, tick: Callable[[Act], Tick], periods: range) -> list[Observation]:
        """What is measured after each of these control periods of the motion.

        Raises:
            _CaughtError: the robot did something else in one.
        """
        readings = []
        for period in periods:
            self._commanded = -1
            now = tick(partial(self._command, period))
            if self._commanded != period:
                raise _CaughtError
            readings.append(now.observation)
            self._last_s = now.robot_s
        return readings

    def _off_rad(self, resting: Array) -> float:
        """How far a joint rests from where it usually does, at most."""
        if not self._usual:
            return 0.0
        usual = np.mean(self._usual, axis=0)
        return float(np.abs(self._motion.joint_angles(resting) - self._motion.joint_angles(usual)).max())

    def _command(self, period: int, observation: Observation) -> Command:
        del observation
        self._commanded = period
        return self._motion.command(period)

    def _named(self, features: Array) -> _Named | None:
        found = self._diagnosis.diagnose(self._usual, features)
        return None if found is None else _Named(drift_of(found.cause), found.clarity)

    def _compare(self, before: tuple[Drift, ...], features: Array, misfit: float) -> None:
        """A routine check-up of a robot that was compensated for these drifts."""
        named = self._named(features)
        drift = None if named is None else named.drift
        doubt, self._doubt = self._doubt, None
        self._robot.compensate(before)
        if any(much_the_same(drift, known) for known in before or (None,)):
            return
        if self._watch.changed or (doubt is not None and same_place(doubt.drift, drift)):
            self._act(named, misfit, before)
        elif doubt is None:
            self._doubt = _Doubt(drift)

    def _act(self, named: _Named | None, misfit: float, before: tuple[Drift, ...]) -> None:
        """Compensate for what a check-up of a robot that was not compensated for has named, and for nothing else.

        Args:
            named: None: nothing.
            misfit: how far from usual the robot rests.
            before: what was compensated for until it began.
        """
        self._proven = ()
        if named is None:
            self._settled = ()
            self._robot.compensate(())
            self._tell({})
            if before and misfit < CALM_MISFIT:
                self._watch.settle(self._last_s)  # repaired: what changes next is to be seen at once
            return
        self._tries = TRIES
        self._try(named, misfit)

    def _try(self, named: _Named, misfit: float) -> None:
        """Compensate for one drift more; the next check-up says whether it is right to."""
        drift, corrected = named.drift, named.drift.kind in CORRECTED
        self._misfit, self._no_better = misfit if corrected else None, False
        self._robot.compensate(together(self._proven, drift))
        detail = {"clarity": round(named.clarity, 2), "drift": drift.to_dict(), "joints": list(drift.joints)}
        self._tell(detail | {"compensated": corrected})

    def _better(self, before: float, after: float) -> bool:
        """Whether a robot rests nearer to what it usually does for what the last check-up named: it is rest that says
        so, since a robot on four stiff legs that moved may come to stand on other three.

        Returns:
            Whether it does, but not as usual: then more is to be named.
        """
        self._misfit = None
        if after >= max(before, CALM_MISFIT):
            if not self._no_better:
                # Once is chance: something may have touched it.
                self._no_better, self._misfit = True, before
                return False
            undone = [drift.to_dict() for drift in self._robot.drifts]
            self._robot.compensate(self._proven)
            self._tell({"undone": undone, "misfit": [round(before, 2), round(after, 2)]})
            return False
        self._no_better = False
        self._proven = self._robot.drifts
        if after < CALM_MISFIT and not same_places(self._proven, self._settled):
            # Else its repair would go unseen until it has been calm for long. Only once for the same: if it is still
            # found to have changed, it has.
            self._settled = self._proven
            self._watch.settle(self._last_s)
        return after >= CALM_MISFIT and len(self._proven) < MOST

    def _name_further(self, features: Array, misfit: float) -> None:
        """Compensate for what is still wrong with the robot, too."""
        further = self._named(features)
        if further is not None and further.drift.kind in CORRECTED:
            self._try(further, misfit)

    def _tell(self, detail: Mapping[str, object]) -> None:
        self._told(self._row(DIAGNOSED, detail))
        self._watch.diagnosed(self._robot.drifts, self._last_s)

    def _row(self, kind: str, detail: Mapping[str, object]) -> DriftEvent:
        return DriftEvent(kind=kind, robot_s=self._last_s, detail=dict(detail))


class _CaughtError(Exception):
    """A fall was caught meanwhile: that is no check-up, and the next one comes at once."""


@dataclass(frozen=True)
class _Named:
    """What a check-up names."""

    drift: Drift
    clarity: float


@dataclass(frozen=True)
class _Doubt:
    """What has to be named again to be believed; None: that nothing has drifted."""

    drift: Drift | None


def together(known: tuple[Drift, ...], drift: Drift) -> tuple[Drift, ...]:
    """Drifts of a robot that drifts by one more beside those that are known; two of one place are one."""
    same = [one for one in known if same_place(one, drift)]
    if not same:
        return (*known, drift)
    both = same[0].size * drift.size if drift.kind is DriftKind.MOTOR_STRENGTH else same[0].size + drift.size
    return tuple(replace(one, size=both) if one is same[0] else one for one in known)


def same_places(some: Sequence[Drift], others: Sequence[Drift]) -> bool:
    """Whether these are drifts of the same places, whatever their sizes."""
    return len(some) == len(others) and all(any(same_place(one, other) for other in others) for one in some)


def same_place(one: Drift | None, other: Drift | None) -> bool:
    """Whether two drifts are the same but for how much; None is none."""
    if one is None or other is None:
        return one is other
    return one.place == other.place


def much_the_same(one: Drift | None, other: Drift | None) -> bool:
    """Whether two drifts are of the same place, and of sizes that a check-up hardly tells apart; None is none."""
    if one is None or other is None or not same_place(one, other):
        return one is other
    return one.size == other.size or 1.0 / SIZES_APART <= one.size / (other.size or math.inf) <= SIZES_APART


def drift_of(cause: Cause) -> Drift:
    """The drift that a check-up names; a size that there cannot be is the nearest that there can."""
    facts = KINDS[DriftKind(cause.kind)]
    size = min(max(cause.size, facts.low), facts.high)
    return Drift(kind=DriftKind(cause.kind), size=size, joints=cause.joints, axis=cause.axis, at_m=cause.at_m)
