"""The learner's own process: reads stored attempts, updates the policy, publishes snapshots, writes checkpoints.

The control loop and the learner share nothing but files and a pipe of small messages, so either can die without taking
the other along. A snapshot is published by renaming a file over the last one: whoever reads it sees a whole one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from bisect import bisect_left
from collections import deque
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.ancestry import CHECKPOINT, PRIOR_DATA, ZOO, Ancestry
from agent.learner_messages import (
    DRIFT,
    FALLS,
    OFFSETS,
    SHIELD,
    UNDO,
    Alive,
    Done,
    Failed,
    Ingest,
    LearnerJob,
    SaveCheckpoint,
    Saved,
    Snapshot,
    Stop,
)
from agent.parent import die_with_parent
from meta.drift_monitor import Condition
from skills.learners.drift_offsets import FIRST_VERSION, SearchNews

if TYPE_CHECKING:
    from agent.learning import Weights
    from persistence.checkpoints import Checkpoint
    from skills.learners.drift_offsets import DriftOffsets
    from skills.learners.learner import Arrays, AttemptSummary, Meta
    from skills.learners.risk import RiskLearner

RISK, DRIFT_OFFSETS = "risk", "drift_offsets"
"""Of a safety critic's state and of that of searches for offsets in a checkpoint; their tensors' names begin so."""
_IDLE_UPDATES = 25
_PUBLISH_EVERY_S = 2.0
_CATCH_UP_STEPS = 500
_MOST_UPDATES_BESIDE = 2000
"""Updates by which a starting learner makes up for all attempts, in what learns a bit from each."""
_UPDATES_BESIDE_AT_ONCE = 100
"""Between two signs of life."""
_ALIVE_EVERY = 200
"""Attempts that a starting learner reads between two signs of life."""
_SNAPSHOTS_KEPT = 4
"""The loop of a lockstep run is one snapshot behind the learner; two more leave room for a slow reader."""


def learner_main(connection: Connection, job: LearnerJob) -> None:
    """Entry point of the process."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if job.core is not None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {job.core})
    import torch

    torch.set_num_threads(job.torch_threads)
    with contextlib.suppress(EOFError, BrokenPipeError):
        try:
            worker = _Worker(connection, job)
        except (ValueError, RuntimeError, OSError) as error:
            connection.send(Failed(str(error)))
            return
        worker.run()


