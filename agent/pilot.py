"""What the robot does in each operating state.

One method per state. It runs until something happens, and returns the event; the table of `agent.states` says what
follows. Events that outrank what is being done are raised by the tick as `Interrupt` and end the method.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.abilities import Abilities
from agent.attempts import SIMULATION, Interrupt
from agent.balance import Balance
from agent.brain import Brain
from agent.checkups import CheckUps
from agent.drift_ladder import DRIFTED, DriftLadder
from agent.drift_watch import DriftWatch
from agent.latches import Acknowledgement
from agent.ledger import Ledger
from agent.loop import ControlLoop, Tick
from agent.operation import Operation
from agent.person import ASSIST_CAUSES, SimulatedPerson
from agent.perturbations import Perturbations
from agent.postures import Postures
from agent.practice import Practice
from agent.quarantine import NO_SKILL_LEFT, without_quarantined
from agent.recovery import Recovery
from agent.scene import Scene
from agent.scheduler import Scheduler
from agent.states import LATCHING, Event, Limits, State, torque_allowed
from agent.success_watch import SuccessWatch
from persistence.passages import Situation
from persistence.records import NOTHING_CAN_START, TASK_CUT_OFF
from sim.robot import Command, Observation
from sim.state import SimulationError
from sim.workspace import Workspace
from skills.skill import Skill

Act = Callable[[Observation], Command]

ROBOT_UNFIT = "robot_unfit"
"""Cause: the robot itself says after an attempt that it cannot go on."""
SETTLE_S = 0.4
"""How long the robot stands still between attempts, so that each starts from rest."""
_MOVING = frozenset({State.ARMING, State.ATTEMPT, State.DEGRADED, State.RESET, State.HOLD})
_FENCED = _MOVING | {State.RECOVER}
_BALANCED = _MOVING - {State.HOLD}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """When the run is over; None means never."""

    end_s: float | None
    attempts: int | None


class Pilot:
    """Runs the state machine on one robot until the run is over or somebody stops it."""

    def __init__(
        self,
        *,
        loop: ControlLoop,
        ledger: Ledger,
        brain: Brain,
        scheduler: Scheduler,
        abilities: Abilities,
        scene: Scene,
        workspace: Workspace,
        balance: Balance,
        person: SimulatedPerson | None,
        limits: Limits,
        goal: Goal,
        operation: Operation,
        housekeeping: Callable[[], None],
        run_jobs: Callable[[float], None],
        self_test: Callable[[Observation], list[str]],
        release: Callable[[Acknowledgement], bool] = lambda by: True,
        permit: bool = True,
        success_watch: SuccessWatch | None = None,
        perturbations: Perturbations | None = None,
        drift_watch: DriftWatch | None = None,
        ladder: DriftLadder | None = None,
        checkups: CheckUps | None = None,
    ) -> None:
        """Take over a robot that stands in BOOT.

        Args:
            loop: the control loop.
            ledger: the books.
            brain: where policies come from and attempts go to.
            scheduler: picks the next task.
            abilities: the skills to use.
            scene: what can start where the world is, and the ways between.
            workspace: where the robot may be.
            balance: catches falls while the robot moves.
            person: answers interventions; None leaves them to the operator.
            limits: durations and counts of the state machine.
            goal: when the run is over.
            operation: state, permit and latches to start from.
            housekeeping: called every control period; must be quick. It may raise `Interrupt`.
            run_jobs: runs what is due at a robot time; called while the robot stands.
            self_test: names what is wrong before anything moves.
            release: tells whoever else holds the robot what a person has said; returns whether nobody does any more.
            permit: whether motion may start without a further word: whoever starts a daemon allows it.
            success_watch: looks for success that changes without cause; None: nothing does.
            perturbations: what comes in between tasks; None: nothing does.
            drift_watch: follows how the robot moves; None: nothing does.
            ladder: what follows when the robot is not what it was; None: nothing does.
            checkups: look for what has drifted, between attempts; None: nothing does.
        """
        self.loop = loop
        self.ledger = ledger
        self.operation = operation
        self.stop_reason = ""
        self._abilities = abilities
        self._scene = scene
        self._balance = balance
        self._person = person
        self._limits = limits
        self._goal = goal
        self._housekeeping = housekeeping
        self._run_jobs = run_jobs
        self._self_test = self_test
        self._release = release
        self._ladder = ladder
        self._checkups = checkups
        self._postures = Postures(loop, self._tick)
        self.practice = Practice(
            loop=loop,
            ledger=ledger,
            brain=brain,
            scheduler=scheduler,
            scene=scene,
            workspace=workspace,
            postures=self._postures,
            tick=self._tick,
            goals=abilities.goals,
            success_watch=success_watch,
            perturbations=perturbations,
            drift_watch=drift_watch,
            ladder=ladder,
        )
        self._recovery = Recovery(
            loop=loop,
            ledger=ledger,
            practice=self.practice,
            postures=self._postures,
            tick=self._tick,
            ways=abilities.stand_ups,
            limits=limits,
            undo=checkups.undo if checkups is not None else lambda robot_s: None,
        )
        self._next: tuple[Skill, bool] | None = None
        self._lies_down = all(skill.lies_down for skill in abilities.tasks)
        # What has no feet has nothing to come to rest on.
        self._settle_s = SETTLE_S if loop.robot.spec.n_feet else 0.0
        self._entered_s = loop.reading.robot_s
        self._arming_failures = 0
        self._stuck = False
        """Whether a joint that is stuck ended the last attempt."""
        self._attempts = 0
        self._cause = ""
        self._help_cause = ""
        self._acknowledgement: Acknowledgement | None = None
        self._permit = permit
        self._behaviours: dict[State, Callable[[], Event]] = {
            State.BOOT: lambda: Event.BOOT_OK,
            State.SELF_TEST: self._in_self_test,
            State.STANDBY: self._in_standby,
            State.ARMING: self._in_arming,
            State.ATTEMPT: self._in_attempt,
            State.DEGRADED: self._in_degraded,
            State.RESET: self._in_reset,
            State.HOLD: self._in_hold,
            State.FALLING: self._in_falling,
            State.RECOVER: self._in_recover,
            State.LEARN_ONLY: self._in_learn_only,
            State.NEED_HUMAN: self._wait_for_person,
            State.SAFE_STOP: self._wait_for_person,
            State.ESTOP: self._wait_for_person,
            State.ENGINEERING: self._wait_for_operator,
        }

    # ------------------------------------------------------------ state machine

    def run(self) -> None:
        """Run until SHUTDOWN; then bring the robot to rest without torque."""
        while self.operation.state is not State.SHUTDOWN:
            self._cause = ""
            now_s = self.loop.reading.robot_s
            self._abilities = without_quarantined(self._abilities, self.practice, self.ledger, now_s)
            if not self._abilities.tasks and self.operation.accepts(Event.SIGTERM):
                self.stop_reason = NO_SKILL_LEFT
                self.apply(Event.SIGTERM, NO_SKILL_LEFT)
                continue
            try:
                event = self._behaviours[self.operation.state]()
            except Interrupt as interrupt:
                event, self._cause = interrupt.event, interrupt.cause
                if event is Event.SIGTERM and not self.operation.accepts(event):
                    # An emergency stop outranks everything, the end of the process too: its latch is kept, and the
                    # robot has no torque to come to rest with.
                    return
            self.apply(event, self._cause)
        self._postures.sit_down(self._limits.legs_under_rad)

    def apply(self, event: Event, cause: str = "") -> None:
        """Feed one event to the state machine and keep the books of it."""
        now_s = self.loop.reading.robot_s
        before = self.operation.state
        held = set(self.operation.latches)
        self._set(self.operation.apply(event, cause=cause, robot_s=now_s))
        if set(self.operation.latches) - held:
            self._acknowledgement = None  # what was said before says nothing of this
        state = self.operation.state
        if state is before:
            return
        self.ledger.enter(state.value, now_s)
        self._entered_s = now_s
        self.loop.monitors.reset()
        if state not in _BALANCED:
            self._balance.reset()
        if state in LATCHING:
            causes = [latch.cause for latch in self.operation.latches if latch.state is state]
            self._call_for_help(cause or (causes[-1] if causes else event.value), now_s)

    def _set(self, operation: Operation) -> None:
        """Take over a new operation; its latches and its permit are kept for the next start."""
        now_s = self.loop.reading.robot_s
        if operation.latches != self.operation.latches:
            self.ledger.latches(operation.latches.to_json(), now_s)
        if operation.permitted is not self.operation.permitted:
            self.ledger.permit(operation.permitted, now_s)
        self.operation = operation

    def _tick(self, act: Act | None) -> Tick:
        """One control period, watched: raises `Interrupt` for what outranks the present state."""
        state = self.operation.state
        if act is not None and not torque_allowed(state, self.loop.reading.robot_s - self._entered_s, self._limits):
            act = None  # I1, whatever a behaviour asks for
        if act is None:
            self._recovery.went_limp()
        if act is not None and state in _BALANCED and not self._lies_down:
            act = self._balanced(act)
        try:
            now = self.loop.tick(act)
        except SimulationError as error:
            self.ledger.fault(SIMULATION, self.loop.reading.robot_s, "hard")
            raise Interrupt(Event.HARD_FAULT, SIMULATION) from error
        self._housekeeping()
        if state in _FENCED and now.alerts.hard_fence:
            raise Interrupt(Event.HARD_FAULT, "hard_fence")
        if state in _MOVING and now.alerts.fallen and not self._lies_down:
            raise Interrupt(Event.FALL_PREDICTED, "fallen")
        if state in _BALANCED and self._balance.failed(now.observation):
            raise Interrupt(Event.FALL_PREDICTED, "leaning")
        if (state in _FENCED) and state is not State.HOLD and now.alerts.sensor_fault:
            self.ledger.fault("sensor", now.robot_s, "soft")
            raise Interrupt(Event.SOFT_FAULT, "sensor")
        return now

    def _balanced(self, act: Act) -> Act:
        """``act``, or what catches a fall while one is coming; each fall that was caught is entered into the books."""
        began_s, reading = self._balance.since_s, self.loop.reading
        command = self._balance.command(reading.observation, lambda: self.practice.falling(reading.observation))
        if began_s is None and command is not None:
            self.practice.caught(reading.observation)
        if began_s is not None and self._balance.since_s is None:
            took_s = reading.observation.stamp_s - began_s
            self.ledger.caught(reading.robot_s - took_s, reading.robot_s)
        return act if command is None else lambda observation: command

    # ------------------------------------------------------------------- at rest

    def _in_self_test(self) -> Event:
        problems = self._self_test(self._tick(None).observation)
        if not problems:
            return Event.SELFTEST_OK
        self._cause = f"self_test: {'; '.join(problems)}"
        return Event.SELFTEST_FAIL

    def _in_standby(self) -> Event:
        now = self.loop.reading
        if self._over(now.robot_s):
            return Event.SIGTERM
        while not self.operation.permitted:
            if self._permit:
                self._permit = False
                self.apply(Event.START_PERMIT)
            else:
                now = self._tick(None)
                if self._over(now.robot_s):
                    return Event.SIGTERM
        self._run_jobs(now.robot_s)
        if now.alerts.hot:
            return Event.SOFT_FAULT
        self._next = self.practice.choose(now)
        return Event.TASK_READY

    def _in_learn_only(self) -> Event:
        while self._tick(None).alerts.hot:
            pass
        return Event.SOFT_CLEAR

    def _wait_for_person(self) -> Event:
        """Damping while a safe stop settles, then no torque, until a person has acknowledged or time is up."""
        while True:
            now = self._tick(self._postures.damp if self.operation.state is State.SAFE_STOP else None)
            if torque_allowed(self.operation.state, now.robot_s - self._entered_s, self._limits):
                continue
            if self._time_is_up(now.robot_s):
                raise Interrupt(Event.SIGTERM, self.stop_reason)
            answer = self._person.answer(self._help_cause, now.robot_s) if self._person else None
            if answer is not None:
                self.loop.refresh()
                self.acknowledge(answer.name, answer.note, physical_release=answer.physical_release)
            if self._acknowledgement is not None and self._release(self._acknowledgement):
                by, self._acknowledgement = self._acknowledgement, None
                if self._clear_latches(by):
                    # What was allowed before counts no more. The simulated person allows motion by the same word.
                    self._permit = answer is not None
                    return Event.HUMAN_ACK

    def permit(self) -> None:
        """A person allows motion from STANDBY on. Starting the daemon is such a word; an acknowledgement is not."""
        self._permit = True

    def acknowledge(self, name: str, action: str, *, physical_release: bool = False) -> None:
        """A person has dealt with what held the robot; it counts once torque is off, and starts nothing."""
        self._acknowledgement = Acknowledgement(
            name=name,
            action=action,
            torque_off=True,
            physical_release=physical_release,
            given_s=time.monotonic(),
        )

    def _clear_latches(self, by: Acknowledgement) -> bool:
        """Clear what a person can clear. Returns whether nothing holds the robot any more."""
        latches = self.operation.latches
        for latch in latches:
            # The person has dealt with the cause; the self-test that follows looks for itself.
            latches = latches.condition_gone(latch.cause)
        self._set(replace(self.operation, latches=latches.acknowledge(by)))
        now_s = self.loop.reading.robot_s
        self.ledger.close_interventions(now_s, operator=by.name, note=by.action)
        self._recovery.forget_falls()
        if self._ladder is not None:
            self._ladder.start_over()
        self._arming_failures = 0
        return self.operation.latches.held_state is None

    def _wait_for_operator(self) -> Event:
        while True:
            self._tick(None)

    def _call_for_help(self, cause: str, now_s: float) -> None:
        if self._ladder is not None and self.operation.state is State.NEED_HUMAN:
            cause = self._ladder.called(cause)
        self._help_cause = cause
        self._scene.person_called(cause, now_s)
        self.ledger.open_intervention(cause, now_s, failure=cause not in ASSIST_CAUSES)
        if self._person is not None:
            self._person.call(now_s)

    # ------------------------------------------------------------------ attempts

    def _in_arming(self) -> Event:
        skill, _ = self._next or (None, False)
        if self._lies_down:
            return Event.ARMED
        self._recovery.get_up()
        now = self._postures.stand(self._settle_s)
        if skill is None:
            return Event.ARM_TIMEOUT
        problem = skill.start_problem(now.observation)
        while problem or now.observation.tilt_rad > self._limits.arming_tilt_rad:
            if now.robot_s - self._entered_s > self._limits.arming_s:
                self._arming_failures += 1
                if self._arming_failures >= self._limits.arming_tries:
                    lost = not self._scene.situation(now.observation)
                    self._cause = NOTHING_CAN_START if lost else "arming_failed"
                    return Event.SELFTEST_FAIL
                if self._arming_failures == 1 and self._abilities.stand_ups:
                    raise self._recovery.from_bad_stance()
                return Event.ARM_TIMEOUT
            now = self._postures.stand(self.loop.clock.dt_s)
            problem = skill.start_problem(now.observation)
        self._arming_failures = 0
        return Event.ARMED

    def _in_attempt(self) -> Event:
        return Event.DRIFT if self._ladder is not None and self._ladder.degraded else self._attempt()

    def _in_degraded(self) -> Event:
        """The robot is not what it was and does badly: it goes on with care, for so many attempts."""
        if self._ladder is None or not self._ladder.degraded:
            return Event.SELFTEST_OK
        if self._ladder.hopeless:
            self._cause = DRIFTED
            return Event.PERF_LOW
        return self._attempt(with_care=True)

    def _attempt(self, *, with_care: bool = False) -> Event:
        skill, evaluation = self._next or (self._abilities.tasks[0], False)
        self._recovery.attempting()
        result = self.practice.attempt(skill, evaluation=evaluation, with_care=with_care)
        self._attempts += 1
        if result.interrupt is not None:
            raise result.interrupt
        health = self.loop.robot.health()
        if not health.ok:
            self._cause = ROBOT_UNFIT
            return Event.HARD_FAULT
        stuck_before, self._stuck = self._stuck, result.end_reason == "saturated"
        if not self._stuck:  # a joint that is stuck is not moved on
            self.practice.come_to_rest()
        elif self._abilities.stand_ups and not (self._lies_down or stuck_before):
            # Mostly a leg is folded under the robot: to stand on it would burn its motor. Twice running it is no leg.
            raise self._recovery.from_bad_stance()
        return Event.ATTEMPT_TIMEOUT if result.end_reason == "time" else Event.ATTEMPT_DONE

    def _in_reset(self) -> Event:
        """Come back where a task can start, and with hot motors to where the robot can be left without torque."""
        event = self._come_back()
        if event is Event.RESET_OK and self.loop.reading.alerts.hot:
            self._postures.take_rest()
        return event

    def _come_back(self) -> Event:
        """Come back where a task can start; most attempts end there already.

        A reset is needed where neither a task nor what undoes it can start; each is tried a bounded number of times.
        Where nothing can start it may be the stance that is wrong, which arming sees to.
        """
        if self._lies_down:
            return Event.RESET_OK
        if self._person is not None and self._person.every_attempt:
            self._person.put_back()
            self.loop.refresh()
            self._scene.changed()
        self._recovery.get_up()
        left = {skill.name: self._limits.reset_tries for skill in self._abilities.resets}
        if self._checkups is not None and self._checkups.due(self.loop.reading.robot_s):
            self._postures.stand(self._settle_s)
            if not self._checkups.run(self._tick) and self._abilities.stand_ups:
                raise self._recovery.from_bad_stance()
        while True:
            here = self._settled_situation()
            stranded = self._scene.stranded(here)
            name = self._scene.reset_for(here, stranded, [name for name, tries in left.items() if tries > 0])
            if name is None:
                if any(skill.name in here for skill in self._abilities.tasks):
                    self._cause = TASK_CUT_OFF
                    lost = self._scene.cut_off(here, self.loop.reading.observation) is not None
                    return Event.RESET_FAIL if lost else Event.RESET_OK
                self._cause = "reset_failed"
                return Event.RESET_FAIL if any(name in here for name in left) else Event.RESET_OK
            # Where something else can be done meanwhile, one try has to do: the world may look different after it.
            left[name] = 0 if any(skill.name in here for skill in self._abilities.tasks) else left[name] - 1
            result = self.practice.attempt(self._scene.skill(name))
            if result.interrupt is not None:
                raise result.interrupt
            self.practice.come_to_rest()

    def _settled_situation(self) -> Situation:
        """What can start, once no sensor is blind for a moment and no limit holds the robot."""
        now = self._postures.stand(self._settle_s)
        end_s = now.robot_s + self._limits.settle_s
        tasks = {skill.name for skill in self._abilities.tasks}
        while True:
            here, passing = self._scene.situation(now.observation), now.alerts.pressed or not now.observation.base_valid
            if tasks <= here or not passing or now.robot_s >= end_s:
                return here
            now = self._postures.stand(self.loop.clock.dt_s)

    # --------------------------------------------------------------- falls, holds

    def _in_falling(self) -> Event:
        self._recovery.lie_still()
        return Event.BASE_STILL

    def _in_recover(self) -> Event:
        if self._person is not None and self._person.every_attempt:
            self._recovery.helped()
            return Event.UPRIGHT  # the reset that follows puts it back
        self._cause = self._recovery.stand_up()
        return Event.RECOVER_FAIL if self._cause else Event.UPRIGHT

    def _in_hold(self) -> Event:
        """Damp until the fault has been gone for a while."""
        start_s = clear_since_s = self.loop.reading.robot_s
        while True:
            now = self._tick(self._postures.damp)
            if now.alerts.sensor_fault:
                clear_since_s = now.robot_s
            if now.robot_s - clear_since_s >= self._limits.soft_clear_s:
                return Event.SOFT_CLEAR
            if now.robot_s - start_s > self._limits.hold_window_s:
                self._cause = "fault_did_not_clear"
                return Event.HARD_FAULT

    # ------------------------------------------------------------------- commands

    @property
    def tasks(self) -> tuple[Skill, ...]:
        """The tasks of this run."""
        return self._abilities.tasks

    def _over(self, now_s: float) -> bool:
        if not self._time_is_up(now_s) and self._goal.attempts is not None and self._attempts >= self._goal.attempts:
            self.stop_reason = "attempts reached"
        return bool(self.stop_reason)

    def _time_is_up(self, now_s: float) -> bool:
        if self._goal.end_s is None or now_s < self._goal.end_s:
            return False
        self.stop_reason = "hours reached"
        return True
