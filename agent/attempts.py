"""One attempt of one skill: drive the controller, decide when it is over, judge it, keep what it measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.drift_watch import DriftWatch
from agent.fence import FenceWatch
from agent.loop import ControlLoop, Tick
from agent.recorder import AttemptRecorder
from agent.states import Event
from persistence.records import CANNOT_BE_UNDONE, Outcome
from sim.robot import Command, FrameLayout, Observation
from sim.workspace import Workspace
from skills.contained import QUARANTINED, mistake_of
from skills.decisions import DecisionController
from skills.experience import AttemptArrays, attempt_return, mean_reward_terms, transitions
from skills.skill import Controller, LearnedSkill, Progress, Skill, SkillKind
from skills.success_classifier import SuccessClassifier

UNSAFE_ENDS = frozenset({"saturated", "power", "jolt", "joint_limit", "force"})
"""Ends of an attempt at a limit of the robot."""
GOAL = "goal"
"""End of an attempt whose goal, as a person has shown it, is reached."""
GOAL_DECISIONS = 3
"""So many policy decisions in a row find it reached before the attempt ends."""
ROBOT_CHANGED = "robot_changed"
"""End of an attempt in which the robot turned out to be not what it was, or is suspected not to be: it says nothing of
the skill, and the sooner it is over, the sooner the robot is checked up."""
SIMULATION = "simulation"
"""Cause of an interrupt by physics that exploded."""


class Interrupt(Exception):  # noqa: N818 - it carries an event of the state machine and is no error
    """An event that outranks what the robot is doing; raised by a tick, handled by the state machine."""

    def __init__(self, event: Event, cause: str) -> None:
        """Carry ``event`` with the constant name of its cause."""
        super().__init__(f"{event}: {cause}")
        self.event = event
        self.cause = cause


@dataclass(frozen=True, kw_only=True)
class AttemptResult:
    """What came of an attempt."""

    outcome: Outcome
    end_reason: str
    arrays: AttemptArrays | None
    """None when the skill's controller makes no decisions, or made none."""
    steps: int
    return_: float | None
    mean_reward: float
    measures: dict[str, float]
    """The skill's own; ``shielded``: the share of decisions that a shield took over; ``limited``: that of commands that
    the safety gate changed or refused. The last two only where there were any."""
    reward_terms: dict[str, float]
    interrupt: Interrupt | None
    """What cut the attempt short, for the state machine to handle."""


TickFunction = Callable[[Callable[[Observation], Command]], Tick]
Judge = Callable[[Observation, Observation], frozenset[str]]
"""Readings, one decision apart, to names of skills."""


