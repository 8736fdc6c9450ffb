"""Updates per second of the learner on a GPU, beside the same machine's processor: `perdure bench learner-gpu`.

Random transitions of HalfCheetah's widths, as in `benchmarks.learner`. ``n`` is the number of updates in a call, about
what the daemon takes after an attempt. The figures of a call are read back, so the GPU has finished when it is timed.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from benchmarks.learner import ours
from skills.learners.sac import SacLearner

DEFAULT_N = 500
CALLS = 5
CPU_THREADS = (2, 8)
CPU_SHARE = 25
"""The processor takes this part of the updates: it is slower and needs no long calls."""
VARIANTS: dict[str, dict[str, Any]] = {
    "2x256, batch 256": {},
    "the daemon's: 2x128, batch 128, layer norm": {"hidden": (128, 128), "batch": 128, "layer_norm": True},
    "2x256, batch 256, layer norm, 10 critics": {"layer_norm": True, "ensemble": 10},
    "2x1024, batch 1024, layer norm": {"hidden": (1024, 1024), "batch": 1024, "layer_norm": True},
}


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Time all variants on the GPU and on a few numbers of threads.

    Returns:
        ``updates_per_s``: for each variant ``cuda``, ``cuda_step_by_step`` (no captured graph) and ``cpu_<threads>``;
        medians over `CALLS` calls after one that is not timed. Besides, ``gpu`` and ``torch``.

    Raises:
        ValueError: torch finds no GPU.
    """
    return {
        "updates_per_s": {name: _rates(seed, n, settings) for name, settings in VARIANTS.items()},
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }


def _rates(seed: int, n: int, settings: dict[str, Any]) -> dict[str, float]:
    learner = ours(seed, device="cuda", **settings)
    rates = {"cuda": _rate(learner, n)}
    learner._captured = None
    rates["cuda_step_by_step"] = _rate(learner, n)
    for threads in CPU_THREADS:
        torch.set_num_threads(threads)
        rates[f"cpu_{threads}"] = _rate(ours(seed, **settings), max(1, n // CPU_SHARE))
    return rates


def _rate(learner: SacLearner, n: int) -> float:
    seconds = []
    for _ in range(CALLS + 1):
        start = time.perf_counter()
        learner.update(n)
        seconds.append(time.perf_counter() - start)
    return round(n / statistics.median(seconds[1:]), 1)
