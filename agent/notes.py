"""Writes to the log and into the books what the parts of a run tell while it runs."""

from __future__ import annotations

import sys
from dataclasses import asdict

import structlog

from agent.clearance import Verdict
from agent.learner_messages import Saved
from agent.ledger import Ledger
from agent.pushes import PUSH
from agent.success_watch import SUCCESS_WITHOUT_CAUSE, Jump
from persistence.records import CheckpointRow, DriftEvent, PolicyRow
from sim.robot import Clock
from skills.learners.drift_offsets import SearchNews

SEARCH_BEGUN, SEARCH_OVER = "offset_search_begun", "offset_search_over"
"""Kinds of rows among the drift events: what a skill earns under a known drift is searched to be bettered."""


class Notes:
    """Of one run. Nothing may be told before `open`."""

    def __init__(self) -> None:
        """No books yet."""
        self.last_error: str | None = None
        """What last went wrong, for people."""
        self._log = structlog.get_logger()
        self._ledger: Ledger
        self._clock: Clock
        self._family = ""

    def open(self, ledger: Ledger, clock: Clock, family: str) -> None:
        """Begin to write into ``ledger``, with the robot time of ``clock``; ``family`` is that of the policies."""
        self._ledger, self._clock, self._family = ledger, clock, family

    def examined(self, verdict: Verdict) -> None:
        """A policy has had its safety evaluation."""
        self._log.info("policy.examined", **asdict(verdict))
        self._ledger.clearance(asdict(verdict), self._clock.now_s())

    def saved(self, saved: Saved) -> None:
        """A checkpoint is on disk."""
        row = CheckpointRow(seq=saved.seq, robot_s=saved.robot_s, path=saved.name, manifest_sha256=saved.sha256)
        policy = PolicyRow(
            version=saved.version,
            robot_s=saved.robot_s,
            family=self._family,
            updates=saved.updates,
            file=saved.name,
            figures=saved.figures,
            parent=saved.ancestry.parent,
            origin=saved.ancestry.origin,
            attempts=saved.ancestry.attempts,
        )
        self._ledger.checkpoint(row, policy)

    def success_jumped(self, jump: Jump, robot_s: float) -> None:
        """Success is not what it was and nothing else tells why: perhaps it is only told wrongly now."""
        self._log.warning("success.without_cause", **asdict(jump))
        self._ledger.drift(DriftEvent(kind=SUCCESS_WITHOUT_CAUSE, robot_s=robot_s, detail=asdict(jump)))

    def drift_found(self, row: DriftEvent) -> None:
        """The robot is not what it was, or is so again."""
        self._log.warning(f"drift.{row.kind}", robot_s=row.robot_s, **row.detail)
        self._ledger.drift(row)

    def checked_up(self, row: DriftEvent) -> None:
        """A check-up is over."""
        told = {name: value for name, value in row.detail.items() if name != "features"}
        self._log.info(f"drift.{row.kind}", robot_s=row.robot_s, **told)
        self._ledger.drift(row)

    def degraded(self, done_well: float) -> None:
        """A changed robot does badly: only this share of its attempts is done well."""
        self._log.warning("drift.degraded", done_well=done_well, robot_s=self._clock.now_s())

    def searched(self, news: list[SearchNews]) -> None:
        """Offsets are searched for under a drift, or no more. Empties ``news``."""
        for each in news:
            kind = SEARCH_OVER if each.over else SEARCH_BEGUN
            detail = {"drift": each.drift, "skill": each.skill, "share": round(each.share, 3)}
            self._log.info(f"drift.{kind}", **detail)
            self._ledger.drift(DriftEvent(kind=kind, robot_s=self._clock.now_s(), detail=detail))
        news.clear()

    def pushed(self, robot_s: float) -> None:
        """Somebody has knocked the robot."""
        self._ledger.fault(PUSH, robot_s, "soft", injected=True)

    def learner_restarted(self, reason: str) -> None:
        """The learner had died or was silent."""
        self._went_wrong("learner.restarted", reason, "learner")

    def robot_restarted(self, reason: str) -> None:
        """The robot's process had died."""
        self._went_wrong("robot.restarted", reason, "robot_process")

    def skipped(self, notes: list[str]) -> None:
        """Which stored attempts or checkpoints were damaged; the run goes on without them. Empties ``notes``."""
        for note in notes:
            self._log.warning("learner.skipped", what=note)
            sys.stderr.write(f"damaged and not used: {note}\n")
            self.last_error = note
        notes.clear()

    def refused(self, reasons: list[str]) -> None:
        """Updates that diverged were undone; the robot goes on with the last good policy. Empties ``reasons``."""
        for reason in reasons:
            self._log.error("learner.refused", reason=reason)
            self.last_error = f"updates undone: {reason}"
            self._ledger.fault("learner_diverged", self._clock.now_s(), "soft")
        reasons.clear()

    def _went_wrong(self, event: str, reason: str, fault: str) -> None:
        self._log.error(event, reason=reason)
        self.last_error = reason
        self._ledger.fault(fault, self._clock.now_s(), "soft")