class AttemptRunner:
    """Runs attempts on one control loop."""

    def __init__(
        self, loop: ControlLoop, workspace: Workspace, tick: TickFunction, drift_watch: DriftWatch | None = None
    ) -> None:
        """Use ``tick`` for each control period; it may raise `Interrupt`. ``drift_watch`` follows what is decided."""
        self._loop = loop
        self._workspace = workspace
        self._tick = tick
        self._drift_watch = drift_watch
        spec = loop.robot.spec
        self._layout = FrameLayout.of(spec)
        self._recording: tuple[AttemptRecorder, DecisionController] | None = None

    @property
    def recording(self) -> bool:
        """Whether an attempt is under way whose steps can be learned from."""
        return self._recording is not None

    def caught(self, observation: Observation) -> None:
        """A fall begins to be caught at this reading, which the running attempt, if there is one, does not act on."""
        if self._recording is not None:
            recorder, controller = self._recording
            recorder.caught(observation, controller.phase_rad)
            if self._drift_watch is not None:
                self._drift_watch.cut()

    def run(
        self,
        skill: Skill,
        controller: Controller,
        *,
        to_middle: bool = False,
        as_practised: bool = True,
        hopeless: Judge | None = None,
        goal: SuccessClassifier | None = None,
    ) -> AttemptResult:
        """Drive ``controller`` until the attempt is over.

        Args:
            skill: what is attempted.
            controller: what drives the robot.
            to_middle: whether to go no further than across the middle of the workspace.
            as_practised: whether the robot moves as it does in practice, so that ``drift_watch`` can judge it: a policy
                that tries nothing errs by the same all along, and seems to have changed; so does what is seldom done.
            hopeless: skills that could not undo any more what they are for, from a reading on, given that of the
                decision before. The attempt ends where one comes to them that was not among them when it began.
            goal: decides whether the attempt has succeeded, and ends it once it has; None: the skill's own rule does.
        """
        self._loop.monitors.reset()  # what was before, such as a joint at its limit, does not end this attempt
        now = self._loop.reading
        gate, changed, ticks = self._loop.gate, self._loop.gate.changed, 0
        controller.start(now.observation)
        deciding = controller if isinstance(controller, DecisionController) else None
        recorder = AttemptRecorder(self._layout, deciding.family.name, deciding.resting_action) if deciding else None
        self._recording = (recorder, deciding) if recorder is not None and deciding is not None else None
        if self._drift_watch is not None:
            self._drift_watch.begins(deciding if as_practised else None)
        # Half a control period of slack: sums of float periods must not cost or add one.
        end_s = now.robot_s + skill.horizon_s - 0.5 * self._loop.clock.dt_s
        # Where a robot has to stand up or to turn back is not its choice; the hard fence still ends both.
        fence = FenceWatch(self._workspace, to_middle=to_middle) if skill.kind is SkillKind.TASK else None
        # Who gets up from a heap is knocked about; who walks is not.
        upright = skill.kind is not SkillKind.RECOVERY and not skill.lies_down
        decided_at = now.observation
        given_up = hopeless(decided_at, decided_at) if hopeless is not None else frozenset()
        interrupt, reason, progress, reached = None, "", Progress.RUNNING, 0
        robot_changed = False

        def act(observation: Observation) -> Command:
            nonlocal robot_changed
            command = controller.act(observation)
            if deciding is not None and recorder is not None and deciding.decision is not None:
                recorder.decided(observation, deciding.decision)
                if self._drift_watch is not None:
                    now_s = self._loop.reading.robot_s
                    robot_changed = self._drift_watch.decided(observation, deciding.decision, now_s)
            return command

        try:
            while not reason:
                now = self._tick(act)
                ticks += 1
                progress = controller.progress(now.observation)
                place = fence.update(now.robot_s, now.observation) if fence is not None else ""
                reason = skill.over(now.observation) or self._over(now, progress, end_s, place, upright=upright)
                if reason or deciding is None or deciding.decision is None:
                    continue
                reached = reached + 1 if goal is not None and goal.reached(now.observation) else 0
                if robot_changed:
                    reason = ROBOT_CHANGED
                elif reached >= GOAL_DECISIONS:
                    reason = GOAL
                elif hopeless is not None and hopeless(decided_at, now.observation) - given_up:
                    reason = CANNOT_BE_UNDONE
                decided_at = now.observation
        except Interrupt as caught:
            interrupt, reason = caught, caught.cause
        self._recording = None
        last = self._loop.reading.observation
        arrays = recorder.finish(last, deciding.phase_rad) if deciding is not None and recorder is not None else None
        if interrupt is not None and interrupt.cause == SIMULATION:
            arrays = None  # nothing true can be learned from physics that exploded
        result = self._judge(skill, arrays, reason, progress, interrupt, goal)
        shares = {
            "shielded": recorder.shielded if recorder is not None else 0.0,
            "limited": (gate.changed - changed) / max(1, ticks),
        }
        if mistake_of(skill) is not None and interrupt is None:
            result = replace(result, outcome=Outcome.FAULT, end_reason=QUARANTINED)
        return replace(result, measures=result.measures | {name: share for name, share in shares.items() if share})

    @staticmethod
    def _over(now: Tick, progress: Progress, end_s: float, place: str, *, upright: bool) -> str:
        """Why the attempt is over; empty while it is not."""
        if progress is not Progress.RUNNING:
            return progress.value
        if now.alerts.saturated:
            return "saturated"
        if now.alerts.overpowered:
            return "power"
        if upright and now.alerts.jolted:
            return "jolt"
        if upright and now.alerts.overtravelled:
            return "joint_limit"
        if now.alerts.pressed:
            return "force"
        if now.alerts.hot:
            return "hot"
        return place or ("time" if now.robot_s >= end_s else "")

    def _judge(
        self,
        skill: Skill,
        arrays: AttemptArrays | None,
        reason: str,
        progress: Progress,
        interrupt: Interrupt | None,
        goal: SuccessClassifier | None,
    ) -> AttemptResult:
        steps = transitions(self._layout, arrays) if arrays is not None else None
        if goal is not None:
            success = reason == GOAL or goal.reached(self._loop.reading.observation)
        else:
            success = progress is Progress.SUCCEEDED or (steps is not None and skill.success(steps))
        return_: float | None = None
        terms: dict[str, float] = {}
        if steps is not None and isinstance(skill, LearnedSkill):
            return_, terms = attempt_return(skill, steps), mean_reward_terms(skill, steps)
        return AttemptResult(
            outcome=_outcome(reason, success=success, interrupt=interrupt),
            end_reason=reason,
            arrays=arrays,
            steps=len(steps) if steps is not None else 0,
            return_=return_,
            mean_reward=return_ / len(steps) if return_ is not None and steps is not None else 0.0,
            measures=skill.measures(steps) if steps is not None else {},
            reward_terms=terms,
            interrupt=interrupt,
        )


_OUTCOME_OF_EVENT = {
    Event.FALL_PREDICTED: Outcome.FALL,
    Event.SOFT_FAULT: Outcome.FAULT,
    Event.ESTOP: Outcome.ABORTED,
    Event.SIGTERM: Outcome.ABORTED,
    Event.OPERATOR_TAKE: Outcome.ABORTED,
}


def _outcome(reason: str, *, success: bool, interrupt: Interrupt | None) -> Outcome:
    if interrupt is not None:
        if interrupt.event is Event.HARD_FAULT:
            return Outcome.UNSAFE if interrupt.cause == "hard_fence" else Outcome.FAULT
        return _OUTCOME_OF_EVENT.get(interrupt.event, Outcome.FAULT)
    if reason in UNSAFE_ENDS:
        return Outcome.UNSAFE
    if reason == ROBOT_CHANGED:
        return Outcome.ABORTED
    if success:
        return Outcome.SUCCESS
    return Outcome.UNSAFE if reason == "fence" else Outcome.TIMEOUT
