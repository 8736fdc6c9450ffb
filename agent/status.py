"""What the daemon is doing now: a record that it writes twice a second and anyone may read.

Nothing here opens the database or imports a heavy library, so that ``perdure status`` answers at once. The file alone
does not prove that the daemon lives: the lock does.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from persistence.home import Home, lock_holder


@dataclass(frozen=True, kw_only=True)
class Status:
    """One moment of a run. Every field has a default, so that older and newer files can be read."""

    pid: int = 0
    run_id: int | None = None
    state: str = "BOOT"
    """Name of the operating state."""
    skill: str | None = None
    """Skill of the running attempt; None between attempts."""
    attempt: int | None = None
    """Id of the running or last attempt."""
    attempts: int = 0
    """Attempts finished since the home was created."""
    robot_s: float = 0.0
    """Robot clock."""
    observed_hours: float = 0.0
    productive_hours: float = 0.0
    speed_mps: float | None = None
    """Smoothed forward speed of the last forward walk."""
    falls: int = 0
    self_recoveries: int = 0
    interventions: int = 0
    failures: int = 0
    mtbf_hours: float | None = None
    """None while there was no failure."""
    mtbf_lower_hours: float | None = None
    mtbf_upper_hours: float | None = None
    """None while there was no failure."""
    policy_version: int | None = None
    drift: str | None = None
    """``usual``, ``changed`` or ``habit`` (changed for long); None: not watched, or nothing to compare with yet."""
    drift_since_s: float | None = None
    """Robot time at which a change was found."""
    drift_joint: str | None = None
    """Joint that has changed most."""
    drift_cause: str | None = None
    """What a check-up has found, and how much of it, such as ``motor_strength 0.5``."""
    updates: int = 0
    """Learner updates since the home was created."""
    updates_per_s: float = 0.0
    """Learner updates per second of wall time."""
    realtime_factor: float = 0.0
    """Robot seconds per second of wall time."""
    home: str = ""
    robot: str = ""
    seed: int = 0
    mode: str = "max"
    """``realtime`` or ``max``."""
    last_error: str | None = None
    wall_utc: str = ""
    """When this was written, ISO 8601 in UTC; empty: `write_status` fills it in."""

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values; a number that is not finite becomes None, as JSON has no word for it."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Status:
        """Read what `to_dict` gave, ignoring fields that this version does not know."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})


@dataclass(frozen=True, kw_only=True)
class StatusReport:
    """The last status of a home, and whether it still holds."""

    running: bool
    """Whether a daemon holds the lock of the home now."""
    status: Status | None
    """None when no daemon has written one yet, or when a starting daemon has not replaced the one before it."""
    age_s: float | None
    """Wall seconds since the status was written."""

    def to_dict(self) -> dict[str, Any]:
        """``running``, ``age_s`` and, if there is one, the fields of the status."""
        facts = self.status.to_dict() if self.status is not None else {}
        return {"running": self.running, "age_s": self.age_s, **facts}


def write_status(home: Path, status: Status) -> None:
    """Replace the status file of ``home``: a reader sees the old one or the new one, never a part.

    It is not synced to disk: it is worthless after a power loss, and twice a second is too often for a sync.
    """
    data = status.to_dict()
    data["wall_utc"] = data["wall_utc"] or datetime.now(UTC).isoformat(timespec="milliseconds")
    path = Home(home).status
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(data, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_status(home: Path) -> StatusReport:
    """Read the status of ``home`` and check by the lock whether its daemon lives.

    Raises:
        ValueError: the home does not exist, or its status file is damaged.
    """
    paths = Home(home)
    if not home.is_dir():
        raise ValueError(f"no home directory {home}; start with `perdure run`, or name another with --home")
    owner = lock_holder(paths)
    try:
        status = Status.from_dict(json.loads(paths.status.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return StatusReport(running=owner is not None, status=None, age_s=None)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{paths.status} is damaged ({error}); the daemon replaces it when it runs") from error
    if owner is not None and owner.pid > 0 and owner.pid != status.pid:
        return StatusReport(running=True, status=None, age_s=None)
    return StatusReport(running=owner is not None, status=status, age_s=_age_s(status.wall_utc))


def _age_s(wall_utc: str) -> float | None:
    try:
        written = datetime.fromisoformat(wall_utc)
    except ValueError:
        return None
    if written.tzinfo is None:
        return None
    return round(max(0.0, (datetime.now(UTC) - written).total_seconds()), 3)