class _Worker:
    """State of the learner process."""

    def __init__(self, connection: Connection, job: LearnerJob) -> None:
        from agent.learning import Studies

        self._connection = connection
        self._job = job
        self._studies = Studies(job)
        self._buffer, self._learner = self._studies.buffer, self._studies.learner
        self._risk = self._studies.risk
        self._offsets = self._studies.offsets
        self._update_seconds = 0.0
        self._updates_made = 0
        """By this process, as those are what the seconds were spent on."""
        self._attempts = 0
        """Attempts handed over so far, those of earlier processes included."""
        self._steps_before = 0
        """Steps that earlier processes learned from and that this one has not read again."""
        self._figures: dict[str, float] = {}
        self._refused = ""
        self._before: tuple[Arrays, Meta, int | None] | None = None
        """State of the learner from before the robot changed, and the version stored last until then."""
        self._ancestry = Ancestry.with_prior(len(job.prior_episodes))
        self._ticket = 0
        self._snapshots: deque[Snapshot] = deque()

    def run(self) -> None:
        """Serve messages until told to stop or the daemon is gone."""
        try:
            self._restore()
        except (ValueError, RuntimeError, OSError) as error:
            self._connection.send(Failed(str(error)))
            return
        published = time.monotonic()
        while True:
            idle = self._may_idle()
            if self._connection.poll(0.0 if idle else None):
                message = self._connection.recv()
                if isinstance(message, Ingest):
                    self._ingest(message)
                elif isinstance(message, SaveCheckpoint):
                    self._save(message)
                elif isinstance(message, Stop):
                    return
            elif idle:
                metrics = self._update(_IDLE_UPDATES)
                if time.monotonic() - published > _PUBLISH_EVERY_S:
                    self._send_done(metrics)
                    published = time.monotonic()

    def _restore(self) -> None:
        """Go on from the newest whole checkpoint; make the updates owed for attempts stored since."""
        from persistence.checkpoints import load_newest

        skipped: list[str] = []
        lived: list[AttemptSummary | None] = []
        steps_after = [0]
        for index, path in enumerate(self._job.episodes.paths):
            note, summary = self._add(path, self._job.episodes.conditions.get(path, Condition.USUAL))
            skipped += [note] if note else []
            lived.append(summary)
            steps_after.append(self._buffer.steps_added)
            if index % _ALIVE_EVERY == 0:
                self._connection.send(Alive())
        left_out = self._job.episodes.left_out
        self._attempts = left_out + len(lived)
        restored, done = None, 0
        if self._job.max_checkpoint_seq is not None:
            loaded = load_newest(self._job.checkpoint_dir, max_seq=self._job.max_checkpoint_seq)
            if loaded is None:
                skipped.append(
                    f"checkpoint {self._job.max_checkpoint_seq} is recorded, but there is none on disk; "
                    "learning begins anew from the stored attempts"
                )
            else:
                skipped.extend(loaded.refused)
                self._learner.load_state(loaded.tensors, loaded.meta["learner"])
                self._restore_beside(loaded)
                restored = loaded.seq
                self._ancestry = self._ancestry.begun(CHECKPOINT, loaded.meta.get("policy_version"), seq=loaded.seq)
                # Checkpoints of older versions say after how many steps they were written, not after how many attempts.
                by_steps = left_out + bisect_left(steps_after, int(loaded.meta["steps_added"]))
                done = min(len(lived), max(0, int(loaded.meta.get("attempts", by_steps)) - left_out))
                self._steps_before = int(loaded.meta["steps_added"]) - steps_after[done]
        elif self._job.initial is not None:
            begun = load_newest(self._job.initial)
            if begun is None:
                raise ValueError(f"{self._job.initial} holds no checkpoint to start from")
            self._learner.load_state(begun.tensors, begun.meta["learner"])
            self._ancestry = self._ancestry.begun(ZOO, version=begun.meta["policy_version"])
        elif self._job.prior_episodes and not lived:
            self._learn_offline()
        for summary in lived[done:]:
            self._credit(summary)
        # Without a checkpoint all of them are owed: the run before ended before its first.
        for begin in range(steps_after[done], self._buffer.steps_added, _CATCH_UP_STEPS):
            self._update_for(min(_CATCH_UP_STEPS, self._buffer.steps_added - begin))
            self._connection.send(Alive())
        self._learn_beside(len(lived))
        for name in ("policy", SHIELD, FALLS, UNDO, DRIFT, OFFSETS):
            for stale in self._job.snapshot_dir.glob(f"{name}-*"):
                stale.unlink()
        self._send_done({}, tuple(skipped), restored)

    def _learn_offline(self) -> None:
        """Learn from what others have done before anything is tried."""
        for begin in range(0, self._job.offline_updates, _CATCH_UP_STEPS):
            self._update(min(_CATCH_UP_STEPS, self._job.offline_updates - begin), offline=True)
            self._connection.send(Alive())
        if self._job.offline_updates:
            self._ancestry = self._ancestry.begun(PRIOR_DATA, updates=self._job.offline_updates)

    @property
    def _kept_beside(self) -> dict[str, RiskLearner | DriftOffsets]:
        """What is learned beside the policy and goes into checkpoints, by the name that its state has there."""
        all_ = {RISK: self._risk, DRIFT_OFFSETS: self._offsets}
        return {name: study for name, study in all_.items() if study is not None}

    def _restore_beside(self, loaded: Checkpoint) -> None:
        """Go on with what a checkpoint has beside the learner; where that is not there, or of an older kind, anew."""
        for name, study in self._kept_beside.items():
            if loaded.meta.get(name, {}).get("format") == study.STATE_FORMAT:
                of_it = {key: array for key, array in loaded.tensors.items() if key.startswith(f"{name}/")}
                mine = {key.removeprefix(f"{name}/"): array for key, array in of_it.items()}
                study.load_state(mine, loaded.meta[name])

    def _credit(self, summary: AttemptSummary | None) -> None:
        """Tell those who go by attempts of one."""
        if summary is None:
            return
        if self._offsets is not None:
            self._offsets.attempted(summary)
            if (summary.policy_version or 0) >= FIRST_VERSION:
                summary = replace(summary, policy_version=None)  # of none of the learner's policies
        self._learner.attempted(summary)

    def _ingest(self, message: Ingest) -> None:
        before = self._buffer.steps_added
        self._attempts += 1
        self._follow(message.condition)
        note, summary = self._add(message.path, message.condition)
        self._credit(summary)
        metrics = self._update_for(self._buffer.steps_added - before) | self._learn_beside(1)
        metrics |= self._offsets.figures if self._offsets is not None else {}
        self._ticket = message.ticket
        self._send_done(metrics, (note,) if note else ())

    def _follow(self, condition: Condition) -> None:
        """Where a robot has been repaired, the learner is at once what it was before it changed."""
        if condition is Condition.CHANGED and self._before is None:
            self._before = (*self._learner.state(), self._ancestry.parent)
        elif condition is not Condition.CHANGED and self._before is not None:
            if condition is Condition.USUAL:
                from skills.learners.learner import counted_on

                arrays, meta, parent = self._before
                self._learner.load_state(arrays, counted_on(meta, self._learner.state()[1]))
                self._ancestry = replace(self._ancestry, parent=parent)
            self._before = None

    def _add(self, path: Path, condition: Condition) -> tuple[str | None, AttemptSummary | None]:
        """Put one stored attempt into the replay memory. Returns why not, if not, and what came of the attempt."""
        try:
            return None, self._studies.ingest(path, condition)
        except (OSError, ValueError, RuntimeError) as error:
            return f"{path.name}: {error}", None

    @property
    def _held(self) -> bool:
        """Whether the policy stays as it is."""
        return self._job.hold_policy or (self._offsets is not None and self._offsets.acting)

    def _update_for(self, steps: int) -> dict[str, float]:
        if self._held or len(self._buffer) < self._job.warmup_steps:
            return {}
        return self._update(round(steps * self._job.updates_per_step))

    def _update(self, n: int, *, offline: bool = False) -> dict[str, float]:
        if n <= 0:
            return {}
        start = time.monotonic()
        self._figures = self._studies.named(self._learner.update(n, offline=offline))
        self._update_seconds += time.monotonic() - start
        self._updates_made += n
        self._refused = self._learner.refused_reason or self._refused
        if self._risk is not None:
            # A critic that begins later than the learner catches up bit by bit.
            owed = round(self._job.risk_updates_per_update * self._learner.updates) - self._risk.updates
            self._figures = self._figures | self._risk.update(min(n, owed), self._learner.candidates()[0])
            self._refused = self._risk.refused_reason or self._refused
        return self._figures

    def _learn_beside(self, attempts: int) -> dict[str, float]:
        """Bring up to date what learns a bit from each attempt.

        It is not checkpointed: a start learns it anew from all attempts.
        """
        figures: dict[str, float] = {}
        for learner, updates in self._studies.by_attempt:
            owed = min(updates * attempts, _MOST_UPDATES_BESIDE)
            for begin in range(0, owed, _UPDATES_BESIDE_AT_ONCE):
                if begin:
                    self._connection.send(Alive())
                figures |= learner.update(min(_UPDATES_BESIDE_AT_ONCE, owed - begin))
                self._refused = learner.refused_reason or self._refused
        self._refused = self._studies.new_mistakes() or self._refused
        return figures

    def _may_idle(self) -> bool:
        if self._held:
            return False
        limit = self._job.idle_updates_per_step * self._steps_added
        return len(self._buffer) >= self._job.warmup_steps and self._learner.updates < limit

    @property
    def _steps_added(self) -> int:
        return self._steps_before + self._buffer.steps_added

    def _send_done(self, metrics: dict[str, float], skipped: tuple[str, ...] = (), restored: int | None = None) -> None:
        """Publish a snapshot and say so. It is not synced to disk: after a power cut the checkpoint counts."""
        updates = self._learner.updates
        policies = tuple(
            self._publish(weights, f"policy-{self._ticket}-{updates}-{index}")
            for index, weights in enumerate(self._learner.candidates())
        )
        # Named as the policies are: a file that two snapshots shared would go with the older one.
        beside = {
            name: self._publish(weights, f"{name}-{self._ticket}-{updates}")
            for name, learner in self._studies.beside.items()
            if learner.updates and (weights := learner.snapshot()) is not None
        }
        snapshot = Snapshot(policies, beside)
        if snapshot not in self._snapshots:
            self._snapshots.append(snapshot)
        while len(self._snapshots) > _SNAPSHOTS_KEPT:
            for stale in self._snapshots.popleft().files:
                stale.unlink(missing_ok=True)
        refused, self._refused = self._refused, ""
        rate = self._updates_made / self._update_seconds if self._update_seconds else 0.0
        searches: tuple[SearchNews, ...] = ()
        if self._offsets is not None:
            searches = tuple(self._offsets.news)
            self._offsets.news.clear()
        self._connection.send(
            Done(self._ticket, updates, snapshot, updates, metrics, rate, skipped, refused, restored, searches)
        )

    def _publish(self, weights: Weights, name: str) -> Path:
        path = self._job.snapshot_dir / f"{name}.safetensors"
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(weights.to_bytes())
        temporary.replace(path)
        return path

    def _save(self, message: SaveCheckpoint) -> None:
        import numpy as np

        from agent.policies import POLICY_TENSOR
        from persistence.checkpoints import save_checkpoint

        tensors, learner_meta = self._learner.state()
        # Beside the learner's state, ready to act with: evaluations need no torch and no learner.
        candidates = self._learner.candidates()
        best = candidates[0]
        for weights in reversed(candidates):  # the best of each skill comes first among them
            name = POLICY_TENSOR if weights.skill is None else f"{POLICY_TENSOR}.{weights.skill}"
            tensors = {**tensors, name: np.frombuffer(weights.to_bytes(), np.uint8)}
        meta: dict[str, Any] = {}
        for name, study in self._kept_beside.items():
            more, meta[name] = study.state()
            tensors = {**tensors, **{f"{name}/{key}": array for key, array in more.items()}}
        meta = {
            **meta,
            "learner": learner_meta,
            "updates": self._learner.updates,
            "steps_added": self._steps_added,
            "attempts": self._attempts,
            "robot_s": message.robot_s,
            "family": self._job.family,
            "robot": self._job.spec.name,
            "policy_version": best.version,
        }
        saved = save_checkpoint(self._job.checkpoint_dir, message.seq, tensors, meta)
        updates, name, sha256 = self._learner.updates, saved.path.name, saved.sha256
        ancestry, self._ancestry = replace(self._ancestry, attempts=self._attempts), self._ancestry.saved(best.version)
        self._connection.send(
            Saved(message.seq, message.robot_s, best.version, updates, name, sha256, self._figures, ancestry)
        )
