"""All that looks after a robot that may not be what it was, made at the start of a run."""

from __future__ import annotations

from dataclasses import dataclass

from agent.checkups import CheckUps, stored_checkups
from agent.compensated_robot import CompensatedRobot
from agent.config import LearnerConfig
from agent.drift_ladder import DriftLadder, stored_usual
from agent.drift_watch import DriftWatch, stored_status
from agent.notes import Notes
from meta.checkup import CheckUp
from meta.diagnosis import Diagnosis, diagnosis_path
from meta.drift_monitor import Condition, DriftMonitor
from persistence.writer import StoreWriter
from sim.robot import Robot


@dataclass(frozen=True, kw_only=True)
class DriftCare:
    """What is there of it; nothing where changes are not watched for."""

    watch: DriftWatch | None = None
    ladder: DriftLadder | None = None
    checkups: CheckUps | None = None


def can_be_made_up_for(robot: Robot) -> Robot:
    """The robot, with a layer that corrects what has drifted where check-ups can name it."""
    return CompensatedRobot(robot) if diagnosis_path(robot.spec.name).is_file() else robot


def drift_care(
    robot: Robot, dt_s: float, family: str, config: LearnerConfig, writer: StoreWriter, notes: Notes
) -> DriftCare:
    """Watch a robot whose skills of one family learn, from what was known of it when it was last watched.

    Args:
        robot: as `can_be_made_up_for` gives it.
        dt_s: control period.
        family: of the skills to follow.
        config: of the learner.
        writer: of the home's books.
        notes: get what is found.
    """
    before = writer.submit(stored_status).result()
    monitor = DriftMonitor(
        robot.spec,
        false_alarms_per_h=config.false_drifts_per_h,
        condition=before.condition or Condition.USUAL,
        checked_up=isinstance(robot, CompensatedRobot),
    )
    watch = DriftWatch(monitor, robot.spec, family, notes.drift_found, before)
    ladder = DriftLadder(watch, notes.degraded, writer.submit(stored_usual).result())
    checkups = None
    if isinstance(robot, CompensatedRobot):
        motion = CheckUp(robot.spec, dt_s)
        usual = writer.submit(lambda store: stored_checkups(store, motion)).result()
        diagnosis = Diagnosis.read(diagnosis_path(robot.spec.name))
        checkups = CheckUps(robot, diagnosis, motion, watch, notes.checked_up, usual)
    return DriftCare(watch=watch, ladder=ladder, checkups=checkups)
