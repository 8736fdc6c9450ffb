"""How often `perdure skills promote` deploys a candidate, by how good it is: the rule on attempts that are drawn.

python -m benchmarks.promotion [--n 4000] [--pairs 100] [--seed 0]

Two worlds bound the real ones: in one the same attempts are hard for both policies, in the other chance decides for
each by itself. Prints, for each pair of success rates, the share of comparisons after which the candidate is deployed.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from agent.paired_test import LOOKS, paired
from agent.promotion import MARGIN, not_worse

RATES = ((0.9, 0.95), (0.9, 0.9), (0.9, 0.85), (0.9, 0.8), (0.9, 0.7), (0.6, 0.6), (0.6, 0.5), (1.0, 1.0), (1.0, 0.9))
"""Of the deployed policy, and of the candidate."""


def promoted(deployed: float, candidate: float, pairs: int, *, shared: bool, rng: np.random.Generator) -> bool:
    """Whether one comparison ends with the candidate deployed."""
    drawn = rng.random((2, pairs))
    new, old = drawn[0] < candidate, drawn[0 if shared else 1] < deployed
    step = pairs // LOOKS
    for look in range(1, LOOKS + 1):
        n = pairs if look == LOOKS else look * step
        found = paired(new[:n].tolist(), old[:n].tolist(), pairs)
        if found.decided:
            break
    better = None if not found.decided else ("candidate" if found.z > 0 else "deployed")
    return not_worse({"better": better, "interval": found.interval}, "candidate")


def main() -> None:
    """Print the shares as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    rng = np.random.default_rng(words.seed)
    rows = [
        {
            "deployed": old,
            "candidate": new,
            **{
                name: sum(promoted(old, new, words.pairs, shared=shared, rng=rng) for _ in range(words.n)) / words.n
                for name, shared in (("same_attempts", True), ("chance", False))
            },
        }
        for old, new in RATES
    ]
    print(json.dumps({"margin": MARGIN, "pairs": words.pairs, "n": words.n, "rates": rows}, indent=1))


if __name__ == "__main__":
    main()
