"""The smallest learner of walking, for tests of its process and of what it learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakes import fake_spec

from agent.learner_messages import LearnerJob, StoredAttempts
from skills.walk import WALKING_SKILLS


def learner_job(snapshots: Path, checkpoints: Path, **changes: Any) -> LearnerJob:
    """How to start it."""
    fields: dict[str, Any] = {
        "spec": fake_spec(),
        "family": "walk",
        "skills": tuple(skill.name for skill in WALKING_SKILLS),
        "history": 2,
        "seed": 7,
        "settings": {"hidden": (16,), "batch": 16},
        "capacity": 10_000,
        "updates_per_step": 0.5,
        "warmup_steps": 0,
        "idle_updates_per_step": 0.0,
        "torch_threads": 1,
        "core": None,
        "snapshot_dir": snapshots,
        "checkpoint_dir": checkpoints,
        "max_checkpoint_seq": None,
        "episodes": StoredAttempts(),
    }
    return LearnerJob(**fields | changes)
