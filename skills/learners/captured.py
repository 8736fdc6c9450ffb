"""A gradient update as one CUDA graph.

An update is some two hundred small kernels, and starting one takes the CPU longer than the GPU needs to run it. A graph
starts them all at once.
"""

from __future__ import annotations

import torch

from skills.learners.core import SacCore
from skills.learners.minibatch import Minibatch

WARM_UP = 3
"""Updates before the capture, whose effects are taken back: libraries set themselves up in their first calls."""


class CapturedStep:
    """Replays `SacCore.settled_step`, captured once for each learning rate, which a graph holds as a constant."""

    def __init__(self, core: SacCore) -> None:
        """Capture nothing yet; the core's networks are on a GPU."""
        self._core = core
        self._static: Minibatch | None = None
        """What every replay learns from; a graph reads the same memory each time."""
        self._graphs: dict[float, torch.cuda.CUDAGraph] = {}

    def replay(self, minibatch: Minibatch) -> None:
        """One gradient update of everything, while `SacCore.repeats`."""
        if self._static is None:
            self._static = Minibatch(*(part.clone() for part in minibatch))
        for into, part in zip(self._static, minibatch, strict=True):
            into.copy_(part)
        rate = self._core.learning_rate
        if rate not in self._graphs:
            self._graphs[rate] = self._capture(self._static)
        self._graphs[rate].replay()

    def _capture(self, static: Minibatch) -> torch.cuda.CUDAGraph:
        before = self._core.bank.clone()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        present = torch.cuda.current_stream()
        aside.wait_stream(present)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._core.settled_step(static)
        present.wait_stream(aside)
        self._core.bank.copy_(before)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._core.settled_step(static)
        return graph
