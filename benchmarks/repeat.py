"""Whether the same seed gives the same run: `perdure bench repeat --seed 0 --n 20`.

``n`` is in robot minutes. Two daemons run side by side from empty homes, so that they never run at the same pace; the
hash chain over all that happened, learned policies included, has to end in the same hash.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import _daemon

DEFAULT_N = 20


def run(seed: int, n: int) -> dict[str, Any]:
    """Run twice.

    Returns:
        ``same`` (whether both chains end in the same hash), ``chain_heads``, ``events``, ``attempts``, ``updates``.
    """
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder) / name for name in ("first", "second")]

        def one(home: Path) -> dict[str, Any]:
            return _daemon.run_daemon(home, "--hours", str(n / 60), "--speed", "max", "--seed", str(seed))

        with ThreadPoolExecutor(2) as pool:
            statuses = list(pool.map(one, homes))
        reports = [_daemon.perdure_json(home, "doctor", "--store") for home in homes]
    heads = [report["chain_head"] for report in reports]
    return {
        "same": len(set(heads)) == 1,
        "chain_heads": heads,
        "events": [report["events"] for report in reports],
        "attempts": [status["attempts"] for status in statuses],
        "updates": [status["updates"] for status in statuses],
    }
